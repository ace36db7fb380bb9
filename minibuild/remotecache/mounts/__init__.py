"""Cache mounts that travel: directories of RUN --mount=type=cache, to other machines and back.

Comes in: places that a request names. Goes out: contents of cache mounts in this store, before the
first step that uses them; and the contents there, after a build. Only builds that ask load it.
Read in this order: `artifact` (what travels), `importer`, `exporter`.
"""
