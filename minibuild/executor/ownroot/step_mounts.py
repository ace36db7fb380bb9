"""`RUN --mount` without mounting: files are moved into place for a step, and back after it.

Comes in: a step's mounts, when its tree is "/". Goes out: the same tree as before, but for what the
step did. What is only to be read is copied, because no mount keeps root from writing to it. Caches
and sockets are moved there and back; on another filesystem, a cache is copied both ways and a
socket linked to. Secrets and tmpfs are files on the disk of the container while the step runs:
memory, or a filesystem of a given size, would need a mount.
Read next: `placement`.
"""

import os
import stat
import threading

from minibuild.errors import DefinitionError, HostError
from minibuild.executor import etc_files
from minibuild.executor.api import (
    BindContext,
    BindPath,
    BindTree,
    SecretFile,
    Step,
    StepMount,
    Tmpfs,
)
from minibuild.executor.mounts import tmpfs_mode
from minibuild.executor.ownroot.placement import Placement, put, put_back
from minibuild.executor.ownroot.preserved import PreservedPaths
from minibuild.executor.ownroot.root import MovedTree, Root
from minibuild.executor.ownroot.working_tree import WorkingTree, layers_of
from minibuild.executor.stubs import cannot_make, check_kind
from minibuild.linux.beneath import makedirs_beneath, open_beneath, remove_path
from minibuild.linux.descriptors import closing_fd
from minibuild.snapshot.api import Change, Kind
from minibuild.snapshot.apply import Applier
from minibuild.snapshot.diff import changes
from minibuild.snapshot.view import NOTHING, View
from minibuild.startup.tuples import NamedTuple

_HOSTS, _RESOLV_CONF = "/etc/hosts", "/etc/resolv.conf"


class _MountSource(NamedTuple):
    """What is to be seen: the mount, and where it is now, on the filesystem of "/". It is `lent`,
    and moved back, a part of a `tree` perhaps, whose layer then takes what was changed; or made for
    the step, and dropped, after what the step changed in it has come to `place`, if that is a path.
    """

    mount: StepMount
    path: str
    lent: bool = False
    place: str = ""
    tree: WorkingTree | None = None


class _Made(NamedTuple):
    """What is in place: with the directories that were made for it, outermost first, and the
    directory above them with the times that it had, and the time that it has by this."""

    placement: Placement
    made: tuple[str, ...]
    above: str
    times: tuple[int, int]
    put_ns: int = 0


class StepMounts:
    """The mounts of one step. Call `prepare` before the tree is "/", then `put` and `take_away`."""

    def __init__(self, root: Root, step: Step, cancelled: threading.Event) -> None:
        self._root = root
        self._step = step
        self._cancelled = cancelled
        self._sources: list[_MountSource] = []
        self._made: list[_Made] = []
        self._hosts: bytes | None = None
        self._resolv_conf = etc_files.resolv_conf()

    def prepare(self) -> None:
        """Make what is to be seen: copies, files, empty directories; on the filesystem of "/"."""
        for mount in sorted(self._step.mounts, key=lambda m: m.target.rstrip("/")):
            self._sources.append(self._source(mount))

    def _source(self, mount: StepMount) -> _MountSource:
        match mount:
            case BindTree():
                if not mount.readonly and not mount.writable_discard:
                    return self._written(mount)
                tree = mount.tree.layers[0]
                return _MountSource(mount, self._copy(_beneath(tree, mount.source, mount.target)))
            case BindContext():
                # A file of root that is only read: the rest of contexts comes as trees here.
                return _MountSource(
                    mount, self._copy(_beneath(mount.path, mount.source, mount.target))
                )
            case BindPath():
                return self._of_machine(mount)
            case Tmpfs():
                return _MountSource(mount, self._directory(0o1777))
            case SecretFile():
                return _MountSource(mount, self._file(mount.data, mount.mode, mount.uid, mount.gid))

    def _written(self, mount: BindTree) -> _MountSource:
        """A snapshot that takes what the step writes."""
        tree = WorkingTree(self._root.new_name())
        tree.follow(layers_of(mount.tree), self._cancelled)
        path = _beneath(tree.folder, mount.source, mount.target)
        return _MountSource(mount, path, lent=True, tree=tree)

    def _of_machine(self, mount: BindPath) -> _MountSource:
        """A cache or a socket. What is on another filesystem than "/" is copied, or linked to."""
        real = os.path.realpath(mount.path) if os.path.isdir(mount.path) else mount.path
        if mount.source.strip("/"):
            real = _beneath(real, mount.source, mount.target)
        found = os.lstat(real)
        same = found.st_dev == os.lstat(self._root.folder).st_dev
        if stat.S_ISSOCK(found.st_mode) and not same:
            path = self._root.new_name()
            os.symlink(real, path)
            return _MountSource(mount, path)
        if mount.readonly and not stat.S_ISSOCK(found.st_mode):
            return _MountSource(mount, self._copy(real))
        if same:
            return _MountSource(mount, real, lent=True)
        return _MountSource(mount, self._copy(real), place=real)

    def _directory(self, mode: int) -> str:
        path = self._root.new_name()
        os.mkdir(path)
        os.chmod(path, mode)
        return path

    def _file(self, data: bytes, mode: int = 0o644, uid: int = 0, gid: int = 0) -> str:
        path = self._root.new_name()
        with open(path, "xb") as file:
            file.write(data)
            os.fchown(file.fileno(), uid, gid)
            os.fchmod(file.fileno(), mode)
        return path

    def _copy(self, real: str) -> str:
        """A copy of a directory or a file."""
        whole = f"{self._directory(0o755)}/it"
        self._copy_to(real, whole)
        return whole

    def _copy_to(self, real: str, target: str) -> None:
        found = os.stat(real)
        if stat.S_ISDIR(found.st_mode):
            os.mkdir(target)
            self._applier(target).apply(changes(NOTHING, View([real], "plain")))
        else:
            (folder, name), kind = os.path.split(target), stat.S_IFMT(found.st_mode)
            self._applier(folder).apply([Change(Kind.ADD, name, real, found.st_ino, kind)])

    def _applier(self, folder: str) -> Applier:
        return Applier(folder, link=False, cancelled=self._cancelled)

    # --- in the tree ---

    def put(self, moved: MovedTree) -> None:
        """Put all in place; the tree is "/" now."""
        kept = self._root.home.preserved()
        self._put_hosts(moved, kept)
        for source in self._sources:
            target = source.mount.target
            if isinstance(source.mount, Tmpfs):
                if self._is_tmpfs(target, kept):
                    continue  # Such as /dev/shm: what is asked for is there already.
                os.chmod(source.path, tmpfs_mode(target))
            self._put_one(moved, kept, source.path, target, lasts=source.lent)

    def _is_tmpfs(self, target: str, kept: PreservedPaths) -> bool:
        return kept.mounts.get(os.path.realpath(target)) == "tmpfs"

    def _put_hosts(self, moved: MovedTree, kept: PreservedPaths) -> None:
        step = self._step
        if kept.stays(_HOSTS):
            if step.etc_hosts:
                # The runtime's file: lines are added to it, and taken away again.
                with open(_HOSTS, "r+b") as file:
                    self._hosts = file.read()
                    more = etc_files.hosts(step.hostname, step.etc_hosts).split("\n", 2)[2]
                    file.write(more.encode())
        else:
            text = etc_files.hosts(step.hostname, step.etc_hosts).encode()
            self._put_one(moved, kept, self._file(text), _HOSTS)
        if not kept.stays(_RESOLV_CONF):
            self._put_one(moved, kept, self._file(self._resolv_conf), _RESOLV_CONF)

    def _put_one(
        self,
        moved: MovedTree,
        kept: PreservedPaths,
        source: str,
        target: str,
        *,
        lasts: bool = False,
    ) -> None:
        target = os.path.realpath(target)
        above = os.path.dirname(target)
        while not os.path.lexists(above):
            above = os.path.dirname(above)
        status = os.lstat(above)
        is_directory = stat.S_ISDIR(os.lstat(source).st_mode)
        copied = not lasts and _is_free_in_memory(target, kept)
        if not copied:
            _check(target, kept, is_directory=is_directory)
        placement = Placement(source, target, self._root.new_name(), lasts, copied)
        try:
            with closing_fd(os.open("/", os.O_PATH | os.O_DIRECTORY)) as root_fd:
                made = makedirs_beneath(root_fd, os.path.dirname(target))
            moved.note(placement)
            times = (status.st_atime_ns, status.st_mtime_ns)
            self._made.append(_Made(placement, tuple(f"/{path}" for path in made), above, times))
            if copied:
                self._copy_to(source, target)
            else:
                put(placement, kept)
            self._made[-1] = self._made[-1]._replace(put_ns=os.stat(above).st_mtime_ns)
        except OSError as error:
            raise cannot_make(target, error) from error

    def take_away(self) -> None:
        """Take all away again; no process of the step is alive."""
        kept = self._root.home.preserved()
        if self._hosts is not None:
            with open(_HOSTS, "r+b") as file:
                file.write(self._hosts)
                file.truncate()
            self._hosts = None
        while self._made:
            one = self._made.pop()
            self._collect(one)
            given_ns = _time_of(one.above)
            put_back(one.placement, kept)
            for path in reversed(one.made):
                try:
                    os.rmdir(path)
                except OSError:
                    break  # The step made use of it, or removed it.
            if os.path.isdir(one.above):
                # If the step gave it a time of its own, that one.
                times = one.times if given_ns == one.put_ns else (one.times[0], given_ns)
                os.utime(one.above, ns=times)
        for source in self._sources:
            if source.tree is not None:
                source.tree.hand_over(({}, {}), self._cancelled)

    def _collect(self, one: _Made) -> None:
        """Bring what was written to where it belongs, if it was not moved from there."""
        for source in self._sources:
            if source.path == one.placement.source and source.place:
                before, after = View([source.place], "plain"), View([one.placement.target], "plain")
                if os.path.isdir(source.place) and os.path.isdir(one.placement.target):
                    self._applier(source.place).apply(changes(before, after))

    def close(self) -> None:
        """Remove what was made and is not in place."""
        for source in self._sources:
            if source.tree is not None:
                source.tree.remove()
            elif not source.lent:
                remove_path(source.path)
                if source.path.endswith("/it"):
                    remove_path(os.path.dirname(source.path))


def _is_free_in_memory(target: str, kept: PreservedPaths) -> bool:
    """Whether nothing is at a path in a tmpfs of the container, such as /dev, where the files of
    here-documents go: a copy can be there for a while."""
    mount = target
    while mount not in kept.paths and mount != "/":
        mount = os.path.dirname(mount)
    return kept.mounts.get(mount) == "tmpfs" and mount != "/" and not os.path.lexists(target)


def _time_of(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except FileNotFoundError:
        return 0


def _beneath(tree: str, source: str, target: str) -> str:
    """The real path of what is at `source` in a tree: no symlink leads out of it."""
    try:
        with (
            closing_fd(os.open(tree, os.O_PATH | os.O_DIRECTORY)) as tree_fd,
            closing_fd(open_beneath(tree_fd, source, os.O_PATH)) as fd,
        ):
            return os.readlink(f"/proc/self/fd/{fd}")
    except OSError as error:
        raise DefinitionError(
            f"cannot mount {source} on {target}: {error.strerror}",
            hint="the source of a mount has to exist",
        ) from error


def _check(target: str, kept: PreservedPaths, *, is_directory: bool) -> None:
    """Raise if nothing can be put there."""
    if kept.holds(target):
        raise HostError(
            f"cannot mount on {target} here: the container has a mount there",
            hint="without namespaces a step's mounts cannot cover those of the container; choose "
            "another target",
        )
    if os.path.lexists(target):
        check_kind(target, os.lstat(target).st_mode, is_dir=is_directory)
