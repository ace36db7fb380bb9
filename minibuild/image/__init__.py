"""Images as wholes: their names in the store, layouts and archives of other programs.

Comes in: a layout, an archive, or a name. Goes out: documents and blobs, checked.
Read in this order: `store` (names), `layout`, `layout_folder`, `docker_archive`, `any_layout`,
`listing` (what layers add up to), `validate`.
"""
