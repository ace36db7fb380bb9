"""One folder that holds all state: blobs, snapshots, metadata, and the claims of live processes.

Comes in: a path. Goes out: a `Store`, which knows the paths and makes writes safe against crashes
and against other processes. It knows nothing of images or snapshots.
Read in this order: `layout`, `database`, `claim`, `flock`.
"""
