"""The step server: a process kept ready for the next step, and what happens without it."""

import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from minibuild.executor import server
from minibuild.executor.api import Step, StepExit
from minibuild.executor.local import LocalExecutor, start_executor
from minibuild.executor.server import StepServer, _Server
from minibuild.executor.wire import Failed, Order, Setup, StepsEnded, pack, unpack
from minibuild.linux.channel import close_all, pair
from minibuild.snapshot.api import Mount
from tests.support import busybox
from tests.support.descriptors import open_descriptors, opened_since
from tests.support.waiting import PATIENCE_S, comes

pytestmark = [pytest.mark.integration, pytest.mark.needs("busybox", "overlay", "trusted_xattr")]


@pytest.fixture
def others() -> set[int]:
    """What earlier tests have left running below this process."""
    return set(descendants(os.getpid()))


@pytest.fixture
def executor(tmp_path: Path, others: set[int]) -> Iterator[LocalExecutor]:
    """An executor with a base beside it."""
    binary = busybox.find()
    assert binary is not None
    busybox.write_tree(binary, str(tmp_path / "base"))
    made = start_executor(str(tmp_path / "run"))
    yield made
    made.close()


def step(folder: Path, number: int, script: str) -> Step:
    """A shell script over a fresh layer."""
    for name in ("upper", "work"):
        (folder / f"{name}{number}").mkdir()
    rootfs = Mount(("base",), f"upper{number}", f"work{number}", ("volatile",), str(folder))
    return Step(rootfs, ("/bin/sh", "-c", script), (("PATH", "/bin"),))


def descendants(pid: int) -> list[int]:
    """All processes below one, the nearest first."""
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):  # It has ended.
        for task in os.listdir(f"/proc/{pid}/task"):
            text = Path(f"/proc/{pid}/task/{task}/children").read_text()
            for child in map(int, text.split()):
                found += [child, *descendants(child)]
    return found


def of_steps(others: set[int]) -> list[int]:
    """Those that run a step or wait for one: they are in a namespace within that of a server."""
    own, below = _depth(os.getpid()), descendants(os.getpid())
    return [pid for pid in below if pid not in others and _depth(pid) == own + 2]


def _depth(pid: int) -> int:
    """In how many namespaces a process has an id."""
    with suppress(FileNotFoundError, ProcessLookupError):
        status = Path(f"/proc/{pid}/status").read_text()
        return len(status.partition("\nNSpid:")[2].partition("\n")[0].split())
    return 0


def has_ended(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    return True


@pytest.mark.parametrize("threads", [1, 2])
def test_a_step_gets_no_descriptor_of_a_helper(tmp_path: Path, threads: int) -> None:
    """Neither from a server that is a clone of the builder, nor from a new interpreter, which is
    what a builder with threads starts."""
    binary = busybox.find()
    assert binary is not None
    busybox.write_tree(binary, str(tmp_path / "base"))
    said, stop = bytearray(), threading.Event()
    others = [threading.Thread(target=stop.wait) for _ in range(threads - 1)]
    for other in others:
        other.start()
    executor = start_executor(str(tmp_path / "run"))
    try:
        script = "ls /proc/$$/fd; :"  # Without more to do the shell would become ls.
        begun = executor.start(step(tmp_path, 1, script), lambda _, data: said.extend(data))
        ended = begun.wait(threading.Event())
    finally:
        executor.close()
        stop.set()
    assert ended == StepExit(0) and said.split() == [b"0", b"1", b"2"]


def test_a_killed_spare_is_not_missed(
    executor: LocalExecutor, others: set[int], tmp_path: Path
) -> None:
    never = threading.Event()
    for number in range(3):
        assert comes(lambda: of_steps(others))
        (spare,) = of_steps(others)
        os.kill(spare, signal.SIGKILL)
        assert comes(partial(has_ended, spare))
        ended = executor.start(step(tmp_path, number, "exit 3"), lambda *_: None).wait(never)
        assert ended == StepExit(3)


@pytest.mark.parametrize("last", [False, True])
def test_nothing_is_made_ready_after_the_last_step(
    monkeypatch: pytest.MonkeyPatch, last: bool
) -> None:
    """A step that cannot be started shows it: the next may be another."""

    def refused(*_: object, **__: object) -> None:
        raise PermissionError("not here")

    made: list[_Server] = []
    monkeypatch.setattr(server, "CommonSetup", refused)
    monkeypatch.setattr(_Server, "_prepare_spare", lambda self: made.append(self))
    (requests, _), (ours, theirs) = pair(), pair()
    fds = [os.open(os.devnull, os.O_RDONLY) for _ in range(4)]
    _Server(requests, Setup("", sandbox=True))._start(Order(last=last), [*fds, theirs.detach()])
    assert isinstance(unpack(ours.receive(1000)[0]), Failed)
    assert len(made) == (not last)


def test_many_at_once(executor: LocalExecutor, tmp_path: Path) -> None:
    """More than there are spares: each has its own world, and its own output."""
    said: dict[int, bytes] = {}

    def work(number: int) -> None:
        heard: list[bytes] = []
        script = f"echo {number} > /dev/shm/x; sleep 0.05; cat /dev/shm/x; ls /proc | grep -c 2"
        begun = executor.start(step(tmp_path, number, script), lambda _, data: heard.append(data))
        begun.wait(threading.Event())
        said[number] = b"".join(heard)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number: text.split()[0] for number, text in said.items()} == {
        number: str(number).encode() for number in range(12)
    }


def test_nothing_is_left(tmp_path: Path, others: set[int]) -> None:
    """Closing the executor ends the process that waits for a step, and the server soon after."""
    made = start_executor(str(tmp_path / "run"))
    assert comes(lambda: of_steps(others))
    made.close()
    assert of_steps(others) == []
    assert comes(lambda: set(descendants(os.getpid())) <= others)


def test_the_server_has_the_last_descriptors_of_what_it_is_to_close() -> None:
    """The last process that has them waits for the unmount, and that must not be the builder."""
    ours, theirs = pair()
    read_fd, write_fd = os.pipe()
    closed = select.poll()
    closed.register(read_fd, 0)
    seen: list[list[tuple[int, int]]] = []

    def serve() -> None:
        close_all(theirs.receive(100)[1])
        seen.append(closed.poll(int(PATIENCE_S * 1000)))
        theirs.send(pack(StepsEnded()))

    serving = threading.Thread(target=serve)
    serving.start()
    StepServer(ours, os.posix_spawn("/bin/true", ["true"], {})).leave([write_fd])
    serving.join()
    os.close(read_fd)
    assert seen == [[(read_fd, select.POLLHUP)]]


def test_a_held_step_leaves_its_root_alone(executor: LocalExecutor, tmp_path: Path) -> None:
    """Until it is released its process waits, and what is below may still change."""
    said = bytearray()
    held = executor.start(
        step(tmp_path, 1, "cat /late"), lambda _, data: said.extend(data), held=True
    )
    time.sleep(0.1)
    (tmp_path / "base/late").write_text("late")
    assert not os.listdir(tmp_path / "work1")
    assert held.release()
    assert held.wait(threading.Event()) == StepExit(0) and said == b"late"


def test_a_held_step_is_dropped(executor: LocalExecutor, others: set[int], tmp_path: Path) -> None:
    """Nothing stays of it: no process, no descriptor, nothing in its root."""
    executor.start(step(tmp_path, 1, "true"), lambda *_: None).wait(threading.Event())
    before, (spare,) = open_descriptors(), of_steps(others)
    held = executor.start(step(tmp_path, 2, "touch /x"), lambda *_: None, held=True)
    held.drop()
    held.drop()
    assert not opened_since(before)
    assert not os.listdir(tmp_path / "work2") and not os.listdir(tmp_path / "upper2")
    assert has_ended(spare)


def test_a_held_step_is_not_released_if_it_would_be_started_otherwise(
    executor: LocalExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step below made a device where a process has to make that, so calls are watched now."""
    held = executor.start(step(tmp_path, 1, "touch /x"), lambda *_: None, held=True)
    found = executor.request
    monkeypatch.setattr(executor, "request", lambda step: found(step)._replace(watch=b"another"))
    assert not held.release()
    held.drop()
    assert not os.listdir(tmp_path / "upper1")
