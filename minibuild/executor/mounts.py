"""The mounts of a step made real: descriptors of mounts that are attached nowhere yet.

Comes in: a `StepMount`. Goes out: mounts in this process's own mount namespace. Everything is
opened *before* the process enters the rootfs, while the machine's paths can be seen, as a detached
mount (open_tree(2), fsmount(2)): a descriptor that is attached inside the rootfs later. See
mount(2), open_tree(2), and the kernel's filesystems/overlayfs.
Read next: `rootfs`.
"""

import os
import stat
from contextlib import suppress

from minibuild.errors import DefinitionError, HostError, os_errors_as
from minibuild.executor.api import BindPath, BindTree, SecretFile, Tmpfs
from minibuild.linux import owner, syscalls
from minibuild.linux.beneath import open_beneath
from minibuild.linux.contents import write_all
from minibuild.linux.descriptors import closing_fd
from minibuild.snapshot.api import Mount
from minibuild.snapshot.mount import attach
from minibuild.startup.tuples import NamedTuple


class Detached(NamedTuple):
    """A mount that is attached nowhere yet, where it is to go, and whether it is a directory."""

    target: str
    fd: int
    is_dir: bool


class Scratch:
    """A small filesystem in memory for what a step needs besides its rootfs: files bound over
    others, mount points, upper layers that are thrown away. It goes with the mount namespace.

    It is mounted when the first name in it is asked for: most steps need none. Overlays made here
    get `options`; `nodev`: no node in what a step mounts can be used as a device.
    """

    __slots__ = ("_count", "nodev", "options", "path")

    def __init__(self, path: str, options: tuple[str, ...] = (), *, nodev: bool = False) -> None:
        self.path = path
        self.options = options
        self.nodev = nodev
        self._count = 0

    def name(self) -> str:
        """A path where nothing is yet."""
        if not self._count:
            syscalls.mount("tmpfs", self.path, "tmpfs", syscalls.MS_NOSUID, "mode=0711")
        self._count += 1
        return f"{self.path}/{self._count}"

    def directory(self) -> str:
        """A new empty directory."""
        path = self.name()
        os.mkdir(path, 0o755)
        return path

    def upper_layer(self, top: str) -> tuple[str, str]:
        """An upperdir and a workdir for an overlay on `top`, whose looks the upperdir has: the root
        of an overlay is that of its upper layer."""
        upper, work, found = self.directory(), self.directory(), os.stat(top)
        os.chown(upper, found.st_uid, found.st_gid)
        os.chmod(upper, stat.S_IMODE(found.st_mode))
        return upper, work

    def file(self, data: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> str:
        """A new file that holds `data`."""
        path = self.name()
        with closing_fd(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        ) as fd:
            write_all(fd, data)
            if uid or gid:
                _give(fd, uid, gid, path)
            os.fchmod(fd, mode)
        return path


def _give(fd: int, uid: int, gid: int, path: str) -> None:
    """Give a file of a filesystem in memory to others. That takes a record since Linux 6.6 only;
    before, the file is root's where there is one single id."""
    if owner.maps_single_id():
        from minibuild.linux import recorded

        with suppress(HostError):
            recorded.write(fd, uid, gid)
    else:
        owner.fchown(fd, uid, gid, path)


def discarding(mount: Mount, scratch: Scratch) -> str:
    """A tree under a layer in memory: it can be written, and what was written is dropped."""
    if mount.is_overlay and not mount.upper:
        # Its layers can take one more: overlays can only be stacked two deep.
        top = mount.layers[0]
    else:
        top = scratch.directory()
        attach(mount, top)
        mount = Mount((top,), options=scratch.options)
    merged, (upper, work) = scratch.directory(), scratch.upper_layer(top)
    flags = syscalls.MS_NODEV if scratch.nodev else 0
    attach(mount._replace(upper=upper, work=work), merged, flags)
    return merged


def detach(mount: BindTree | BindPath | SecretFile, scratch: Scratch) -> Detached:
    """The mount as a descriptor."""
    match mount:
        case BindTree():
            return _detach_tree(mount, scratch)
        case BindPath():
            flags = _flags(readonly=mount.readonly, nodev=scratch.nodev)
            return _detach_source(mount.target, mount.path, flags, mount.source)
        case SecretFile():
            path = scratch.file(mount.data, mount.mode, mount.uid, mount.gid)
            flags = _flags(readonly=True, nodev=True) | syscalls.MOUNT_ATTR_NOSUID
            if not mount.mode & 0o111:
                flags |= syscalls.MOUNT_ATTR_NOEXEC
            return _detach_source(mount.target, path, flags)


def detach_tmpfs(mount: Tmpfs, scratch: Scratch) -> Detached:
    """A new filesystem in memory, with the mode of the directory that it will hide."""
    mode = f"{tmpfs_mode(mount.target):o}"
    size = [("size", str(mount.size_bytes))] if mount.size_bytes else []
    flags = _flags(readonly=mount.readonly, nodev=scratch.nodev) | syscalls.MOUNT_ATTR_NOSUID
    fd = syscalls.new_filesystem("tmpfs", [("mode", mode), *size], flags)
    return Detached(mount.target, fd, True)


def tmpfs_mode(target: str) -> int:
    """The mode of a tmpfs on `target`: as runc does, that of a directory there, so that a private
    one stays private; else the kernel's default."""
    try:
        return stat.S_IMODE(os.stat(target).st_mode)
    except OSError:
        return 0o1777


def _detach_tree(mount: BindTree, scratch: Scratch) -> Detached:
    if mount.writable_discard:
        tree = discarding(mount.tree, scratch)
    else:
        tree = scratch.directory()
        attach(mount.tree, tree)
    readonly = mount.readonly and not mount.writable_discard
    flags = _flags(readonly=readonly, nodev=scratch.nodev)
    return _detach_source(mount.target, tree, flags, mount.source)


def _flags(*, readonly: bool, nodev: bool) -> int:
    flags = syscalls.MOUNT_ATTR_NODEV if nodev else 0
    return flags | (syscalls.MOUNT_ATTR_RDONLY if readonly else 0)


def _detach_source(target: str, path: str, attributes: int, source: str = "/") -> Detached:
    """A bind mount of `source` inside `path`, symlinks resolved inside `path`."""
    what = f"cannot mount {source if source.strip('/') else path} on {target}"
    with os_errors_as(DefinitionError, what, "the source of a mount has to exist"):
        if source.strip("/"):
            with closing_fd(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as root_fd:
                fd = open_beneath(root_fd, source, os.O_PATH)
        else:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    with closing_fd(fd):
        is_dir = stat.S_ISDIR(os.fstat(fd).st_mode)
        mount_fd = clone_mount(fd)
    syscalls.mount_setattr(mount_fd, attr_set=attributes)
    return Detached(target, mount_fd, is_dir)


def clone_mount(fd: int, path: str = "", *, recursive: bool = False) -> int:
    """A detached bind mount of what `fd` (or `path` in it) is."""
    flags = syscalls.OPEN_TREE_CLONE
    if not path:
        flags |= syscalls.AT_EMPTY_PATH
    if recursive:
        flags |= syscalls.AT_RECURSIVE
    try:
        return syscalls.open_tree(path, flags, dir_fd=fd)
    except OSError:
        if recursive:
            raise
        # In a user namespace a directory cannot be bound without what is mounted below it: that
        # would uncover what the mounts hide (mount_namespaces(7), "locked").
        return syscalls.open_tree(path, flags | syscalls.AT_RECURSIVE, dir_fd=fd)
