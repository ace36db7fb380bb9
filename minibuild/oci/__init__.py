"""Images as they are stored and sent: blobs, manifests, layers as tars, layouts, registries.

Comes in: changes of snapshots, blobs of other people. Goes out: layers, manifests, trees. The
words and formats are those of the OCI image and distribution specifications. Nothing here knows
how an image was built.

Read in this order: `reference` and `model` (names and documents), `content` (blobs), `tarformat`,
`tarwrite` and `pack` (a tree becomes a layer), `tarread`, `apply`, `unpack` and `archive` (a
layer becomes a tree), `config` and `images` (layers become an image with a name), `layout`,
`docker_archive` and `registry` (images of others), `validate`.
"""
