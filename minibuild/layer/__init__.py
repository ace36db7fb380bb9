"""Layers: a tree becomes a tar, compressed and hashed in one pass; a tar becomes a tree.

Comes in: changes of snapshots, or layer blobs from any program. Goes out: layer blobs, or trees.
The format is that of the OCI image specification (layer.md).
Read in this order: `layer` (what one is), `tar_format`, `writer`, `pack` (a tree becomes a layer),
`tar_reader`, `stream`, `apply`, `unpack` (a layer becomes a tree), `chunker` and `chunk_cache`
(blocks of gzip that are used again).
"""
