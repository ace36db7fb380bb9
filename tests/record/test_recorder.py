"""What a recorder keeps of a log, when it writes, and how many records stay."""

import os
from pathlib import Path

import pytest

from minibuild.cache.results import DiffKey, VertexResult
from minibuild.digest import Digest
from minibuild.errors import BuildError, SourceText
from minibuild.events import Completed, Event, Log, Started
from minibuild.graph.op import Exec
from minibuild.graph.vertex import Note, Vertex
from minibuild.record import writing
from minibuild.record.recorder import LOG_BYTES, LogTail, Recorder
from minibuild.record.records import BuildRecords, RecordedStep, kept_keys, remove_older
from minibuild.session.request import BuildRequest

KEY = Digest("sha256:" + "1" * 64)
V = Digest("sha256:" + "2" * 64)


def log(data: bytes, stream: int = 1, time: float = 1.0) -> Log:
    return Log(V, stream, data, time)


# --- Logs ---


def test_a_line_stays_whole() -> None:
    """A secret that was written in two pieces has to be found in one."""
    tail = LogTail()
    for event in (log(b"one\ntw"), log(b"err\n", 2), log(b"o\n"), log(b"three\n")):
        tail.add(event)
    assert [piece.data for piece in tail.pieces] == [b"one\ntwo\n", b"err\n", b"three\n"]


@pytest.mark.parametrize("size", [100, 4000, 3 * LOG_BYTES])
def test_the_end_of_a_log_is_kept(size: int) -> None:
    tail = LogTail()
    lines = b"".join(b"line %d\n" % n for n in range(40_000))
    for start in range(0, len(lines), size):
        tail.add(log(lines[start : start + size]))
    tail.cut()
    kept = b"".join(piece.data for piece in tail.pieces)
    assert lines.endswith(kept)
    assert kept.startswith(b"line ")
    assert LOG_BYTES - max(size, 20) * 2 <= len(kept) <= LOG_BYTES or size > LOG_BYTES


# --- When a record is written ---


def build(
    root: Path, name: str = "a", *, cached: bool = False, error: BuildError | None = None
) -> None:
    """A build of one RUN."""
    vertex = Vertex(Exec(("sh", "-c", name)), [], Note(f"[1/1] RUN {name}"))
    recorder = Recorder(str(root), BuildRequest(context="/context"))
    heard: list[Event] = []
    report = recorder.listening(heard.append)
    for event in (Started(vertex.digest, 1.0), Completed(vertex.digest, 2.0, cached)):
        report(event)
    assert len(heard) == 2
    source, found = SourceText("Dockerfile", f"RUN {name}"), VertexResult((DiffKey(1),), KEY)
    recorder.watch(source, [vertex], lambda: {vertex.digest: found._replace(cached=cached)})
    recorder.keep(error=error)


def test_an_idle_build_writes_nothing_new(tmp_path: Path) -> None:
    build(tmp_path)
    (first,) = BuildRecords(str(tmp_path)).all()
    build(tmp_path, cached=True)
    build(tmp_path, cached=True)
    (again,) = BuildRecords(str(tmp_path)).all()
    assert again.id == first.id
    assert again.used >= first.used
    assert [step.state for step in again.steps] == ["ran"]


def test_what_did_something_is_recorded(tmp_path: Path) -> None:
    """A step ran; a step failed; or another state of before was found in the cache."""
    build(tmp_path)
    build(tmp_path)
    build(tmp_path, "b")
    build(tmp_path, cached=True)
    build(tmp_path, cached=True, error=BuildError("no"))
    found = list(BuildRecords(str(tmp_path)).all())
    assert [build.error for build in found] == ["no", "", "", "", ""]
    assert len({build.id for build in found}) == 5
    assert len({build.place for build in found}) == 1


def test_a_build_without_a_graph_leaves_no_record(tmp_path: Path) -> None:
    Recorder(str(tmp_path), BuildRequest()).keep(error=BuildError("no such file"))
    assert not (tmp_path / "builds").exists()


def test_a_record_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "builds").write_text("a file where the folder should be")
    build(tmp_path)
    assert list(BuildRecords(str(tmp_path)).all()) == []


def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    build(tmp_path)
    assert [name for _, _, names in os.walk(tmp_path / "builds") for name in names] == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("[2/3] RUN  a \n b", "RUN a b"),
        ("[build 1/2] FROM x", "FROM x"),
        ("[internal] load build context", "[internal] load build context"),
        ("[3/3]", "[3/3]"),
        ("exporting to image", "exporting to image"),
    ],
)
def test_the_instruction_of_a_step(name: str, text: str) -> None:
    assert RecordedStep(1, "exec", name).text == text


# --- How many stay, and what prune asks ---


def test_the_newest_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MOST_OF_A_PLACE", 3)
    for name in "abcdef":
        build(tmp_path, name)
    texts = [build.text for build in BuildRecords(str(tmp_path)).all()]
    assert texts == ["RUN f", "RUN e", "RUN d"]


def test_so_many_stay_of_all_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        build(tmp_path, name)
    other = tmp_path / "builds" / "0123456789abcdef"
    other.mkdir()
    (other / f"{1:016x}-old").write_bytes(b"")
    monkeypatch.setattr(writing, "MOST", 3)
    build(tmp_path, "d")
    assert [build.text for build in BuildRecords(str(tmp_path)).all()] == [
        "RUN d",
        "RUN c",
        "RUN b",
    ]
    assert not other.exists()


def test_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    build(tmp_path)
    (place,) = (tmp_path / "builds").iterdir()
    (name,) = place.iterdir()
    whole = name.read_bytes()
    for number, data in enumerate((b"", whole[:-20], b"junk", whole + b"more")):
        (place / f"{number:016x}-x").write_bytes(data)
    (place / "0-x.tmp").write_bytes(whole)
    found = list(BuildRecords(str(tmp_path)).all())
    assert [build.text for build in found] == ["RUN a", "RUN a"]  # what comes behind is no harm


def test_prune_asks_which_keys_are_needed(tmp_path: Path) -> None:
    build(tmp_path)
    assert kept_keys(str(tmp_path)) == {KEY}
    (found,) = BuildRecords(str(tmp_path)).all()
    assert remove_older(str(tmp_path), 3600, found.used) == 0
    assert remove_older(str(tmp_path), 3600, found.used + 3601) == 1
    assert list(BuildRecords(str(tmp_path)).all()) == []
