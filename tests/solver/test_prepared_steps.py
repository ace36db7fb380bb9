"""Which step is prepared while the one below it runs, and what becomes of it: without a process."""

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from minibuild.cache.results import VertexResult
from minibuild.digest import Digest, digest_bytes
from minibuild.errors import Cancelled, HostError
from minibuild.graph.op import Exec, Merge, TmpfsMount
from minibuild.graph.vertex import Note, Vertex
from minibuild.snapshot.api import SnapshotID
from minibuild.solver import prepared_steps
from minibuild.solver.keys import ReadyVertex, step_key
from minibuild.solver.prepared_steps import PreparedStep, PreparedSteps
from minibuild.solver.start_order import StartOrder
from minibuild.store.layout import Store

KEY = digest_bytes(b"the key of the step below")
BELOW = Vertex(Exec(("below",)))
OTHER = Vertex(Exec(("other",)))
OP = Exec(("step",))
STEP = Vertex(OP, (BELOW,))
ROOT = cast(SnapshotID, 7)


class Run:
    """In place of an `ExecRun`: what it is asked, and `answers` that say how that ends."""

    made: list["Run"]
    answers: dict[str, object]

    def __init__(self, build: object, vertex: Vertex, op: Exec, *, last: bool) -> None:
        self.of = (build, vertex, op, last)
        self.asked: list[tuple[Any, ...]] = []
        self.made.append(self)

    def _answer(self, *asked: Any) -> bool:
        self.asked.append(asked)
        answer = self.answers.get(asked[0], True)
        if isinstance(answer, BaseException):
            raise answer
        return bool(answer)

    def begin_early(self, ready: ReadyVertex, below: SnapshotID) -> bool:
        return self._answer("begin", ready, below)

    def release(self) -> bool:
        return self._answer("release")

    def drop(self) -> None:
        self.asked.append(("drop",))


class Lookup:
    """Finds a record of one key, if there is one, and keeps the keys that it is asked for."""

    version = "9"

    def __init__(self) -> None:
        self.asked: list[Digest] = []
        self.found: object = None

    def find_step(self, key: Digest, op: Exec) -> object:
        self.asked.append(key)
        return self.found


class Bench:
    """What prepares the steps of a build with a store."""

    def __init__(self, store: Store) -> None:
        self.store, self.lookup = store, Lookup()
        self.running: dict[Digest, PreparedStep] = {}
        self.build = cast(Any, SimpleNamespace(worker=SimpleNamespace(store=store)))

    def prepare(self, *waiting: Vertex, forced: bool = False) -> PreparedStep | None:
        starts = StartOrder([BELOW, *waiting], {BELOW.digest: "done"})
        made = PreparedSteps(self.build, cast(Any, self.lookup), starts, self.running)
        note = Note(ignore_cache=forced)
        below = ReadyVertex(Vertex(BELOW.op, (), note), ())
        return made.prepare_one(waiting, below, KEY, ROOT)

    def is_locked(self, key: Digest) -> bool:
        """Whether somebody does the step of this key."""
        at_once = threading.Event()
        at_once.set()
        try:
            with self.store.lock(f"key-{key[7:39]}", at_once):
                return False
        except Cancelled:
            return True


@pytest.fixture
def bench(store: Store, monkeypatch: pytest.MonkeyPatch) -> Bench:
    Run.made, Run.answers = [], {}
    monkeypatch.setattr(prepared_steps, "ExecRun", Run)
    return Bench(store)


UNFIT = [
    Vertex(Merge(), (BELOW, OTHER)),
    Vertex(Exec(("mounts",), mounts=(TmpfsMount("/t"),)), (BELOW,)),
    Vertex(Exec(("two",)), (BELOW, OTHER)),
    Vertex(Exec(("on another",)), (OTHER,)),
    Vertex(Exec(("on nothing",)), (None,)),
]


@pytest.mark.parametrize("waiting", [UNFIT, []])
def test_what_cannot_be_prepared(bench: Bench, waiting: list[Vertex]) -> None:
    assert bench.prepare(*waiting) is None and Run.made == []


def test_the_first_that_can_be_prepared(bench: Bench) -> None:
    """It is under its lock, and is said to be the last if no other comes after it."""
    made = bench.prepare(*UNFIT, STEP, Vertex(Exec(("later",)), (BELOW,)))
    assert made is not None
    assert made.key == step_key(OP, KEY, (), "9") and made.op == OP
    assert bench.lookup.asked == [made.key] and bench.is_locked(made.key)
    (run,) = Run.made
    assert run.of == (bench.build, STEP, OP, False)
    ready = ReadyVertex(STEP, (VertexResult((), KEY, KEY),))
    assert run.asked == [("begin", ready, ROOT)] and bench.running == {}
    made.drop()
    assert run.asked[1:] == [("drop",)] and not bench.is_locked(made.key)
    again = bench.prepare(STEP)
    assert again is not None and Run.made[1].of[3]
    again.drop()


def test_one_that_is_done_is_not_prepared(bench: Bench) -> None:
    """But if the one below is made again on request, so is this one."""
    bench.lookup.found = "a record"
    assert bench.prepare(STEP) is None
    (key,) = bench.lookup.asked
    assert Run.made[0].asked == [("drop",)] and not bench.is_locked(key)
    made = bench.prepare(STEP, forced=True)
    assert made is not None and bench.lookup.asked == [key]
    made.drop()


def test_one_that_another_build_does_is_not_prepared(bench: Bench) -> None:
    key = step_key(OP, KEY, (), "9")
    with bench.store.lock(f"key-{key[7:39]}"):
        assert bench.prepare(STEP) is None
    assert bench.lookup.asked == [] and Run.made[0].asked == [("drop",)]


FAILS = [False, HostError("no"), OSError("no")]


@pytest.mark.parametrize("answer", FAILS, ids=repr)
def test_what_cannot_begin_leaves_nothing(bench: Bench, answer: object) -> None:
    Run.answers["begin"] = answer
    assert bench.prepare(STEP) is None
    assert Run.made[0].asked[1:] == [("drop",)] and not bench.is_locked(bench.lookup.asked[0])


def test_one_that_is_let_go_runs(bench: Bench) -> None:
    """Until a thread that waits for its end takes it, or the build ends before."""
    made = bench.prepare(STEP)
    assert made is not None and not made.released
    made.release()
    assert bench.running == {STEP.digest: made} and made.released
    assert bench.is_locked(made.key) and Run.made[0].asked[1:] == [("release",)]
    made.drop()
    assert bench.running == {} and not bench.is_locked(made.key)
    assert Run.made[0].asked[2:] == [("drop",)]


@pytest.mark.parametrize("answer", FAILS, ids=repr)
def test_one_that_cannot_go_on_is_dropped(bench: Bench, answer: object) -> None:
    Run.answers["release"] = answer
    made = bench.prepare(STEP)
    assert made is not None
    made.release()
    assert bench.running == {} and not bench.is_locked(made.key)
    assert Run.made[0].asked[1:] == [("release",), ("drop",)]
