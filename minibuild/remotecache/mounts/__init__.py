"""Cache mounts on other machines: directories of RUN --mount=type=cache, sent and fetched.

Comes in: places that a request names. Goes out: contents of cache mounts in this store, before the
first step that uses them; and in the places, after a build. Only builds that ask load it.
Read in this order: `artifact` (the format), `importer`, `exporter`.
"""
