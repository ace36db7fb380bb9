"""Steps in a container that may make no namespaces: they get the container's own root directory.

Comes in: steps, in a container that was made for this. Goes out: how they ended. The tree of a step
is moved into "/" for as long as it runs, because only there are /proc, /dev and /sys as the
container's runtime made them. What was in "/" before is moved aside and comes back after it.
Read in this order: `permit`, who may do that; `preserved`, what stays; `exchange`, how a tree
moves; `root`, what is in "/" and how that is mended after a crash; `working_tree`; `step_mounts`;
`keeper`; `executor`.
"""
