"""Defects of merges, reproduced on real mounts: with the fix and without, by the code of builds.

Comes in: the name of an exhibit. Goes out: what was seen. An exhibit is data (`exhibit`) and one
switch (`minibuild.snapshot.defects`); `stage` performs it. docs/lab.md tells the stories.
"""
