"""What the store keeps of builds: results, their form on disk, and the records that find them.

A result is not a directory. It is an ordered list of diffs, and it becomes a directory only when a
step reads its files. BuildKit has the same ideas in its package of this name (refs, blobs, records
of keys).

Comes in: diffs and cache keys. Goes out: snapshots, layers, and results found by key.
Read in this order: `results` (what a result is), `materialise` (how it becomes a directory),
`layers` (where its layers are), `records` (how it is found).
"""
