"""How trees move in and out of a root directory around what stays; how that is mended wherever it
was cut off; and how a working tree is kept in step with snapshots. The root directory is a folder.
"""

import os
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from minibuild.errors import HostError
from minibuild.executor.ownroot import root as root_module
from minibuild.executor.ownroot.kept import Kept
from minibuild.executor.ownroot.permit import Home
from minibuild.executor.ownroot.placement import Placement, put, put_back
from minibuild.executor.ownroot.root import Root
from minibuild.executor.ownroot.working_tree import WorkingTree, scan

Look = dict[str, tuple[str, int, str]]


def look(folder: str | Path, *, times: bool = True) -> Look:
    """A tree: the type and mode of each path, its time, and what it holds."""
    found = {}
    for where, folders, files in os.walk(folder):
        for path in [where, *(f"{where}/{name}" for name in folders + files)]:
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                text = os.readlink(path)
            else:
                text = Path(path).read_text() if stat.S_ISREG(status.st_mode) else ""
            name = path.removeprefix(str(folder)) or "/"
            time = status.st_mtime_ns if times else 0
            found[name] = (stat.filemode(status.st_mode), time, text)
    return found


class _Home(Home):
    """A home in a container with two mounts."""

    def kept(self) -> Kept:
        live = os.path.dirname(self.path)
        mounts = {"/": "overlay", f"{live}/etc/hosts": "ext4", f"{live}/var/cache/job": "ext4"}
        return Kept(mounts, self.folders)


@pytest.fixture
def live(tmp_path: Path) -> str:
    """The root directory of a container, with the image's own files."""
    made = tmp_path / "live"
    for path in ("home/lib", "etc", "var/cache/job", "tmp"):
        (made / path).mkdir(parents=True)
    (made / "etc/hosts").write_text("the runtime's")
    (made / "etc/passwd").write_text("root:image")
    (made / "var/cache/job/kept").write_text("the job's")
    for where, _, _ in os.walk(made, topdown=False):
        os.utime(where, (1, 1))
    return str(made)


@pytest.fixture
def root(live: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Root]:
    monkeypatch.setattr(root_module, "end_leftovers", lambda live, kept: None)
    made = Root(_Home(f"{live}/home", (f"{live}/home",)), live)
    yield made
    made.close()


def _tree(root: Root) -> str:
    """A tree for a step, which has paths where the container has mounts."""
    folder = root.new_name()
    for path in ("bin", "etc", "var/cache/job"):
        os.makedirs(f"{folder}/{path}")
    Path(f"{folder}/bin/sh").write_text("a shell")
    Path(f"{folder}/etc/hosts").write_text("the image's")
    Path(f"{folder}/etc/passwd").write_text("root:tree")
    os.symlink("sh", f"{folder}/bin/bash")
    os.utime(f"{folder}/var", (2, 2))
    os.chmod(folder, 0o711)
    return folder


def _without_home(found: Look) -> Look:
    return {path: one for path, one in found.items() if not path.startswith("/home")}


def test_a_step_sees_its_tree_and_what_stays(root: Root, live: str) -> None:
    before = _without_home(look(live))
    tree = _tree(root)
    stored = look(tree)
    with root.holding(tree, []):
        inside = _without_home(look(live))
        assert inside["/etc/passwd"][2] == "root:tree" and "/tmp" not in inside
        assert inside["/etc/hosts"][2] == "the runtime's"
        assert inside["/var/cache/job/kept"][2] == "the job's"
        assert inside["/"][0] == "drwx--x--x" and inside["/var"][1] == 2_000_000_000
    assert _without_home(look(live)) == before
    assert look(tree) == stored, "the image's own /etc/hosts, hidden meanwhile, and all times"


def test_what_a_step_did_is_in_its_tree(root: Root, live: str) -> None:
    before = _without_home(look(live))
    tree = _tree(root)
    with root.holding(tree, []):
        Path(f"{live}/new").write_text("new")
        os.unlink(f"{live}/bin/bash")
        Path(f"{live}/var/cache/beside").write_text("beside a mount")
    assert _without_home(look(live)) == before
    found = look(tree)
    assert found["/new"][2] == "new" and "/bin/bash" not in found
    assert found["/var/cache/beside"][2] == "beside a mount"


def test_what_a_step_wrote_where_its_image_has_a_symlink_is_not_lost_in_silence(
    root: Root, live: str
) -> None:
    before = _without_home(look(live))
    tree = _tree(root)
    os.rename(f"{tree}/var", f"{tree}/other")
    os.symlink("other", f"{tree}/var")
    with root.holding(tree, []):
        pass
    assert os.readlink(f"{tree}/var") == "other"
    with pytest.raises(HostError, match=r"a step wrote to .*/var, which"), root.holding(tree, []):
        Path(f"{live}/var/lost").touch()
    assert _without_home(look(live)) == before


# --- Killed at any moment -------------------------------------------------------------------------


class Killed(BaseException):
    """The process is dead: nothing of it runs after this."""


@contextmanager
def dying(monkeypatch: pytest.MonkeyPatch, at: int) -> Iterator[list[int]]:
    """Let each change of the filesystem fail from number `at` on, as for a process that is dead.
    Yields a list whose length is the number of changes."""
    calls: list[int] = []

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(*given: object, **named: object) -> object:
            calls.append(1)
            if len(calls) >= at:
                raise Killed
            return real(*given, **named)

        return call

    with monkeypatch.context() as patch:
        for name in "rename mkdir rmdir unlink utime chmod fchmod".split():
            patch.setattr(os, name, counted(getattr(os, name)))
        yield calls


def _step(root: Root, live: str, tree: str) -> None:
    """A step with a mount that is dropped, and one that is to be moved back."""
    secret = Placement(f"{root.folder}/secret", f"{live}/etc/secret", root.new_name())
    cache = Placement(f"{root.folder}/cache", f"{live}/bin", root.new_name(), True)
    with root.holding(tree, []) as stay:
        for placement in (secret, cache):
            stay.note(placement)
            put(placement, root.home.kept())
        Path(f"{live}/made").write_text("by the step")
        for placement in (cache, secret):
            put_back(placement, root.home.kept())


def _prepare(root: Root) -> str:
    Path(f"{root.folder}/secret").write_text("secret")
    if not os.path.isdir(f"{root.folder}/cache"):
        os.mkdir(f"{root.folder}/cache")
    Path(f"{root.folder}/cache/entry").write_text("long work")
    return _tree(root)


def test_a_kill_at_any_moment_is_mended(
    tmp_path: Path, live: str, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _without_home(look(live, times=False))
    moment = 0
    while True:
        moment += 1
        tree = _prepare(root)
        try:
            with dying(monkeypatch, at=moment):
                _step(root, live, tree)
        except Killed:
            pass
        else:
            break
        # The next process, which finds what the dead one left.
        root.sweep()
        assert _without_home(look(live, times=False)) == before, f"killed at change {moment}"
        assert root.foreign() == ["/etc/passwd"]
        assert os.listdir(f"{root.folder}/cache") == ["entry"], f"killed at change {moment}"
        assert not os.path.exists(f"{live}/etc/secret")
    assert moment > 30


def test_a_kill_while_a_kill_is_mended_is_mended(
    live: str, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _without_home(look(live, times=False))
    for moment in range(1, 60, 3):
        tree = _prepare(root)
        with pytest.raises(Killed), dying(monkeypatch, at=25):
            _step(root, live, tree)
        try:
            with dying(monkeypatch, at=moment):
                root.sweep()
        except Killed:
            pass
        root.sweep()
        assert _without_home(look(live, times=False)) == before, (
            f"killed at change {moment} of mending"
        )
        assert os.listdir(f"{root.folder}/cache") == ["entry"]


def test_what_dead_processes_left_is_removed(root: Root, live: str) -> None:
    pid = os.fork()
    if pid == 0:
        os.mkdir(Root(root.home, live).new_name())
        os._exit(0)  # Without `close`.
    os.waitpid(pid, 0)
    left = [name for name in os.listdir(root.folder) if os.path.isdir(f"{root.folder}/{name}")]
    assert len(left) == 2  # One is `owners`.
    root.sweep()
    assert sorted(os.listdir(root.folder)) == ["lock", "owners"]


# --- Working trees --------------------------------------------------------------------------------


def _write(folder: str, files: Mapping[str, str]) -> None:
    for path, text in files.items():
        os.makedirs(os.path.dirname(f"{folder}/{path}"), exist_ok=True)
        Path(f"{folder}/{path}").write_text(text)


CHANGES: Mapping[str, Callable[[str], object]] = {
    "nothing": lambda folder: None,
    "a new file": lambda folder: _write(folder, {"d/new": "new"}),
    "other contents": lambda folder: _write(folder, {"d/a": "other"}),
    "other contents, as large and as old": lambda folder: (
        _write(folder, {"d/a": "A"}),
        os.utime(f"{folder}/d/a", (5, 5)),
    ),
    "another mode": lambda folder: os.chmod(f"{folder}/d/a", 0o4711),
    "another mode of a directory": lambda folder: os.chmod(f"{folder}/d", 0o1777),
    "removed": lambda folder: os.unlink(f"{folder}/d/a"),
    "renamed": lambda folder: os.rename(f"{folder}/d", f"{folder}/renamed"),
    "a file for a directory": lambda folder: (
        os.rename(f"{folder}/d", f"{folder}/other"),
        _write(folder, {"d": "a file"}),
    ),
    "a directory for a file": lambda folder: (
        os.unlink(f"{folder}/d/a"),
        _write(folder, {"d/a/inner": "x"}),
    ),
    "a symlink for a file": lambda folder: (
        os.unlink(f"{folder}/d/a"),
        os.symlink("b", f"{folder}/d/a"),
    ),
    "one more name": lambda folder: os.link(f"{folder}/d/a", f"{folder}/again"),
    "written by another name": lambda folder: _write(folder, {"d/two": "both"}),
    "one name less": lambda folder: os.unlink(f"{folder}/d/two"),
    "a fifo": lambda folder: os.mkfifo(f"{folder}/fifo"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_snapshot_gets_what_a_step_did(tmp_path: Path, name: str) -> None:
    """And the next snapshot what the next step did, whose tree is not copied again."""
    never = threading.Event()
    (tmp_path / "trees").mkdir()
    before, first, second = (str(tmp_path / name) for name in ("before", "first", "second"))
    _write(before, {"d/a": "a", "d/b": "b", "d/one": "linked", "e/f": "f"})
    os.link(f"{before}/d/one", f"{before}/d/two")
    os.utime(f"{before}/d/a", (5, 5))
    untouched = look(before)
    subprocess.run(["cp", "-al", before, first], check=True)  # As a snapshot shares its files.
    tree = WorkingTree(str(tmp_path / "trees/1"))
    tree.follow(first, scan(first), never)
    assert look(tree.folder) == look(first)
    CHANGES[name](tree.folder)
    tree.hand_over(first, ({}, {}), never)
    assert look(first) == look(tree.folder)
    assert look(before) == untouched, "a snapshot that shares files was written to"

    handed = look(first)
    subprocess.run(["cp", "-al", first, second], check=True)
    tree.follow(second, scan(second), never)
    _write(tree.folder, {"e/f": "changed", "again": "by the second step"})
    tree.hand_over(second, ({}, {}), never)
    assert look(second) == look(tree.folder)
    assert look(first) == handed and look(before) == untouched


def test_a_tree_is_copied_once(tmp_path: Path) -> None:
    """What is the same in the next snapshot keeps its inode in the tree."""
    never = threading.Event()
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    _write(first, {"a": "a", "b": "b"})
    subprocess.run(["cp", "-al", first, second], check=True)
    os.unlink(f"{second}/b")
    _write(second, {"b": "other"})
    tree = WorkingTree(str(tmp_path / "tree"))
    tree.follow(first, scan(first), never)
    inode = os.stat(f"{tree.folder}/a").st_ino
    assert tree.likeness(scan(second)) == 1
    tree.follow(second, scan(second), never)
    assert look(tree.folder) == look(second) and os.stat(f"{tree.folder}/a").st_ino == inode
