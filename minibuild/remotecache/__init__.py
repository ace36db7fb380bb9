"""What builds on different machines share: results of steps, and cache mounts.

Comes in: the caches that a request names, in a registry or a folder. Goes out: results for steps
that this store does not know, before they are done; and new results, after a build that went well.
BuildKit has a package of the same name. A build that names no cache loads none of this.
Read in this order: `caches` (the story), `document` (what travels), `places` (where to),
`importer`, `exporter`; `keys` for those of BuildKit; then `mounts` for directories of RUN
--mount=type=cache.
"""
