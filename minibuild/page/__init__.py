"""One page that shows a build: a file of HTML that needs no network, no script and no store.

Comes in: the record of a build, and a store, which may lack what the build made. Goes out: HTML for
a lecture, a pull request or printing. The Dockerfile is its index: each line shows the result of
its step, and all pictures link to lines. Each picture has a table with the same data.

Read in this order: `facts` (what is to be shown), `document` (the whole page), then a section.
"""
