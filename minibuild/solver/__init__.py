"""The solver: the result of each vertex of a graph, from the cache or by doing the work.

Comes in: a graph. Goes out: a result and a key for each vertex. Decisions and work are in different
modules. `keys` says what a vertex depends on, `lookup` what the cache has for it, `schedule` which
vertex is next: none of the three touches a disk.
Read in this order: `keys`, `lookup`, `schedule`, `solver` (which puts them together), `step` (what
the cache does not have), `file` and `exec` (the work itself).
"""
