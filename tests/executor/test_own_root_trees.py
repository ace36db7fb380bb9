"""How trees move in and out of a root directory around what stays; how that is mended wherever it
was cut off; and how a working tree is kept in step with layers. The root directory is a folder.
"""

import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from minibuild.errors import HostError
from minibuild.executor.ownroot import root as root_module
from minibuild.executor.ownroot.permit import ProgramHome
from minibuild.executor.ownroot.placement import Placement, put, put_back
from minibuild.executor.ownroot.preserved import PreservedPaths
from minibuild.executor.ownroot.root import Root
from minibuild.executor.ownroot.working_tree import LayerDir, WorkingTree, layer_dir_at, scan

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


class _ProgramHome(ProgramHome):
    """A home in a container with two mounts."""

    def preserved(self) -> PreservedPaths:
        live = os.path.dirname(self.path)
        mounts = {"/": "overlay", f"{live}/etc/hosts": "ext4", f"{live}/var/cache/job": "ext4"}
        return PreservedPaths(mounts, self.folders)


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
    made = Root(_ProgramHome(f"{live}/home", (f"{live}/home",)), live)
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
            put(placement, root.home.preserved())
        Path(f"{live}/made").write_text("by the step")
        for placement in (cache, secret):
            put_back(placement, root.home.preserved())


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


def _new_layer(path: Path, like: Path) -> str:
    """The empty layer of a step, whose root is as below."""
    path.mkdir()
    shutil.copystat(like, path)
    return str(path)


def _seen(layers: Sequence[str], folder: Path) -> Look:
    """What layers add up to, put together from nothing."""
    folder.mkdir()
    made = WorkingTree(f"{folder}/tree")
    made.follow([layer_dir_at(layer) for layer in layers], threading.Event())
    return look(made.folder, times=False)


def _layers(*paths: str) -> list[LayerDir]:
    return [layer_dir_at(path) for path in paths]


@pytest.mark.needs("root")
@pytest.mark.parametrize("name", CHANGES)
def test_a_layer_gets_what_a_step_did(root: Root, tmp_path: Path, name: str) -> None:
    """And the next layer what the next step did, whose tree is not copied again."""
    never = threading.Event()
    before = str(tmp_path / "before")
    _write(before, {"d/a": "a", "d/b": "b", "d/one": "linked", "e/f": "f"})
    os.link(f"{before}/d/one", f"{before}/d/two")
    os.utime(f"{before}/d/a", (5, 5))
    untouched = look(before)
    first = _new_layer(tmp_path / "first", tmp_path / "before")
    tree = WorkingTree(str(tmp_path / "tree"))
    tree.follow(_layers(first, before), never)
    assert look(tree.folder) == untouched
    Path(f"{root.folder}/journal").touch()
    root.wait_for_tick()
    CHANGES[name](tree.folder)
    tree.hand_over(({}, {}), never)
    after = look(tree.folder, times=False)
    assert _seen([first, before], tmp_path / "after first") == after
    assert look(before) == untouched, "a layer that shares files was written to"
    if name == "nothing":
        assert os.listdir(first) == []

    second = _new_layer(tmp_path / "second", tmp_path / "first")
    inodes = {path: status.st_ino for path, status in scan(tree.folder).items()}
    tree.follow(_layers(second, first, before), never)
    shared = {path for path, status in scan(tree.folder).items() if inodes[path] != status.st_ino}
    assert shared <= scan(first).keys(), "what no step changed was copied again"
    root.wait_for_tick()
    _write(tree.folder, {"e/f": "changed", "later": "by the second step"})
    tree.hand_over(({}, {}), never)
    assert sorted(os.listdir(second)) == ["e", "later"]
    assert _seen([second, first, before], tmp_path / "after second") == look(
        tree.folder, times=False
    )
    assert _seen([first, before], tmp_path / "after all") == after and look(before) == untouched


@pytest.mark.parametrize("name", CHANGES)
def test_a_copy_of_the_whole_tree_gets_it_too(root: Root, tmp_path: Path, name: str) -> None:
    """As the native snapshotter has it, where files take no attributes."""
    never, whole = threading.Event(), str(tmp_path / "whole")
    _write(whole, {"d/a": "a", "d/b": "b", "d/one": "linked", "e/f": "f"})
    os.link(f"{whole}/d/one", f"{whole}/d/two")
    tree = WorkingTree(str(tmp_path / "tree"))
    tree.follow(_layers(whole), never)
    Path(f"{root.folder}/journal").touch()
    root.wait_for_tick()
    CHANGES[name](tree.folder)
    tree.hand_over(({}, {}), never)
    assert look(whole, times=False) == look(tree.folder, times=False)


def test_a_tree_goes_from_one_stage_to_another(tmp_path: Path) -> None:
    """What both have keeps its inode; what one has does not get into the other."""
    never = threading.Event()
    base, one, other = (str(tmp_path / name) for name in ("base", "one", "other"))
    _write(base, {"a": "a", "b": "b"})
    _write(one, {"b": "of the first stage", "c": "c"})
    _write(other, {"d/e": "of the second stage"})
    tree = WorkingTree(str(tmp_path / "tree"))
    tree.follow(_layers(one, base), never)
    inode = os.stat(f"{tree.folder}/a").st_ino
    assert tree.likeness(_layers(other, base)) == 1 and tree.likeness(_layers(other)) == 0
    tree.follow(_layers(other, base), never)
    found = {path: text for path, (_, _, text) in look(tree.folder).items() if text}
    assert found == {"/a": "a", "/b": "b", "/d/e": "of the second stage"}
    assert os.stat(f"{tree.folder}/a").st_ino == inode


def test_a_tree_of_layers_that_are_gone_is_like_none(tmp_path: Path) -> None:
    never = threading.Event()
    base, layer = str(tmp_path / "base"), str(tmp_path / "layer")
    _write(base, {"a": "a"})
    _write(layer, {"b": "b"})
    tree = WorkingTree(str(tmp_path / "tree"))
    tree.follow(_layers(layer, base), never)
    assert tree.likeness(_layers(base)) == 1
    os.rename(layer, f"{layer}.old")
    assert tree.likeness(_layers(base)) == -1
    _write(layer, {"c": "another with its name"})
    assert tree.likeness(_layers(layer, base)) == -1
