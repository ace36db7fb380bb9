"""A build and its progress: each listener hears all of it, whenever it comes, and the end."""

import fcntl
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from minibuild.buildkit.proto import messages
from minibuild.buildkit.rpc import Failure
from minibuild.digest import Digest
from minibuild.events import Completed, Event, Log, Planned, Started, Status, VertexInfo
from minibuild.serve.build import Builder
from minibuild.serve.config import Config
from minibuild.serve.status import StatusStream, messages_in
from minibuild.session.environment import Environment
from tests.support.waiting import PATIENCE_S

TYPES = messages("ops", "api")
A = Digest("sha256:" + "a" * 64)
EVENTS: list[Event] = [
    Planned((VertexInfo(A, "RUN x", ()),)),
    Started(A, 1.0),
    Log(A, 1, b"hello", 1.5),
]


def heard(stream: Any) -> list[str]:
    found = []
    for data in stream:
        message = TYPES["StatusResponse"].FromString(data)
        found += [log.msg.decode() for log in message.logs]
        found += [v.error for v in message.vertexes if v.HasField("completed")]
    return found


def test_all_listeners_hear_all(tmp_path: Path) -> None:
    status = StatusStream()
    early: list[str] = []
    thread = threading.Thread(target=lambda: early.extend(heard(status.messages())))
    thread.start()
    for event in EVENTS:
        status(event)
    late = status.messages()
    status.close(2.0)
    thread.join(PATIENCE_S)
    assert early == heard(late) == ["hello", "context canceled"]
    status(Completed(A, 3.0))  # after the end: it is not heard
    digest, size = status.keep_as(str(tmp_path))
    kept = tmp_path / digest.partition(":")[2]
    assert kept.stat().st_size == size
    with kept.open("rb") as file:
        assert heard(messages_in(file)) == early


@pytest.mark.parametrize(
    ("part", "unit", "shown"),
    [("sha256:ab", "B", ("sha256:ab", 3, 7)), ("copying", "files", ("copying files", 0, 0))],
)
def test_clients_show_numbers_as_bytes_so_other_units_have_none(
    part: str, unit: str, shown: tuple[str, int, int]
) -> None:
    status = StatusStream()
    status(Status(A, part, 3, 7, unit, 1.0))
    status.close(2.0)
    [message] = [TYPES["StatusResponse"].FromString(data) for data in status.messages()]
    [sent] = message.statuses
    assert (sent.ID, sent.current, sent.total) == shown


@pytest.mark.parametrize("size", [10, 100_000])
def test_what_is_there_at_once_is_one_message_unless_it_is_large(size: int) -> None:
    status = StatusStream()
    status.take([EVENTS[0], *(Log(A, 1, bytes([n]) * size, 1.5) for n in range(5))])
    status.close(2.0)
    messages = list(status.messages())
    assert len(messages) == (1 if size == 10 else 6)
    logs = [log for m in messages for log in TYPES["StatusResponse"].FromString(m).logs]
    assert [log.msg for log in logs] == [bytes([n]) * size for n in range(5)]


def test_a_listener_that_goes_away_waits_no_longer() -> None:
    status = StatusStream()
    assert list(status.messages(lambda: False)) == []


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(Config(str(tmp_path), Environment({}, 0)), str(tmp_path), lambda *_: ((), 0))


def test_the_folder_of_outputs_can_be_locked(builder: Builder) -> None:
    """An exporter locks it, and waits for that; the one around it is locked by the build."""
    build = builder.begin(TYPES["SolveRequest"](Ref="r", Internal=True))
    fd = os.open(build.folder, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)
    build.close({})
    builder.keep(build)
    assert not os.path.exists(build.folder)


def test_who_asks_for_a_record_waits_for_it(builder: Builder) -> None:
    """The client of a build has its answer before the record is written."""
    asked = TYPES["BuildHistoryRequest"](EarlyExit=True)
    update = TYPES["UpdateBuildHistoryRequest"](Ref="r", Pinned=True)
    history = builder.history
    build, other = (builder.begin(TYPES["SolveRequest"](Ref=ref)) for ref in ("r", "s"))
    build.status(EVENTS[0])
    build.close({})
    assert history.messages("s") is None  # Another build is not waited for.
    with ThreadPoolExecutor() as hands:
        questions: list[Future[Any]] = [
            hands.submit(lambda: list(history.events(asked, lambda: True))),
            hands.submit(lambda: list(history.messages("r") or ())),
            hands.submit(history.update, update),
        ]
        early = wait(questions, 0.1).done
        builder.keep(build)
        events, messages, _ = (question.result(PATIENCE_S) for question in questions)
    assert not early
    assert {event.record.Ref: event.type for event in events} == {"r": 1, "s": 0}
    assert len(messages) == 1
    other.close({})
    builder.keep(other)


def test_progress_of_a_build_that_ended_before_it_was_asked_for(builder: Builder) -> None:
    build = builder.begin(TYPES["SolveRequest"](Ref="r", Internal=True))
    build.status(EVENTS[0])
    with pytest.raises(Failure, match="job ID r exists"):
        builder.begin(TYPES["SolveRequest"](Ref="r"))
    build.close({})
    assert len(list(builder.status("r", lambda: True))) == 1
    with pytest.raises(Failure, match="no such job r"):
        builder.build("r")
    assert not builder.busy


def test_a_build_that_begins_while_its_progress_is_looked_for(
    builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking through history takes time, in which a short build begins and ends."""

    def messages(ref: str) -> None:
        builder.begin(TYPES["SolveRequest"](Ref=ref, Internal=True)).close({})

    builder.history = SimpleNamespace(messages=messages)  # type: ignore[assignment]
    assert list(builder.status("r", lambda: True)) == []


def test_questions_about_unknown_builds_leave_nothing(
    builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("minibuild.serve.build._STATUS_S", 0.01)
    with pytest.raises(Failure, match="no such job"):
        builder.status("../x", lambda: True)
    assert not builder.busy


def test_a_step_that_was_cancelled_is_no_failure() -> None:
    """Clients look for these words, whatever the step said itself."""
    stream = StatusStream()
    stream(Completed(Digest("sha256:a"), 1.0, error="the step was cancelled", cancelled=True))
    stream.close(2.0)
    (message,) = map(TYPES["StatusResponse"].FromString, stream.messages())
    assert message.vertexes[0].error == "context canceled"
    assert stream.failed is None
