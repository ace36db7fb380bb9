"""The solver: a graph in, results out; each vertex from the cache or by doing the work.

Read in this order: `cachekey` (what a vertex depends on), `solver` (look up, or do), `schedule` (in
which order), `step` (how one vertex is done).
"""
