"""What a step sees: its root filesystem put together, and this process put inside.

Comes in: a request, in a process with mount, pid, ipc and uts namespaces of its own. Goes out:
the process with "/" as the step's rootfs, and a note of the mount points that were made.

The order matters. Everything of the machine is opened first, as detached mounts; /proc and /sys
as well, because a user namespace gets fresh ones only while it can see whole ones. Then
pivot_root(2) makes the snapshot "/" and the old root is unmounted. From there on any path, through
whatever symlinks of the image, stays inside: there is nothing else, the kernel sees to that.
Read next: `mounts`, `dev`, `sysfiles`, `stubs`.
"""

import os
import stat

from minibuild.errors import DefinitionError
from minibuild.executor import etc_files
from minibuild.executor.api import BindContext, Tmpfs
from minibuild.executor.context import detach_context
from minibuild.executor.dev import resize_shm
from minibuild.executor.mounts import Detached, Scratch, detach, detach_tmpfs, discarding
from minibuild.executor.stubs import StubMaker
from minibuild.executor.system_mounts import SystemMounts
from minibuild.executor.wire import Request
from minibuild.linux import syscalls
from minibuild.snapshot.mount import attach

_PATH_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class Rootfs:
    """A rootfs in the making. Call `open_mounts`, `mount_root`, then `enter`, then `close`."""

    __slots__ = (
        "_mounts",
        "_readonly",
        "_system",
        "request",
        "root_fd",
        "stubs",
    )

    stubs: StubMaker
    root_fd: int

    def __init__(self, request: Request, system: SystemMounts) -> None:
        self.request = request
        self._system = system
        self._mounts: list[Detached | Tmpfs] = []
        self._readonly = False

    def open_mounts(self) -> None:
        """Open everything of the machine that the step is to see."""
        step = self.request.step
        scratch = self._system.scratch
        names = etc_files.hosts(step.hostname, step.etc_hosts).encode()
        self._mounts = [
            self._system.file("/etc/hosts", names),
            self._system.file("/etc/resolv.conf", etc_files.resolv_conf()),
        ]
        # By target, so that a mount inside another comes after it, however they were written.
        for mount in sorted(step.mounts, key=lambda m: m.target.rstrip("/")):
            if isinstance(mount, BindContext):
                self._mounts.append(detach_context(mount, scratch))
            elif isinstance(mount, Tmpfs):
                self._mounts.append(mount)  # It looks like what is there when its turn has come.
            else:
                self._mounts.append(detach(mount, scratch))

    def mount_root(self) -> None:
        """Mount the snapshot."""
        root, upper_fd = self._mount_root(self._system.scratch)
        if self._system.common.single_id and not self._system.common.records:
            self._mounts += _without_sandbox_of_apt(self._system, root)
        os.chdir(root)
        self.root_fd = os.open(".", _PATH_DIRECTORY)
        self.stubs = StubMaker(self.root_fd, upper_fd)

    def _mount_root(self, scratch: Scratch) -> tuple[str, int]:
        """Mount the snapshot; say where, and open the directory that takes what is written."""
        step = self.request.step
        upper = step.rootfs.upperdir
        if not upper:
            # Mount points have to be made somewhere; the step itself sees a read-only root.
            self._readonly = True
            root = discarding(step.rootfs, scratch)
            return root, os.open(root, _PATH_DIRECTORY)
        root = self._system.common.root
        upper_fd = os.open(upper, _PATH_DIRECTORY)
        points = self._system.common.points
        flags = syscalls.MS_NODEV if scratch.nodev else 0
        attach(points.below(step.rootfs, os.fstat(upper_fd).st_dev), root, flags)
        return root, upper_fd

    def enter(self) -> None:
        """Make the snapshot "/", leave the machine's filesystems, and mount everything."""
        step = self.request.step
        # The old root ends up on top of the new one: while it is there, `..` at the top of an
        # image's symlink leads into it. So it goes before any path of the image is walked.
        syscalls.pivot_root(".", ".")
        os.fchdir(self._system.host_fd)
        syscalls.umount(".", syscalls.MNT_DETACH)
        os.chdir("/")
        os.close(self._system.host_fd)
        _ordinary_directory("/proc")
        self._attach(Detached("/proc", self._system.proc, True))
        for path, fd in (("/dev", self._system.dev), ("/sys", self._system.sys)):
            if any(mount.target.startswith(path + "/") for mount in self._mounts):
                # On the way to a mount point, it goes with it, as everything of its kind.
                self.stubs.make(path, is_dir=True)
            else:
                _lasting_directory(path)
            if path == "/sys":
                _ordinary_directory(path)
            self._attach(Detached(path, fd, True))
        if step.shm_size_bytes:
            resize_shm(step.shm_size_bytes)
        for mount in self._mounts:
            if isinstance(mount, Tmpfs):
                mount = detach_tmpfs(mount, self._system.scratch)
            self._attach(mount)

    def _attach(self, mount: Detached) -> None:
        target = "/" + mount.target.strip("/")
        self.stubs.make(target, is_dir=mount.is_dir)
        # A symlink at the end is followed: the mount point was made where it leads.
        flags = syscalls.MOVE_MOUNT_F_EMPTY_PATH | syscalls.MOVE_MOUNT_T_SYMLINKS
        syscalls.move_mount(mount.fd, target, flags=flags)
        os.close(mount.fd)

    def close(self) -> None:
        """The last touch, when nothing more is mounted."""
        if self._readonly:
            syscalls.mount_setattr(self.root_fd, attr_set=syscalls.MOUNT_ATTR_RDONLY)
        os.close(self.stubs.upper_fd)


def _lasting_directory(path: str) -> None:
    """runc makes these, and leaves them in the layer."""
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        pass


def _ordinary_directory(path: str) -> None:
    """Make sure that it is one. As runc does: an image could else have /proc and /sys where no
    program looks for them, and files of its own where programs take them for the kernel's."""
    _lasting_directory(path)
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        raise DefinitionError(
            f"cannot mount on {path}: in the image it is not an ordinary directory",
            hint=f"remove {path} from the image that this stage is built on",
        )


def _without_sandbox_of_apt(system: SystemMounts, root: str) -> list[Detached]:
    """Where it cannot be recorded who a process is, apt cannot become the user `_apt`: a file of
    its own tells it so.

    The system calls by which it tries seem to succeed (see `seccomp.policy`), but apt looks.
    """
    if not os.path.isdir(f"{root}/etc/apt/apt.conf.d"):
        return []
    data = b'APT::Sandbox::User "root";\n'
    return [system.file("/etc/apt/apt.conf.d/zz-single-id", data)]
