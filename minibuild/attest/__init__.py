"""What a build says of its images: how they were made (provenance) and what is in them (SBOM).

Comes in: images, and what they were made from. Goes out: attestations, which are stored beside the
images in their index. Only builds that ask for attestations load this package.
Read in this order: `attestor` (all of it), `statement`, `provenance`, `materials`, `steps`; then
`packages` and `sbom`, or `scanner` and `supplement`, where a scanner image finds the packages.
"""
