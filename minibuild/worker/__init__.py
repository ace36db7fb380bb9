"""An open store with everything that works on it, and removing from it what is not needed.

Comes in: the folder of a store, and the request of a build. Goes out: all that the solver and the
exporters work with. BuildKit calls such a set (snapshotter, content store, executor, cache) a
worker.
Read in this order: `worker` (what is open), `context` (one build on it), `context_mounts`; then
`gc`, `usage_filter` and `prune` (what is removed).
"""
