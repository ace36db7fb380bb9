"""Images as wholes: their names in the store, layouts and archives of other programs.

Comes in: a layout, an archive, or a name. Goes out: documents and blobs, checked.
Read in this order: `store` (names), `layout`, `archive`, `layout_folder`,
`listing` (what layers add up to), `validate`.
"""
