"""What a step gets of the machine, whatever the step is: made ahead, while no step waits for it.

Comes in: what all steps have in common. Goes out: /proc, /sys and /dev as detached mounts. Half of
the work of starting a step is here, and none of it depends on the step: so the server keeps a
process ready that has done it.
Read next: `sysfiles`, `dev`; then `rootfs`, which puts it together with what belongs to the step.
"""

import os

from minibuild.executor.common_setup import CommonSetup
from minibuild.executor.dev import mount_dev
from minibuild.executor.groups import StepGroup
from minibuild.executor.mounts import Detached, Scratch, clone_mount
from minibuild.executor.sysfiles import mount_cgroups, mount_proc, mount_sys, protect
from minibuild.linux import syscalls


class SystemMounts:
    """The machine's part, in a process with namespaces of its own. `network`: also one of the
    network, which /sys shows. `group` is the cgroup that it has entered, if there is one."""

    __slots__ = ("common", "dev", "group", "host_fd", "proc", "scratch", "sys")

    def __init__(
        self, common: CommonSetup, *, network: bool, group: StepGroup | None = None
    ) -> None:
        self.common = common
        self.group = group
        # Now, while it can be seen: after pivot_root(2) it is the way back, to unmount it all.
        self.host_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.scratch = Scratch(common.own, common.overlay_options, nodev=common.nodev)
        sandbox = common.sandbox
        mount_proc(common.proc, common.proc_readonly, common.masks, sandbox=sandbox)
        self.proc = _taken(common.proc)
        path = common.sys
        if network:
            path = self.scratch.directory()
            mount_sys(path, common.masks, sandbox=sandbox)
        if group is not None:
            # From here on the group of the step is the root of all that the step sees.
            syscalls.unshare(syscalls.CLONE_NEWCGROUP)
        if group is not None or network:
            mount_cgroups(path, group.hierarchies if group else (), sandbox=sandbox)
        self.sys = _taken(path)
        mount_dev(common.dev, sandbox=sandbox, nodev=common.nodev, single_id=common.single_id)
        self.dev = _taken(common.dev)
        try:
            syscalls.join_session_keyring()
        except OSError:
            pass  # No keyrings in this kernel, or the quota is used up; the filter closes them.

    def file(self, target: str, data: bytes) -> Detached:
        """A file with this text, to be mounted at `target`; most often it is there already.

        Read-only, as BuildKit has them: what a step wrote there would be gone after it.
        """
        path = self.common.files.get(data)
        if path is not None:
            return Detached(target, clone_mount(syscalls.AT_FDCWD, path), False)
        fd = clone_mount(syscalls.AT_FDCWD, self.scratch.file(data))
        protect("", fd)
        return Detached(target, fd, False)


def _taken(path: str) -> int:
    """What is mounted at `path`, with all mounts below it, as one detached mount. What stays there
    goes with all that the step does not see.

    Mounts can be attached to a detached one only from Linux 6.15 on, hence the detour.
    """
    return clone_mount(syscalls.AT_FDCWD, path, recursive=True)
