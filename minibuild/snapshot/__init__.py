"""Trees on disk: snapshots, what differs between them, and putting diffs together as one tree.

Comes in: parents and diffs, as numbers. Goes out: mounts, open directories, changes. It knows
nothing of images, graphs or caches.
Read in this order: `api`, `table`, `snapshotter`, `overlay`, `view`, `compare`, `diff`, `entry`,
`apply`, `merge`; then `native`, `mount`, `usage`, `sweep`, `select`; and `trace` and `defects`,
which show a merge.
"""
