"""What a `File` op does to a tree, and what it reads: copying, selecting, digests of contents.

Comes in: actions of `graph.op` and directory descriptors. Goes out: a changed tree, a layer, or the
digests of what a copy would read. `select` and `plan` decide which file goes where; other modules
write. A plan puts its entries into a sink: a `tree`, a `layer`, a `tee` that is both, or a `hasher`
in front of one of them.

Read in this order: `api`, `owner`, `walk`, `select`, `plan`, `tree`, `layer`, `tee`, `hasher`,
`copy`, `apply`, then `checksum`. A copy that was done before: `inventory`, then `update`.
"""
