"""How trees are mounted, each time in a mount namespace that ends with a thread; and what comes of
it where a kernel refuses."""

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from minibuild.errors import HostError
from minibuild.linux import syscalls
from minibuild.linux.descriptors import closing_fd
from minibuild.snapshot.api import MAX_DATA_BYTES, Mount
from minibuild.snapshot.mount import attach, open_detached, open_in_own_namespace, open_overlay
from tests.snapshot.world import World, chain, in_mount_namespace, mounts_in
from tests.support.descriptors import open_descriptors, opened_since

pytestmark = pytest.mark.needs("root")

MS_SHARED = 1 << 20  # mount(2)


def directories(folder: Path, *names: str) -> str:
    """Directories with a file each, called as they are."""
    for name in names:
        (folder / name).mkdir()
        (folder / name / f"of-{name}").touch()
    return str(folder)


def attached(mount: Mount, target: Path, flags: int = 0) -> tuple[list[str], set[str], str]:
    """What is at `target` once a tree is mounted there: its entries, the flags of the mount, and
    the source that its filesystem names."""
    target.mkdir(exist_ok=True)

    def work() -> tuple[list[str], set[str], str]:
        attach(mount, str(target), flags)
        line = own_mounts()[-1]
        where, _, filesystem = line.partition(" - ")
        assert where.split()[4] == str(target)
        return sorted(os.listdir(target)), set(where.split()[5].split(",")), filesystem.split()[1]

    return in_mount_namespace(work)


def own_mounts() -> list[str]:
    """Those that this thread sees, the newest last."""
    with open("/proc/thread-self/mountinfo") as file:
        return list(file)


@pytest.mark.parametrize("flags", [0, syscalls.MS_NODEV, syscalls.MS_NOSUID | syscalls.MS_NODEV])
@pytest.mark.parametrize("writable", [False, True])
def test_one_directory_is_bound(tmp_path: Path, writable: bool, flags: int) -> None:
    """Read-only if nothing takes what is written."""
    one = directories(tmp_path, "one") + "/one"
    mount = Mount((), one) if writable else Mount((one,))
    entries, have, _ = attached(mount, tmp_path / "target", flags)
    assert entries == ["of-one"]
    assert ("rw" in have, "ro" in have) == (writable, not writable)
    wanted = {"nodev": syscalls.MS_NODEV, "nosuid": syscalls.MS_NOSUID}
    # A mount may have one of them from the filesystem of the tests.
    assert have >= {name for name, flag in wanted.items() if flags & flag}


@pytest.mark.parametrize("flags", [0, syscalls.MS_NODEV])
@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("writable", [False, True])
def test_several_directories_are_an_overlay(
    tmp_path: Path, writable: bool, relative: bool, flags: int
) -> None:
    folder = directories(tmp_path, "one", "two", "up", "work")
    prefix = "" if relative else f"{folder}/"
    mount = Mount((f"{prefix}two", f"{prefix}one"), folder=folder if relative else "")
    if writable:
        mount = mount._replace(upper=f"{prefix}up", work=f"{prefix}work")
    target = tmp_path / "target"
    entries, have, source = attached(mount, target, flags)
    assert entries == ["of-one", "of-two", *(["of-up"] if writable else [])]
    assert source == "overlay" and ("nodev" in have) == bool(flags)
    if not writable:
        with pytest.raises(OSError, match="Read-only"):
            in_mount_namespace(lambda: (attach(mount, str(target)), (target / "new").touch()))


@pytest.mark.parametrize(("over", "source"), [(0, "overlay"), (1, "none")])
def test_more_options_than_a_page_go_one_by_one(tmp_path: Path, over: int, source: str) -> None:
    """mount(2) takes a page of them; a filesystem of fsopen(2) has no source."""
    names = [f"{number:02}" for number in range(40)]
    folder = directories(tmp_path, *names)
    mount = Mount(tuple(names), folder=folder)
    missing = MAX_DATA_BYTES + over - len(mount.data)
    slashes = ["/" * (missing // 40 + (number < missing % 40)) for number in range(40)]
    mount = mount._replace(lower=tuple(map("".join, zip(names, slashes, strict=True))))
    assert len(mount.data) == MAX_DATA_BYTES + over
    entries, have, found = attached(mount, tmp_path / "target", syscalls.MS_NODEV)
    assert entries == [f"of-{name}" for name in names]
    assert "nodev" in have and found == source


def test_what_cannot_be_stacked_is_named(tmp_path: Path) -> None:
    mount = Mount(tuple(f"{number:0200}" for number in range(30)), folder=str(tmp_path))
    before = open_descriptors()
    with pytest.raises(HostError, match="so many layers: No such file") as caught:
        in_mount_namespace(lambda: attach(mount, str(tmp_path)))
    assert "use fewer layers" in caught.value.hint
    assert not opened_since(before)


@pytest.mark.parametrize("way", [open_detached, open_in_own_namespace, open_overlay])
@pytest.mark.parametrize("writable", [False, True])
def test_a_tree_that_is_mounted_nowhere(
    tmp_path: Path, writable: bool, way: Callable[[Mount], int]
) -> None:
    """Also where mounts spread: nothing else sees it. It has no devices and no set-id programs."""
    folder = directories(tmp_path, "one", "two", "up", "work")
    mount = Mount(("two", "one"), folder=folder)
    if writable:
        mount = mount._replace(upper="up", work="work")

    def work() -> None:
        # What others mount on this machine meanwhile does not arrive here.
        syscalls.mount("", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
        syscalls.mount(folder, folder, flags=syscalls.MS_BIND)
        syscalls.mount("", folder, flags=MS_SHARED)
        before, seen = open_descriptors(), own_mounts()
        with closing_fd(way(mount)) as fd:
            assert len(os.listdir(fd)) == 2 + writable
            flags = os.fstatvfs(fd).f_flag
            assert flags & os.ST_NOSUID and flags & os.ST_NODEV
            assert bool(flags & os.ST_RDONLY) == (not writable)
            assert own_mounts() == seen
            assert not os.get_inheritable(fd)
        assert not opened_since(before)

    in_mount_namespace(work)


@pytest.mark.parametrize("way", [open_detached, open_in_own_namespace])
def test_a_directory_that_is_missing(tmp_path: Path, way: Callable[[Mount], int]) -> None:
    before = open_descriptors()
    with pytest.raises(OSError, match="No such file"):
        way(Mount(("no", "nor"), folder=str(tmp_path)))
    assert not opened_since(before)


def test_the_older_way_writes_to_many_layers(stack: World) -> None:
    active = stack.snapshots.prepare(chain(stack, 20)[-1])
    with closing_fd(open_in_own_namespace(stack.snapshots.mount(active, readonly=False))) as fd:
        os.unlink("f3", dir_fd=fd)
        os.mkdir("new", dir_fd=fd)
    assert mounts_in(stack) == []
    stack.snapshots.commit(active)
    assert len(stack.paths(active)) == 20


# Answers of other kernels -------------------------------------------------------------------------


def fails(code: int, call: str = "") -> Callable[[Mount], int]:
    def way(_: Mount) -> int:
        raise syscalls.SyscallError(code, call) if call else OSError(code, os.strerror(code))

    return way


def works(_: Mount) -> int:
    return os.open(os.devnull, os.O_RDONLY)


@pytest.mark.parametrize(
    ("ways", "folder", "told"),
    [
        ([works, fails(errno.EPERM)], "/s", ""),
        ([fails(errno.EINVAL), works], "/s", ""),
        ([fails(errno.ENOSYS), works], "/s", ""),
        ([fails(errno.EPERM), works], "/s", "Operation not permitted; the native snapshotter"),
        ([fails(errno.EINVAL), fails(errno.EPERM)], "/s", "not permitted; the native snapshotter"),
        ([fails(errno.EPERM, "fsopen"), works], "/s", "fsopen: .* not permitted; mounting needs"),
        ([fails(errno.ENOSPC), works], "/", "No space left on device; the native snapshotter"),
        ([fails(errno.ENOSPC), works], "/proc", r"\[Errno 28\] .*'/proc'"),  # It has no room.
        ([fails(errno.EPERM), works], "/proc", "Operation not permitted; the native snapshotter"),
        ([fails(errno.EMFILE), works], "/s", r"\[Errno 24\]"),
        ([fails(errno.ENFILE), works], "/s", r"\[Errno 23\]"),
    ],
)
def test_how_a_refusal_ends(ways: Sequence[Callable[[Mount], int]], folder: str, told: str) -> None:
    """In the older way if the kernel does not know the newer one; else in an error that says what
    to do. What the machine lacks is explained elsewhere, so that stays an error of the system."""
    mount, both = Mount(("a", "b"), folder=folder), (ways[0], ways[1])
    if not told:
        os.close(open_overlay(mount, both))
        return
    kind, words = (OSError, told) if told.startswith(r"\[") else (HostError, told.split("; ")[0])
    with pytest.raises(kind, match=words) as caught:
        open_overlay(mount, both)
    if isinstance(caught.value, HostError):
        assert f"cannot mount an overlay in {folder}: " in str(caught.value)
        assert told.split("; ")[1] in caught.value.hint
