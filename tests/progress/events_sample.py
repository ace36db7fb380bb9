"""A build as a list of events, with fixed times: what golden files of renderers are made from."""

from minibuild.digest import Digest
from minibuild.errors import Span
from minibuild.events import (
    Completed,
    Event,
    Log,
    Planned,
    Remark,
    Started,
    Status,
    VertexInfo,
    Warned,
)

T = 1_700_000_000.0
LOAD, BASE, MAKE, COPY, FAIL, LATE = (Digest("sha256:" + digit * 64) for digit in "123456")
ERROR = 'process "/bin/sh -c flase" did not complete successfully: exit code: 127'


def build() -> list[Event]:
    """Two steps at the same time, then one that fails, and one that is never reached."""
    return [
        Planned(
            (
                VertexInfo(LOAD, "[internal] load build definition from Dockerfile"),
                VertexInfo(BASE, "[1/4] FROM docker.io/library/busybox:latest"),
                VertexInfo(MAKE, "[2/4] RUN make " + "x" * 80, (BASE,)),
                VertexInfo(COPY, "[3/4] COPY . ."),
                VertexInfo(FAIL, "[4/4] RUN flase", (MAKE, COPY), Span("Dockerfile", 4, 4)),
                VertexInfo(LATE, "exporting to image", (FAIL,)),
            )
        ),
        Started(LOAD, T),
        Status(LOAD, "transferring dockerfile", 79, 79, "B", T, T + 0.004),
        Completed(LOAD, T + 0.01),
        Completed(BASE, T + 0.02, cached=True),
        Warned("JSONArgsRecommended", "use JSON", Span("Dockerfile", 2, 2), "why", "https://e.x"),
        Started(MAKE, T + 0.1),
        Started(COPY, T + 0.1),
        Log(MAKE, 1, b"cc -c a.c\ncc -c", T + 0.25),
        Log(MAKE, 1, b" b.c\n", T + 0.35),
        Status(COPY, "transferring context", 1_530_000, 10_000_000, "B", T + 0.1),
        Log(MAKE, 1, b"half", T + 0.5),
        Log(MAKE, 2, b"\x1b[31mwarning\x1b[0m: \x1b[2Kodd \xe6\xbc", T + 0.6),
        Log(MAKE, 2, b"\xa2\xff\n", T + 0.6),
        Log(MAKE, 1, b"way\n 10%\r 50%\r100%", T + 10.5),
        Status(COPY, "transferring context", 10_000_000, 10_000_000, "B", T + 0.1, T + 2.6),
        Remark(COPY, "packed straight into its layer", T + 2.7),
        Completed(COPY, T + 2.8),
        Log(MAKE, 1, b"\n", T + 11.0),
        Completed(MAKE, T + 111.1),
        Started(FAIL, T + 112),
        Log(FAIL, 2, b"/bin/sh: flase: not found", T + 112.001),
        Completed(FAIL, T + 112.5, error=ERROR),
        Completed(LATE, T + 112.5, cancelled=True),
    ]
