"""Progress that can be shown: as text, as a table, and when."""

from minibuild.digest import Digest
from minibuild.events import Completed, Log, Planned, Started, Status, VertexInfo, Warned
from minibuild.progress.notebook import INTERVAL_S, Progress

A, B, C, D = (Digest("sha256:" + letter * 64) for letter in "abcd")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def observed() -> tuple[Progress, Clock, list[str]]:
    """A build in the middle: a step from the cache, one that runs, one that failed, one to come."""
    clock, shown = Clock(), list[str]()
    progress = Progress(lambda progress: shown.append(str(progress)), clock=clock)
    names = {A: "FROM busybox", B: "RUN <make>", C: "RUN false", D: "COPY a b"}
    progress(Planned(tuple(VertexInfo(digest, name) for digest, name in names.items())))
    progress(Completed(A, 100.0, cached=True))
    progress(Started(B, 100.0))
    progress(Log(B, 1, b"\x1b[31mcc -o <x>\x1b[0m\x1b]0;title\x07\n", 101.0))
    progress(Status(B, "part", 1, 4, "files", 100.0))
    progress(Started(C, 100.0))
    progress(Log(C, 1, b"no\n", 101.5))
    progress(Completed(C, 102.0, error="exit code: 1"))
    progress(Warned("Rule", "a <b>"))
    clock.now = 103.0
    return progress, clock, shown


def test_as_text() -> None:
    progress, _, shown = observed()
    assert str(progress).splitlines() == [
        "✓ FROM busybox cached",
        "▸ RUN <make> 3.0s 1 / 4 files",
        "✗ RUN false 2.0s",
        "  COPY a b",
        "WARNING Rule: a <b>",
    ]
    assert len(shown) == 6  # what a step writes waits


def test_as_a_table() -> None:
    """Nothing of a step or of a name is taken for HTML, and no control of a terminal is left."""
    html = observed()[0]._repr_html_()
    assert "RUN &lt;make&gt;<div>1.000 cc -o &lt;x&gt;</div>" in html
    assert "<div>1.500 no</div>" in html
    assert "⚠ Rule: a &lt;b&gt;" in html
    assert "\x1b" not in html and "\x07" not in html
    assert html.count("<tr>") == 4


def test_output_is_shown_after_a_while() -> None:
    progress, clock, shown = observed()
    count = len(shown)
    progress(Log(B, 1, b"more\n", 103.0))
    assert len(shown) == count + 1  # the last time was long ago
    progress(Log(B, 1, b"more\n", 103.0))
    assert len(shown) == count + 1
    clock.now += INTERVAL_S
    progress(Log(B, 1, b"more\n", 103.0))
    assert len(shown) == count + 2


def test_cancelled_and_without_a_show() -> None:
    progress = Progress()
    progress(Planned((VertexInfo(A, "RUN x"),)))
    progress(Completed(A, 1.0, cancelled=True, error="cancelled"))
    assert str(progress) == "- RUN x cancelled"
    assert progress.warnings == ()
