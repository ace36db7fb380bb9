"""What a build says of its images: how they were made (provenance) and what is in them (SBOM).

Comes in: images, and what they were made from. Goes out: attestations, which hang beside the images
in their index. Nothing of this is loaded unless it is asked for.
Read in this order: `attestor` (the story), `statement`, `provenance`, `materials`, `steps`; then
`packages` and `sbom`, or `scanner` and `supplement`, where an image finds the packages.
"""
