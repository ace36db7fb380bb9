"""An open store with everything that works on it, and removing from it what is not needed.

BuildKit calls such a set (snapshotter, content store, executor, cache) a worker.
Read in this order: `worker` (what is open), `context` (one build on it), `gc`, `prune`.
"""
