"""The solver: a graph in, results out; each vertex from the cache or by doing the work.

A result is not a directory. It is an ordered list of diffs, and it becomes a directory only when
a step has to stand in it. Read in this order: `results` (what a result is), `materialise` (how it
becomes a directory or blobs), `cachekey` and `cache` (when work need not be done), `operations`
(how it is done), `schedule` (in which order), `solver` (all of it together).
"""
