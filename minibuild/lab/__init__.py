"""Defects of merges, reproduced on real mounts: with the fix and without, by the code of builds.

Comes in: the name of an exhibit. Goes out: what was seen. An exhibit is data and one
switch (`minibuild.snapshot.defects`). docs/lab.md has the stories.
Read in this order: `exhibit`, `exhibit_builder` (performs one), `evidence` (what was seen).
"""
