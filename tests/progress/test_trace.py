"""What is known of a build from its events."""

from hypothesis import given
from hypothesis import strategies as st

from minibuild.digest import Digest
from minibuild.events import Completed, Log, Started
from minibuild.progress.trace import TAIL_LINES, StepFailure, Trace
from tests.progress import events_sample as sample


def test_the_end_of_a_failed_step_is_kept() -> None:
    trace = Trace()
    for event in sample.build():
        trace.observe(event)
    (failed,) = trace.failed
    assert failed.name == "[4/4] RUN flase"
    assert failed.lines == ("0.001 /bin/sh: flase: not found",)


def test_a_cancelled_step_is_not_a_failure() -> None:
    trace = Trace()
    trace.observe(Started(sample.MAKE, 1.0))
    trace.observe(Completed(sample.MAKE, 2.0, error="killed", cancelled=True))
    assert trace.failed == []


def test_the_tail_is_bounded() -> None:
    trace = Trace()
    trace.observe(Started(sample.MAKE, 1.0))
    trace.observe(Log(sample.MAKE, 1, b"".join(b"%d\n" % n for n in range(1000)), 1.0))
    trace.observe(Log(sample.MAKE, 1, b"x" * 1_000_000, 1.0))
    trace.observe(Completed(sample.MAKE, 2.0, error="boom"))
    (failed,) = trace.failed
    assert len(failed.lines) == TAIL_LINES
    assert failed.lines[-2] == "0.000 999"
    assert len(failed.lines[-1]) <= 2000


def test_streams_do_not_mix_within_a_line() -> None:
    trace = Trace()
    trace.observe(Started(sample.MAKE, 0.0))
    for stream, data in ((1, b"out"), (2, b"err\n"), (1, b"put\n")):
        trace.observe(Log(sample.MAKE, stream, data, 12.0))
    assert list(trace.step(sample.MAKE).tail) == ["12.00 out", "12.00 err", "12.00 put"]


def test_an_unplanned_vertex_has_a_name() -> None:
    trace = Trace()
    trace.observe(Completed(Digest("sha256:" + "a" * 64), 1.0, error="x"))
    assert trace.failed == [StepFailure("sha256:aaaaaaaaaaaa", ())]


CHUNKS = st.lists(
    st.tuples(
        st.sampled_from((1, 2)),
        st.lists(
            st.sampled_from(
                (b"a", b"long line ", b"\r", b"\xc3", b"\xa9", b"\x1b[1m", b"\n" * 9, b"\n")
            ),
            max_size=40,
        ).map(b"".join),
    ),
    max_size=6,
)


@given(CHUNKS, st.integers(0, 60))
def test_who_shows_only_the_end_sees_the_same_end(
    chunks: list[tuple[int, bytes]], many: int
) -> None:
    tails = []
    for all_output in (True, False):
        trace = Trace(all_output=all_output)
        trace.observe(Started(sample.MAKE, 1.0))
        for time, (stream, data) in enumerate(chunks):
            trace.observe(Log(sample.MAKE, stream, data + b"x\n" * many + data, float(time)))
        trace.observe(Completed(sample.MAKE, 9.0, error="boom"))
        tails.append(trace.failed[0].lines)
    assert tails[0] == tails[1]
