"""BuildKit's formats: its graphs (LLB), so that a BuildKit can solve what minibuild converts.

Comes in: a graph. Goes out: a `Definition` of LLB, byte for byte as BuildKit's own frontend and
client write it. Needs the Python package protobuf, which the extra `minibuild[buildkit]` brings.
The core does not need this package: `--call=llb`, `serve`, `client`, provenance and caches do.
Message classes are made from `ops.proto`, by `proto`. Read next: `encode`.
"""
