"""Writes results of builds: as images, archives and directories.

Comes in: an image in the content store, or a tree, and the attributes of `--output`. Goes out: an
archive, a layout, or a directory. The names of types and attributes are those of `docker buildx
build`.

Read in this order: `export` (all outputs), `options` and `annotations` (what can be asked for),
`destination` (where it goes), `assemble` and `bundle` (what an image consists of), `image`, `oci`,
`trees`, `tar`, `local`.
"""
