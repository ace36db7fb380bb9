"""What a `File` op does to a tree, and what it reads: copying, selecting, digests of contents.

Comes in: actions of `graph.op` and directory descriptors. Goes out: a changed tree, or the digests
that stand for what a copy would read. What goes where is decided (`select`, `plan`) apart from the
writing (`write`), so that the same plan can be packed into a layer without touching a disk.

Read in this order: `api`, `owner`, `paths`, `dirs`, `walk`, `select`, `plan`, `write`,
`apply`, then `checksum`.
"""
