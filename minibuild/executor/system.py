"""What a step gets of the machine, whatever the step is: made ahead, while nobody waits for it.

Comes in: nothing but whether the step is to be confined. Goes out: /proc, /sys and /dev as
detached mounts, and this process bound to what no step may have. Half of the work of starting a
step is here, and none of it depends on the step: so the server keeps a process ready that has
done it.
Read next: `sysfiles`, `dev`; then `rootfs`, which puts it together with what belongs to the step.
"""

import os

from minibuild.executor import etc_files
from minibuild.executor.api import Step
from minibuild.executor.dev import open_dev
from minibuild.executor.mounts import Detached, Scratch, clone_mount
from minibuild.executor.sysfiles import open_proc, open_sys
from minibuild.executor.wire import Request, pack, unpack_request
from minibuild.linux import capabilities, syscalls
from minibuild.snapshot.api import Mount

_FILE_FLAGS = (
    syscalls.MOUNT_ATTR_RDONLY | syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV
) | syscalls.MOUNT_ATTR_NOEXEC


class System:
    """The machine's part, in a process with namespaces of its own."""

    __slots__ = ("_files", "dev", "host_fd", "proc", "sandbox", "scratch", "sys")

    def __init__(self, scratch: str, *, sandbox: bool, single_id: bool) -> None:
        self.sandbox = sandbox
        # Now, while it can be seen: after pivot_root(2) it is the way back, to unmount it all.
        self.host_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.scratch = Scratch(scratch)
        self.proc = open_proc(self.scratch, sandbox=sandbox)
        self.sys = open_sys(self.scratch, sandbox=sandbox)
        self.dev = open_dev(self.scratch, sandbox=sandbox, single_id=single_id)
        names = etc_files.hosts(Step((), ()).hostname, ()).encode()
        self._files = {data: self._file(data) for data in (names, etc_files.resolv_conf())}
        if sandbox:
            capabilities.bound(capabilities.mask(capabilities.SANDBOX))
        try:
            syscalls.join_session_keyring()
        except OSError:
            pass  # No keyrings in this kernel, or the quota is used up; the filter closes them.
        # Memory is shared with the server until it is written to, as Python does by using a thing.
        unpack_request(pack(Request(Step((Mount("overlay", "", ("ro",)),), ("sh",)))))

    def file(self, target: str, data: bytes) -> Detached:
        """A file with this text, to be mounted at `target`; most often it is there already."""
        fd = self._files.pop(data, -1)
        return Detached(target, self._file(data) if fd < 0 else fd, False)

    def _file(self, data: bytes) -> int:
        """Read-only, as BuildKit has them: what a step wrote there would be gone after it."""
        fd = os.open(self.scratch.file(data), os.O_PATH | os.O_CLOEXEC)
        try:
            mount_fd = clone_mount(fd)
        finally:
            os.close(fd)
        syscalls.mount_setattr(mount_fd, attr_set=_FILE_FLAGS)
        return mount_fd
