"""The order of work: inputs first, one execution each, and what happens when something fails."""

import threading
from collections.abc import Callable, Sequence

import pytest

from minibuild.digest import Digest
from minibuild.errors import BuildError, Cancelled
from minibuild.graph.op import Exec, Merge
from minibuild.graph.vertex import Note, Vertex, topological
from minibuild.solver.schedule import Declined, Done, Scheduler
from tests.support.threads import started_since
from tests.support.waiting import PATIENCE_S


def step(name: str, *inputs: Vertex) -> Vertex:
    return Vertex(Exec((name,)) if len(inputs) < 2 else Merge(), inputs, Note(name))


def run(
    target: Vertex,
    work: Callable[[Vertex, Done[str]], str],
    *,
    jobs: int = 4,
    quick: Callable[[Vertex, Done[str]], str | None] = lambda vertex, done: None,
    cancelled: threading.Event | None = None,
) -> dict[Digest, str]:
    def decline(vertex: Vertex, done: Done[str]) -> str | Declined[str]:
        return quick(vertex, done) or Declined(vertex, f"hint of {vertex.note.name}")

    def do(declined: Declined[str], done: Done[str]) -> str:
        assert declined.hint == f"hint of {declined.vertex.note.name}"
        return work(declined.vertex, done)

    scheduler = Scheduler(decline, lambda waiting: do, cancelled or threading.Event(), jobs)
    return scheduler.run(topological([target]))


def test_inputs_are_done_before_their_users_and_each_vertex_once() -> None:
    base = step("base")
    left, right = step("left", base), step("right", base)
    top = step("top", left, right)
    seen: list[str] = []

    def work(vertex: Vertex, done: Done[str]) -> str:
        assert all(v is not None and v.digest in done for v in vertex.inputs)
        seen.append(vertex.note.name)
        return vertex.note.name

    done = run(top, work)
    assert sorted(seen) == ["base", "left", "right", "top"]
    assert seen[0] == "base" and seen[-1] == "top"
    assert done[top.digest] == "top"


def test_independent_vertices_run_at_once_up_to_jobs() -> None:
    base = step("base")
    sides = [step(f"side{n}", base) for n in range(6)]
    running, most, lock, three = 0, 0, threading.Lock(), threading.Barrier(3)

    def work(vertex: Vertex, done: Done[str]) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        if vertex in sides:
            three.wait(PATIENCE_S)
        with lock:
            running -= 1
        return "x"

    run(step("top", *sides), work, jobs=3)
    assert most == 3


def test_what_is_quick_starts_no_thread() -> None:
    top = step("b", step("a"))
    before = threading.enumerate()
    scheduler: Scheduler[str, None] = Scheduler(
        lambda vertex, done: "quick",
        lambda waiting: pytest.fail("not asked for"),
        threading.Event(),
        4,
    )
    assert set(scheduler.run(topological([top])).values()) == {"quick"}
    assert not started_since(before)


def test_work_starts_once_with_all_that_waits_and_before_there_are_threads() -> None:
    base = step("base")
    top = step("top", step("left", base), step("right", base))
    before, started = threading.enumerate(), []

    def start(waiting: Sequence[Declined[int]]) -> Callable[[Declined[int], Done[str]], str]:
        assert not started_since(before)
        started.append([(declined.vertex.note.name, declined.hint) for declined in waiting])
        return lambda declined, done: declined.vertex.note.name

    def quick(vertex: Vertex, done: Done[str]) -> str | Declined[int]:
        return "quick" if vertex is base else Declined(vertex, len(done))

    scheduler = Scheduler(quick, start, threading.Event(), 4)
    assert scheduler.run(topological([top]))[top.digest] == "top"
    assert started == [[("left", 1), ("right", 1)]]


def test_what_is_done_already_is_not_done_again() -> None:
    base = step("base")
    top = step("top", base)
    scheduler: Scheduler[str, None] = Scheduler(
        lambda vertex, done: f"{vertex.note.name} on {done[base.digest]}",
        lambda waiting: pytest.fail("not asked for"),
        threading.Event(),
        4,
    )
    done = scheduler.run([top], {base.digest: "known"})
    assert done == {base.digest: "known", top.digest: "top on known"}


def test_a_failure_cancels_what_runs_and_starts_nothing_new() -> None:
    cancelled, running = threading.Event(), threading.Event()
    bad, slow = step("bad"), step("slow")
    later = step("later", bad, slow)
    ended: list[str] = []

    def work(vertex: Vertex, done: Done[str]) -> str:
        if vertex is bad:
            assert running.wait(PATIENCE_S)
            raise BuildError("bad failed")
        assert vertex is slow
        running.set()
        assert cancelled.wait(PATIENCE_S)
        ended.append("slow")
        raise Cancelled("stopped")

    with pytest.raises(BuildError, match="bad failed"):
        run(later, work, cancelled=cancelled)
    assert ended == ["slow"]


def test_the_real_error_is_raised_and_not_the_cancellation_it_caused() -> None:
    cancelled, running = threading.Event(), threading.Event()
    first, second = step("first"), step("second")

    def work(vertex: Vertex, done: Done[str]) -> str:
        if vertex is second:
            running.set()
            assert cancelled.wait(PATIENCE_S)
            raise BuildError("the cause")
        assert running.wait(PATIENCE_S)
        cancelled.set()
        raise Cancelled("stopped")

    with pytest.raises(BuildError, match="the cause"):
        run(step("top", first, second), work, cancelled=cancelled)


def test_a_cancelled_build_starts_nothing() -> None:
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Cancelled):
        run(step("a"), lambda vertex, done: pytest.fail("started"), cancelled=cancelled)


def test_a_chain_of_a_thousand_steps_needs_no_recursion() -> None:
    vertex = step("0")
    for number in range(1, 1500):
        vertex = step(str(number), vertex)
    done = run(vertex, lambda v, d: v.note.name, quick=lambda v, d: v.note.name)
    assert len(done) == 1500


def test_a_chain_is_done_by_one_thread_and_none_is_left() -> None:
    """A new thread for each step would open the database anew for each."""
    top = step("0")
    for n in range(1, 9):
        top = step(str(n), top)
    before, seen = threading.enumerate(), set()

    def work(vertex: Vertex, done: Done[str]) -> str:
        seen.add(threading.get_ident())
        assert started_since(before) == [threading.current_thread()]
        # Of a program that ends in the midst of a build, it does not delay the end.
        assert threading.current_thread().daemon
        return vertex.note.name

    run(top, work)
    assert len(seen) == 1
    assert threading.get_ident() not in seen
    assert not started_since(before)


def test_what_ends_well_after_a_failure_is_done() -> None:
    """It is in the cache, and a record of the build has to say so."""
    base = step("base")
    slow, bad = step("slow", base), step("bad", base)
    running = threading.Event()

    def work(declined: Declined[None], done: Done[str]) -> str:
        if declined.vertex == slow:
            running.set()
            assert cancelled.wait(PATIENCE_S)
        if declined.vertex == bad:
            assert running.wait(PATIENCE_S)
            raise BuildError("bad")
        return declined.vertex.note.name

    cancelled = threading.Event()
    scheduler: Scheduler[str, None] = Scheduler(
        lambda vertex, done: Declined(vertex, None), lambda waiting: work, cancelled, 4
    )
    with pytest.raises(BuildError, match="bad"):
        scheduler.run(topological([step("top", slow, bad)]))
    assert sorted(scheduler.done.values()) == ["base", "slow"]


def test_one_by_one() -> None:
    """With something that is called after each vertex, no two are done at once, and in order."""
    base = step("base")
    sides = [step(f"side{n}", base) for n in range(4)]
    seen: list[str] = []

    def work(declined: Declined[None], done: Done[str]) -> str:
        seen.append(declined.vertex.note.name)
        return declined.vertex.note.name

    scheduler: Scheduler[str, None] = Scheduler(
        lambda vertex, done: "quick" if vertex == sides[1] else Declined(vertex, None),
        lambda waiting: work,
        threading.Event(),
        8,
        lambda vertex, value: seen.append(f"after {vertex.note.name}"),
    )
    vertices = topological([step("top", *sides)])
    scheduler.run(vertices)
    expected = []
    for vertex in vertices:
        name = vertex.note.name
        expected += ([] if vertex == sides[1] else [name]) + [f"after {name}"]
    assert seen == expected


def test_work_knows_what_waits_for_it_alone() -> None:
    """So that it can be prepared meanwhile; what lacks another vertex, too, is none of it."""
    base, other = step("base"), step("other")
    one, two, both = step("one", base), step("two", base), step("both", base, other)
    waiting: dict[str, list[str]] = {}

    def do(declined: Declined[None], done: Done[str]) -> str:
        waiting[declined.vertex.note.name] = [v.note.name for v in declined.waiting]
        return ""

    scheduler: Scheduler[str, None] = Scheduler(
        lambda vertex, done: Declined(vertex, None), lambda _: do, threading.Event(), 1
    )
    scheduler.run([base, other, one, two, both])
    assert waiting["base"] == ["one", "two"]
    assert waiting["other"] == ["both"] and waiting["both"] == []
