"""The executor: one step of a build is one process, in namespaces of its own over an overlay mount.

Comes in: a `Step` (program, environment, user, mounts, network, limits) and a snapshot's mounts.
Goes out: an exit status, the output as it is written, and the changes in the snapshot. All mounts
are made in the step's own mount namespace, so the kernel removes them with the step.
Read in this order: `api` (a step as data), `local` (who asks), `server` (who forks), `child` (the
way from the fork to the program), `rootfs` and `mounts` (what the step sees), `cgroup_parent` and
`groups` (the cgroup that it runs in).
"""
