"""A plan in memory is what writing it gives, and wildcards match what a naive model says."""

import os
import stat
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minibuild.errors import DefinitionError
from minibuild.fileop import plan
from minibuild.fileop.api import Entry, Planned, Sink, SourceTree, Tally
from minibuild.fileop.dest import InMemory, Unplannable
from minibuild.fileop.plan import put_copy
from minibuild.fileop.walk import FoundFile
from minibuild.graph.op import Copy
from minibuild.graph.pattern import match_glob
from tests.fileop.trees import Bench, make, opened, paths, tell

NAMES = st.sampled_from(["a", "b", "ab", "a.b", ".h", "é"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
GLOBS = st.lists(
    st.sampled_from(["*", "?", "a*", "[ab]", "[^a]*", "a", "*.b"]), min_size=1, max_size=3
)
SETTINGS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def fill(top: Path, files: list[str]) -> dict[str, str]:
    """Those of the files that fit beside each other."""
    top.mkdir()
    made = {}
    for path in files:
        try:
            (top / path).parent.mkdir(parents=True, exist_ok=True)
            (top / path).write_text(path)
        except OSError:
            continue
        made[path] = path
    return made


class Entries(Sink):
    """A sink that keeps the entries, and writes nothing."""

    def __init__(self, base_fd: int | None) -> None:
        self.dest = InMemory(base_fd)
        self.digest = b""
        self.entries: list[Entry] = []

    def put(self, entry: Planned, found: FoundFile | None = None) -> None:
        self.dest.add(entry)
        assert isinstance(entry, Entry)
        self.entries.append(entry)


def planned(copies: list[Copy], source: str, base: str | None = None) -> list[Entry]:
    with opened(source, base or source) as (source_fd, base_fd):
        sink = Entries(None if base is None else base_fd)
        for copy in copies:
            put_copy(copy, SourceTree(source_fd), sink.dest, sink, Tally())
    return sink.entries


@SETTINGS
@given(files=st.lists(PATHS, max_size=8), glob=GLOBS)
def test_wildcards_against_a_model(tmp_path: Path, files: list[str], glob: list[str]) -> None:
    source = Path(mkdtemp(dir=tmp_path), "source")
    made = fill(source, files)
    pattern = "/".join(glob)
    present = set(paths(str(source)))
    # Go's Match of the whole path; a directory stands for its contents.
    matched = sorted(
        path
        for path in present
        if path.count("/") == pattern.count("/") and all(map(match_glob, glob, path.split("/")))
    )
    expected = set()
    for path in matched:
        if path in made:
            expected.add(path.rpartition("/")[2])
        else:
            expected |= {p[len(path) + 1 :] for p in present if p.startswith(path + "/")}
    if "*" not in pattern and "?" not in pattern and "[" not in pattern and not matched:
        with pytest.raises(DefinitionError):
            planned([Copy(0, (pattern,), "/")], str(source))
        return
    try:
        entries = planned([Copy(0, (pattern,), "/")], str(source))
    except DefinitionError as error:
        # A fixed part that is missing, or sources that collide in the one destination.
        assert "not found" in error.message or "cannot" in error.message
        return
    assert {entry.path for entry in entries} == expected


@SETTINGS
@given(files=st.lists(PATHS, max_size=8), dest=st.sampled_from(["/", "/x", "/x/", "/a/b/"]))
def test_a_plan_is_what_is_written(bench: Bench, files: list[str], dest: str) -> None:
    bench = Bench(mkdtemp(dir=bench.dest))
    os.rmdir(bench.source)
    fill(Path(bench.source), files)
    copy = Copy(0, (".",), dest)
    entries = planned([copy], bench.source)
    bench.run(copy)
    assert {e.path: stat.filemode(e.mode) for e in entries} == {
        path: stat.filemode(os.lstat(os.path.join(bench.dest, path)).st_mode)
        for path in tell(bench.dest)
    }


def test_directories_come_before_their_contents(bench: Bench) -> None:
    make(bench.source, {"b/c/d": "", "b/a": "", "a": "", "c/": ""})
    order = [entry.path for entry in planned([Copy(0, (".",), "/x")], bench.source)]
    assert order == ["x", "x/a", "x/b", "x/b/a", "x/b/c", "x/b/c/d", "x/c"]


def test_later_sources_see_earlier_ones_and_the_base(bench: Bench) -> None:
    make(bench.source, {"f": "f", "g": "g", "d/h": "h"})
    make(bench.dest, {"real/": "", "lnk": "-> real", "file": ""})
    copies = [Copy(0, ("d",), "/new"), Copy(0, ("f",), "/new"), Copy(0, ("g",), "/lnk")]
    found = [entry.path for entry in planned(copies, bench.source, bench.dest)]
    assert found == ["new", "new/h", "new/f", "real/g"]
    for copy in (Copy(0, ("d",), "/file"), Copy(0, ("f",), "/file/x")):
        with pytest.raises(DefinitionError):
            planned([copy], bench.source, bench.dest)
    with pytest.raises(DefinitionError, match="cannot copy to non-directory: /f"):
        planned([Copy(0, ("f", "d"), "/f")], bench.source)


def test_what_cannot_be_planned(bench: Bench) -> None:
    make(bench.source, {"d/l": "-> elsewhere", "f": "f"})
    with pytest.raises(Unplannable):
        planned([Copy(0, ("d",), "/"), Copy(0, ("f",), "/l/f")], bench.source)


def test_hardlinks_name_their_first(bench: Bench) -> None:
    make(bench.source, {"d/a": "x", "d/z": "= d/a"})
    first, second = planned([Copy(0, ("d",), "/o")], bench.source)[1:]
    assert (first.path, first.hardlink, first.size) == ("o/a", False, 1)
    assert (second.path, second.hardlink, second.target) == ("o/z", True, "o/a")


def test_names_of_directories() -> None:
    assert [plan.names_directory(p) for p in ("/", "/a/", "/a/.", "/a", "/a.", ".")] == [
        True,
        True,
        True,
        False,
        False,
        True,
    ]
