"""Contexts as mounts: what is made for them, how often, and when it is made again."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minibuild.executor.api import BindContext, BindTree, StepMount
from minibuild.fileop.api import SourceTree
from minibuild.graph.op import BindMount
from minibuild.snapshot.api import Mount
from minibuild.store.layout import Store
from minibuild.worker.context_mounts import ContextMounts

# An account that may not make whiteouts or give files away would go another way by itself.
pytestmark = pytest.mark.needs("root")


class Bench:
    """A context, and the mounts of it."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.folder = folder
        self.mounts = ContextMounts(store, "trusted")
        for name in ("a/f", "a/x.o", "b/f", "c"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)

    def mount(
        self, source: str = "/", *ignore: str, readonly: bool = True
    ) -> BindContext | BindTree:
        """What the executor would be given."""
        fd = os.open(self.folder, os.O_RDONLY)
        try:
            found = self.mounts.mount(
                SourceTree(fd, ignore, local=True),
                str(self.folder),
                BindMount("/t", 0, source, readonly),
                threading.Event(),
            )
        finally:
            os.close(fd)
        assert isinstance(found, BindContext | BindTree)
        return found

    def mask(self, *ignore: str) -> str:
        """The mask of the whole context."""
        found = self.mount("/", *ignore)
        assert isinstance(found, BindContext) and found.mask
        return found.mask

    def chown(self, *owner: int) -> None:
        """Give all files away."""
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, *owner, follow_symlinks=False)


@pytest.fixture
def bench(store: Store, tmp_path: Path) -> Iterator[Bench]:
    """A context of root's."""
    made = Bench(store, tmp_path / "context")
    yield made
    made.mounts.close()
    assert not os.listdir(store.path("ingest"))


def names(mask: str) -> list[str]:
    """The paths in a mask; whiteouts have a minus sign."""
    top = Path(mask)
    return sorted(
        ("-" if path.is_char_device() else "") + str(path.relative_to(top))
        for path in top.rglob("*")
    )


def test_a_context_that_is_fine_has_no_mask(bench: Bench) -> None:
    folder = str(bench.folder)
    assert bench.mount() == BindContext("/t", folder)
    assert bench.mount("/a", "*.log") == BindContext("/t", folder, "a")
    assert bench.mount("/c", readonly=False) == BindContext(
        "/t", folder, "c", writable_discard=True
    )


def test_one_owner_is_mapped(bench: Bench) -> None:
    bench.chown(1003, 1004)
    assert bench.mount() == BindContext("/t", str(bench.folder), owner=(1003, 1004))
    os.chown(bench.folder / "c", 5, 6)
    assert bench.mount("/c") == BindContext("/t", str(bench.folder), "c", (5, 6))
    assert bench.mount("/a").owner == (1003, 1004)  # type: ignore[union-attr]
    found = bench.mount()
    assert isinstance(found, BindContext) and found.owner == (1003, 1004)
    assert names(found.mask) == ["c"]


@pytest.mark.parametrize(
    ("ignore", "expected"),
    [
        (["**/*.o"], ["-a/x.o", "a"]),
        (["a"], ["-a"]),
        (["a", "!a/f"], ["-a/x.o", "a"]),
        (["*"], ["-a", "-b", "-c"]),
        (["*", "!b/nosuch"], ["-a", "-b", "-c"]),
        (["*", "!c"], ["-a", "-b"]),
        (["c", "b/f"], ["-b/f", "-c", "b"]),
    ],
)
def test_what_is_ignored_is_a_whiteout(
    bench: Bench, ignore: list[str], expected: list[str]
) -> None:
    assert names(bench.mask(*ignore)) == expected


def test_directories_of_a_mask_are_as_those_below_it(bench: Bench) -> None:
    os.chmod(bench.folder / "a", 0o1711)
    os.utime(bench.folder / "a", ns=(5, 7_000_000_001))
    os.utime(bench.folder, ns=(5, 8_000_000_001))
    mask = bench.mask("a/f")
    found = os.stat(f"{mask}/a")
    assert (found.st_mode & 0o7777, found.st_mtime_ns) == (0o1711, 7_000_000_001)
    assert os.stat(mask).st_mtime_ns == 8_000_000_001


def settle() -> None:
    """Let so much time pass that what was changed is known to be older than what comes."""
    time.sleep(0.05)


def test_a_mask_is_made_once(bench: Bench) -> None:
    """For all steps that see the same of a context, as long as that is the same."""
    settle()
    mask = bench.mask("*.o", "c")
    assert bench.mask("*.o", "c") == mask
    assert bench.mask("c") != mask
    (bench.folder / "a/f").write_text("changed: but the step sees the file itself")
    assert bench.mask("*.o", "c") == mask
    (bench.folder / "b/new").write_text("")
    assert bench.mask("*.o", "c") != mask


def test_what_a_mask_replaces_is_looked_at(bench: Bench) -> None:
    os.chown(bench.folder / "c", 5, 6)
    settle()
    mask = bench.mask()
    assert bench.mask() == mask and Path(mask, "c").read_text() == "c"
    (bench.folder / "c").write_text("changed")
    again = bench.mask()
    assert again != mask and Path(again, "c").read_text() == "changed"


def test_a_context_that_was_just_written_is_not_trusted(bench: Bench) -> None:
    """A file that is made in the same tick of the clock would leave no trace."""
    settle()
    (bench.folder / "b/one").write_text("")
    mask = bench.mask("c")
    assert bench.mask("c") != mask


def test_from_the_best_way_down(bench: Bench) -> None:
    bench.chown(1003, 1004)
    os.chown(bench.folder / "c", 0, 0)
    first = bench.mount("/", "a")
    assert isinstance(first, BindContext) and first.owner == (1003, 1004)
    assert names(first.mask) == ["-a", "c"]
    assert bench.mounts.weaken([first])
    second = bench.mount("/", "a")
    assert isinstance(second, BindContext) and second.owner == (0, 0)
    assert names(second.mask) == ["-a", "b", "b/f"]
    assert bench.mounts.weaken([second])
    third = bench.mount("/", "a")
    assert isinstance(third, BindTree)
    copy = third.tree.layers[0]
    assert names(copy) == ["b", "b/f", "c"]
    assert {os.stat(f"{copy}/{name}").st_uid for name in (".", "b", "b/f", "c")} == {0}
    assert not bench.mounts.weaken([third])


def test_a_way_that_would_be_the_same_is_left_out(bench: Bench) -> None:
    first = bench.mount("/", "a")
    assert bench.mounts.weaken([first])
    assert isinstance(bench.mount("/", "a"), BindTree)
    others: list[StepMount] = [BindTree("/x", Mount(()))]
    assert not bench.mounts.weaken(others)


def test_two_steps_that_fail_at_once_go_one_way_down(bench: Bench) -> None:
    bench.chown(1003, 1004)
    first, second = bench.mount("/", "a"), bench.mount("/b", "a")
    assert bench.mounts.weaken([first]) and bench.mounts.weaken([second])
    assert isinstance(bench.mount("/", "a"), BindContext)


def test_a_way_down_is_for_one_context(bench: Bench, tmp_path: Path) -> None:
    assert bench.mounts.weaken([bench.mount("/", "a")])
    copied = bench.mount("/", "a")
    bench.folder = bench.folder / "a"
    assert isinstance(copied, BindTree)
    assert isinstance(bench.mount("/", "f"), BindContext)


def test_copies_are_made_once_too(bench: Bench) -> None:
    settle()
    bench.mounts.weaken([bench.mount("/", "a")])
    first = bench.mount("/", "a")
    assert bench.mount("/", "a") == first
    (bench.folder / "b/f").write_text("changed")
    assert bench.mount("/", "a") != first
