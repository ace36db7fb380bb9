"""The solver: the result of each vertex of a graph, from the cache or by doing the work.

Comes in: a graph. Goes out: a result and a key for each vertex. What is decided here is apart from
what is done. `keys` says what a vertex depends on, `lookup` what is known of it, `schedule` in
which order vertices are done: none of the three touches a disk.
Read in this order: `keys`, `lookup`, `schedule`, `solver` (which puts them together), `step` (what
no look-up finds), `file` and `exec` (the work itself).
"""
