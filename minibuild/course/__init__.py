"""Exercises of the course (docs/course): each is set as a folder with files, and marked.

Comes in: the number of a lesson, a folder. Goes out: what is right in it and what is not. Marking
reads what was built: records, layers, trees. It reads the text of an answer only if the result does
not show what is asked.

Read in this order: `exercise` (what one is), `exercises`.
"""
