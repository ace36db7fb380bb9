"""What builds on different machines share: results of steps, and cache mounts.

Comes in: the caches that a request names, in a registry or a folder. Goes out: results for steps
that this store does not know, before they run; and new results, after a build that succeeded.
BuildKit has a package of the same name. A build that names no cache does not load this package.
Read in this order: `caches` (all of it), `document` (the format), `places` (where it is kept),
`importer`, `exporter`; `keys` for those of BuildKit; then `mounts` for directories of RUN
--mount=type=cache.
"""
