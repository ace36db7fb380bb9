"""Registries: images pulled by name and pushed under one, over HTTP.

Comes in: references and blobs. Goes out: manifests and blobs, here or there. The protocol is the
OCI distribution specification.
Read in this order: `hosts`, `credentials`, `transport`, `client`, `auth`, `pull`, `fetch`, `push`,
`upload`; `patience` and `errors` for what goes wrong.
"""
