"""The documents of the OCI image specification, and the blobs that they name.

Comes in: bytes and digests. Goes out: descriptors, manifests, configs, and blobs in the store.
Nothing here knows how an image was built.
Read in this order: `model`, `content`, `multi`, `config`, `transfer`.
"""
