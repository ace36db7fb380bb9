"""What all steps of a server have in common: made once, before the first of them.

Comes in: the executor's folder, in the step server, which has a mount namespace of its own. Goes
out: paths. A process of a step is cloned with a copy of that namespace, so what is mounted here is
mounted there, and what it mounts on these paths itself is seen by it alone. Nothing here can be
written by a step: it is read-only, or only a place to mount on.
Read next: `system_mounts`, what each step has of its own.
"""

import os

from minibuild.executor import etc_files
from minibuild.executor.api import Step
from minibuild.executor.groups import Groups
from minibuild.executor.listener.calls import can_listen
from minibuild.executor.mount_points import MountPointLayer
from minibuild.executor.mounts import Scratch
from minibuild.executor.sysfiles import Masks, bind_protected, mount_cgroups, mount_sys
from minibuild.executor.wire import Setup
from minibuild.linux import capabilities, capability_sets, unotify
from minibuild.linux.namespace import in_user_namespace
from minibuild.snapshot.api import Mount

SCRATCH = "mnt"
"""An empty directory in the folder, to mount on."""


class CommonSetup:
    """Where things are. `root`, `proc`, `proc_readonly`, `dev` and `own` are empty directories for
    the mounts of one step, `masks` what covers files of the kernel; `sys` is mounted. `files` are
    paths by contents, to be bound read-only as they are, `points` is a layer on disk, and `groups`
    makes the cgroups of steps. `nodev`: what keeps a step from devices is how its filesystems are
    mounted. `single_id`: no id but 0 is mapped here; `records`: then owners and users are recorded
    (`listener`). `overlay_options` are those of overlays in a user namespace."""

    __slots__ = (
        *("dev", "files", "groups", "masks", "overlay_options", "own", "points", "proc"),
        *("nodev", "proc_readonly", "records", "root", "sandbox", "single_id", "sys"),
    )

    def __init__(self, setup: Setup, *, single_id: bool) -> None:
        sandbox = self.sandbox = setup.sandbox
        self.single_id = single_id
        self.overlay_options = ("userxattr",) if in_user_namespace() else ()
        self.records = single_id and can_listen() and unotify.may_have_listener()
        self.groups = Groups(setup.place, sandbox=sandbox)
        self.nodev = sandbox and not self.groups.guarded
        self.points = MountPointLayer(setup.folder)
        scratch = Scratch(os.path.join(setup.folder, SCRATCH))
        self.root = scratch.directory()
        self.proc = scratch.directory()
        self.proc_readonly = scratch.directory()
        self.dev = scratch.directory()
        self.own = scratch.directory()
        self.masks = Masks(scratch)
        self.sys = scratch.directory()
        mount_sys(self.sys, self.masks, sandbox=sandbox)
        if not setup.place.hierarchies:
            mount_cgroups(self.sys, (), sandbox=sandbox)
        names = etc_files.hosts(Step(Mount(()), ()).hostname, ()).encode()
        self.files = {text: scratch.file(text) for text in (names, etc_files.resolv_conf())}
        for path in self.files.values():
            bind_protected(path)
        if sandbox:
            capability_sets.bound(capabilities.mask(capabilities.SANDBOX))
