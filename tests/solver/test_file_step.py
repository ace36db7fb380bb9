"""Files of whole builds in this process: in which form they are made, and under which keys what
came of them is found again."""

import os
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import minibuild
from minibuild.cache.results import DiffKey
from minibuild.errors import Cancelled, DefinitionError
from minibuild.events import Completed, Event, Remark, Started
from minibuild.fileop import inventory
from minibuild.graph.state import State, diff, local, merge, scratch
from minibuild.session.request import BuildResult, Output
from minibuild.solver.file import FileRunner
from minibuild.solver.packer import Packer
from tests.integration.shop import Shop
from tests.support.threads import started_since

pytestmark = pytest.mark.needs("root", "mount")

COPY = scratch().copy(local(), "a", "/in/")
TREE = Output("local", "out")
IMAGE = Output("image", "")
NOTHING = Output("cacheonly", "")


class Steps(Shop):
    """A store, the context of its builds, and what the last build said."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.remarks: list[str] = []
        self.events: list[Event] = []
        self.write("a", "1")
        self.write("b", "1")

    def write(self, name: str, text: str) -> None:
        """A file of the context, which no build takes for one that was written just now."""
        Path(self.context, name).write_text(text)

    def ran(self, state: State, output: Output = NOTHING, **options: Any) -> bool:
        """Build, and tell whether the last step of the state did work."""
        self.result = self.outcome(state, output, **options)
        return self.result.executed > 0

    def outcome(self, state: State, output: Output, **options: Any) -> BuildResult:
        events = self.events = list[Event]()
        if output.type == "local":
            self.count += 1
            output = output._replace(dest=f"{self.folder}/out{self.count}")
        result = self.build(state, output, report=events.append, **options)
        self.remarks = [event.text for event in events if isinstance(event, Remark)]
        return result

    def forms(self) -> list[tuple[bool, bool]]:
        """Of each diff, whether it is a tree, and whether it is a layer."""
        rows = self.rows("SELECT upper, digest FROM diffs ORDER BY id")
        return [(upper is not None, digest is not None) for upper, digest in rows]

    def names(self, folder: str) -> list[str]:
        """What is in a folder of the store."""
        path = os.path.join(self.root, folder)
        return os.listdir(path) if os.path.isdir(path) else []


@pytest.fixture
def steps(tmp_path: Path) -> Steps:
    return Steps(tmp_path)


# --- Forms ---


@pytest.mark.parametrize(
    ("state", "outputs", "forms"),
    [
        (COPY, [IMAGE], [(False, True)]),
        (COPY, [TREE], [(True, False)]),
        (COPY, [TREE, IMAGE], [(True, True)]),
        # What is no plain copy is a tree before it is a layer.
        (scratch().mkfile("/f", b"f"), [IMAGE], [(True, True)]),
        (scratch().mkfile("/f", b"f"), [TREE], [(True, False)]),
        # A copy of a result makes a tree of that, too.
        (scratch().copy(COPY, "/in/a", "/b"), [IMAGE], [(True, False), (False, True)]),
        # A file in place of another: only as a tree.
        (COPY.copy(local(), "b", "/in/a"), [IMAGE], [(True, True), (True, True)]),
    ],
    ids=["layer", "tree", "both", "mkfile", "mkfile as a tree", "of a result", "over a file"],
)
def test_only_the_forms_that_are_wanted(
    steps: Steps, state: State, outputs: list[Output], forms: list[tuple[bool, bool]]
) -> None:
    named = [one._replace(dest=str(steps.folder / "o") if one.dest else "") for one in outputs]
    steps.build(state, tuple(named))
    assert steps.forms() == forms
    assert steps.names("ingest") == []


def test_a_tree_says_on_what_it_stands(steps: Steps) -> None:
    steps.ran(COPY.copy(local(), "b", "/b2"), TREE)
    (none, low), (below, top) = steps.rows("SELECT lower, upper FROM diffs ORDER BY id")
    assert none is None and below == low != top


@pytest.mark.parametrize(
    ("compression", "ending"), [("gzip", "+gzip"), ("zstd", "+zstd"), ("uncompressed", ".tar")]
)
def test_layers_are_compressed_as_the_output_says(
    steps: Steps, compression: str, ending: str
) -> None:
    """Those that are written while files are copied, and those of trees."""
    steps.build(COPY.mkfile("/x", b"1"), Output("image", "", {"compression": compression}))
    types = [kind for (kind,) in steps.rows("SELECT media_type FROM diffs")]
    assert len(types) == 2 and all(kind.endswith(ending) for kind in types)


def test_an_archive_is_unpacked_before_it_is_a_layer(steps: Steps) -> None:
    with tarfile.open(f"{steps.context}/t.tar", "w") as archive:
        archive.add(f"{steps.context}/a", "from/a")
    steps.write("Dockerfile", "FROM scratch\nADD t.tar b /x/\n")
    result = minibuild.build(steps.context, root=steps.root)
    assert (result.executed, steps.forms()) == (1, [(True, True)])
    again = minibuild.build(steps.context, root=steps.root, outputs=[f"{steps.folder}/o"])
    assert again.executed == 0
    assert sorted(os.listdir(f"{steps.folder}/o/x")) == ["b", "from"]


def test_layers_of_several_steps_are_made_while_others_run(
    steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are there when the image is written; none was left to that."""
    added, add = list[int](), Packer.add

    def noted(self: Packer, key: DiffKey) -> None:
        added.append(int(key))
        add(self, key)

    monkeypatch.setattr(Packer, "add", noted)
    before = threading.enumerate()
    steps.build(scratch().mkfile("/a").mkfile("/b").copy(local(), "b", "/b2"), IMAGE)
    assert steps.forms() == [(True, True), (True, True), (False, True)]
    assert added == [1, 2]  # the copy came as a layer
    steps.build(scratch().mkfile("/c").mkfile("/d"), TREE._replace(dest=f"{steps.folder}/o"))
    assert added == [1, 2]
    assert not started_since(before)


# --- Keys ---


def test_a_copy_is_found_by_its_contents(steps: Steps) -> None:
    assert steps.ran(COPY) and not steps.ran(COPY)
    os.utime(f"{steps.context}/a", (5, 5))
    steps.write("b", "that no step reads")
    assert not steps.ran(COPY)
    steps.write("a", "2")
    assert steps.ran(COPY) and not steps.ran(COPY)
    steps.write("a", "1")
    assert not steps.ran(COPY)
    os.chmod(f"{steps.context}/a", 0o600)
    assert steps.ran(COPY)
    assert len(steps.forms()) == 3


@pytest.mark.parametrize(
    "again",
    [
        scratch().copy(local(), "a", "/other/"),
        scratch().copy(local(), "a", "/in/", chmod="0600"),
        scratch().mkdir("/in").copy(local(), "a", "/in/"),
    ],
    ids=["place", "mode", "base"],
)
def test_another_shape_is_another_step(steps: Steps, again: State) -> None:
    steps.ran(COPY)
    assert steps.ran(again) and not steps.ran(again) and not steps.ran(COPY)


def test_a_step_on_one_that_came_to_the_same_is_found(steps: Steps) -> None:
    """The key of a copy of a result is that of what it copies."""
    state = scratch().copy(COPY, "/in/a", "/b").mkdir("/c")
    assert steps.ran(state)
    steps.write("b", "2")
    both = scratch().copy(scratch().copy(local(), [".", "b"], "/in/"), "/in/a", "/b").mkdir("/c")
    assert steps.ran(both)
    steps.write("b", "3")
    assert steps.ran(both)
    assert (steps.result.cached, steps.result.executed) == (2, 1)
    assert not steps.ran(both)


def test_all_runs_if_that_is_asked_for(steps: Steps) -> None:
    other = scratch().mkfile("/b")
    state = merge([COPY.mkdir("/d"), diff(other, other.mkfile("/c"))])
    steps.ran(state, IMAGE)
    steps.ran(state, IMAGE)
    assert steps.result.executed == 0
    assert steps.ran(state, IMAGE, no_cache=True)
    assert steps.result.executed == 5
    assert not steps.ran(state, IMAGE)


def test_a_diff_is_found(steps: Steps) -> None:
    one, other = scratch().mkfile("/a", b"a"), scratch().mkfile("/b", b"b")
    assert steps.ran(diff(one, other)) and not steps.ran(diff(one, other))
    assert steps.ran(diff(other, one))


def test_two_builds_at_once_do_a_step_once(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits for the key, though nothing like it was ever done."""
    entered, done = threading.Event(), list[str]()
    run = FileRunner.run

    def noted(self: FileRunner, *args: Any, **named: Any) -> Any:
        done.append("run")
        entered.wait(0.5)
        return run(self, *args, **named)

    monkeypatch.setattr(FileRunner, "run", noted)
    threads = [threading.Thread(target=steps.build, args=(COPY, NOTHING)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == ["run"]


# --- What changes meanwhile ---


def changing(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Do something after a File was done, before what came of it is kept."""
    run = FileRunner.run

    def changed(self: FileRunner, *args: Any, **named: Any) -> Any:
        made = run(self, *args, **named)
        act()
        return made

    monkeypatch.setattr(FileRunner, "run", changed)


@pytest.mark.parametrize("like_it", [False, True], ids=["new", "like another"])
def test_what_came_of_files_that_changed_is_not_kept(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, like_it: bool
) -> None:
    """Unless each was hashed while it was copied: then its key is true whatever comes after."""
    for number in range(40):  # A few would be read at once.
        steps.write(f"f{number:02}", "x")
    copy = scratch().copy(local(), ".", "/in/")
    if like_it:
        steps.ran(copy)
        steps.write("a", "2")
    with monkeypatch.context() as patch:
        changing(patch, lambda: steps.write("a", "3"))
        assert steps.ran(copy.mkdir("/d"))
        unkept = [text for text in steps.remarks if "changed meanwhile" in text]
        assert bool(unkept) == like_it
    steps.write("a", "2" if like_it else "1")
    assert steps.ran(copy.mkdir("/d")) == like_it


# --- Copies of little news ---


@pytest.fixture
def all_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of few files, which were written just now."""
    monkeypatch.setattr(inventory, "_FEW_ENTRIES", 1)
    monkeypatch.setattr(inventory, "RACY_NS", 0)


@pytest.mark.parametrize("output", [NOTHING, IMAGE, TREE], ids=["cache", "image", "tree"])
def test_little_news_begins_with_the_last_copy(
    steps: Steps, all_are_noted: None, output: Output
) -> None:
    for number in range(40):
        steps.write(f"f{number:02}", "x")
    state = scratch().copy(local(), ".", "/in/")
    steps.ran(state, output)
    steps.write("f07", "changed")
    assert steps.ran(state, output)
    (told,) = [text for text in steps.remarks if "of the last copy" in text]
    assert told == "42 files kept of the last copy"
    assert len(steps.names("inventories")) == 2
    # The layer is one of the last with changes; if no output asks for it, it stays that.
    assert len(steps.names("patches")) == (output is not TREE)
    assert steps.forms()[-1] == (output is TREE, output is IMAGE)
    found = steps.files(state)
    assert (found["in/f07"].data, found["in/f08"].data) == (b"changed", b"x")
    assert steps.names("ingest") == []


def test_a_last_copy_that_is_of_no_use_is_passed_over(steps: Steps, all_are_noted: None) -> None:
    for number in range(40):
        steps.write(f"f{number:02}", "x")
    state = scratch().copy(local(), ".", "/in/")
    steps.ran(state, TREE)
    for name in steps.names("inventories"):
        Path(steps.root, "inventories", name).write_bytes(b"damaged")
    steps.write("f07", "changed")
    assert steps.ran(state, TREE)
    assert not any("of the last copy" in text for text in steps.remarks)
    assert steps.files(state)["in/f07"].data == b"changed"


def test_what_goes_wrong_is_told_of_its_step(steps: Steps) -> None:
    with pytest.raises(DefinitionError, match='"/none": not found'):
        steps.ran(scratch().copy(local(), "none", "/"))
    (ended,) = (e for e in steps.events if isinstance(e, Completed) and e.error)
    assert '"/none": not found' in ended.error and not ended.cancelled
    assert steps.names("ingest") == [] and steps.forms() == []


@pytest.mark.parametrize(
    ("error", "said", "cancelled"), [(Cancelled("x"), "x", True), (KeyError(), "KeyError", False)]
)
def test_how_a_step_ended_is_told(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str, cancelled: bool
) -> None:
    def fails(self: FileRunner, *args: Any, **named: Any) -> Any:
        raise error

    monkeypatch.setattr(FileRunner, "run", fails)
    with pytest.raises(type(error)):
        steps.ran(COPY)
    (ended,) = (e for e in steps.events if isinstance(e, Completed) and e.error)
    assert (ended.error, ended.cancelled) == (said, cancelled)


def test_each_step_is_told_once_and_explained(steps: Steps) -> None:
    """What its key was made of is kept, for the day on which it is another one."""
    steps.ran(COPY.mkdir("/d"))
    kinds = [type(e) for e in steps.events if isinstance(e, Started | Completed)]
    assert kinds == [Started, Completed] * 3  # The context is one, too.
    assert not any(e.cached or e.error for e in steps.events if isinstance(e, Completed))
    canonical = {key for (key,) in steps.rows("SELECT canonical FROM records")}
    assert canonical == {key for (key,) in steps.rows("SELECT key FROM key_parts")}
    assert len(canonical) == 2
