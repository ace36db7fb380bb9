"""What is built: nine workloads, each with the phases in which it is timed.

Comes in: a folder and a scale (1 is the real thing, tests use less). Goes out: a build context in
it. Phases follow each other on one store: `cold` finds the base image there and nothing else,
`noop` finds everything, `change` comes after one file was changed. The result stays in the cache of
the builder; with `+image` it becomes an image in its store, with `+oci` one in an archive.
Read next: `bases` for what they start from, `session` for the order of events.
"""

import os
from collections.abc import Callable
from typing import NamedTuple

from bench.contents import big_file, tree, write

Phase = str
Make = Callable[[str, float], None]

PLAIN = ("cold", "noop", "change")
EXPORTED = ("cold+oci", "noop+oci", "change+oci")
IMAGE = ("cold+image",)
IMAGE_CHANGED = ("cold+image", "change+image")
LINK = "part01"
"""The folder of W4 that changes: it is the second of the links."""
_MIB = 1 << 20


class Workload(NamedTuple):
    """`make` writes the context; `changed` is the file that the phase `change` appends to.

    Each of `runs` is a chain of phases on a store of its own. `base` is a name of `bases`.
    """

    name: str
    title: str
    make: Make
    runs: tuple[tuple[Phase, ...], ...]
    changed: str = ""
    base: str = "busybox"
    rounds: int = 3

    @property
    def phases(self) -> frozenset[Phase]:
        """All of them."""
        return frozenset(phase for run in self.runs for phase in run)


def compression(phase: Phase) -> str | None:
    """What layers are to be compressed with, for a phase that exports an archive."""
    if "+oci" not in phase:
        return None
    return "zstd" if phase.endswith("-zstd") else "gzip"


def named(phase: Phase) -> bool:
    """Whether an image is to be in the builder's store after a phase."""
    return phase.endswith("+image")


def _steps(count: int) -> str:
    return "".join(f"RUN echo {n} > /n\n" for n in range(count))


def _reproduction(top: str, scale: float) -> None:
    write(
        f"{top}/Dockerfile",
        "FROM localhost/bench-busybox\nRUN touch /file2\nCOPY --link file1 /file1\n"
        "RUN rm /file1 /file2\nCOPY --link file3 /file3\n"
        "RUN test ! -e /file1 && test ! -e /file2 && ls -l /file3\n",
    )
    write(f"{top}/file1", "one\n")
    write(f"{top}/file3", "three\n")


def _chain(count: int) -> Make:
    def make(top: str, scale: float) -> None:
        steps = _steps(max(2, int(count * scale)))
        write(f"{top}/Dockerfile", "FROM localhost/bench-busybox\n" + steps)

    return make


def _many_files(top: str, scale: float) -> None:
    write(f"{top}/Dockerfile", "FROM localhost/bench-busybox\nCOPY . /src\n")
    tree(f"{top}/src", int(20_000 * scale), seed=3, sizes=(1024, 8192))


def _links(count: int, files: int) -> Make:
    def make(top: str, scale: float) -> None:
        lines = [f"COPY --link part{n:02d} /data/part{n:02d}\n" for n in range(count)]
        write(
            f"{top}/Dockerfile",
            "FROM localhost/bench-busybox\n"
            + "".join(lines)
            + "RUN ls -R /data | wc -l > /count\n",
        )
        for n in range(count):
            tree(f"{top}/part{n:02d}", max(1, int(files * scale)), seed=40 + n, sizes=(1024, 8192))

    return make


def _big_data(top: str, scale: float) -> None:
    write(f"{top}/Dockerfile", "FROM localhost/bench-busybox\nCOPY data /data\n")
    os.mkdir(f"{top}/data")
    big_file(f"{top}/data/text", int(512 * _MIB * scale), seed=5, noise=False)
    big_file(f"{top}/data/noise", int(256 * _MIB * scale), seed=6, noise=True)


WORK = "dd if=/dev/zero bs=1M count=%d 2>/dev/null | sha256sum"
"""What a stage of W6 computes: a second or so of a processor, with nothing read or written."""


def _stages(top: str, scale: float) -> None:
    work = WORK % int(300 * scale)
    lines = []
    for n in range(4):
        lines.append(f"FROM localhost/bench-busybox AS s{n}\n")
        lines.append(f"RUN sleep {2 * scale:g}; {work} > /out{n}\n")
    lines.append("FROM localhost/bench-busybox\n")
    lines += [f"COPY --from=s{n} /out{n} /out{n}\n" for n in range(4)]
    write(f"{top}/Dockerfile", "".join(lines))


def _pulled(top: str, scale: float) -> None:
    # The real name of the image has a port in it, which is known once the registry runs.
    write(f"{top}/Dockerfile", "FROM @IMAGE@\nRUN ls -R /opt | wc -l > /count\n")


def _debian(top: str, scale: float) -> None:
    write(
        f"{top}/Dockerfile",
        "FROM localhost/bench-debian\n"
        "RUN apt-get update && apt-get install -y --no-install-recommends python3-minimal\n"
        "COPY --link app /app\nCOPY --link conf /etc/app\n"
        "RUN python3 -m compileall -q /app\n",
    )
    for n in range(40):
        lines = [f"def f{i}(x):\n    return x * {i} + {n}\n\n" for i in range(30)]
        write(f"{top}/app/m{n:02d}.py", "".join(lines))
    write(f"{top}/conf/app.conf", "answer = 42\n")


_FIRST_FILE = "src/d000/f00000.txt"
_LINK_FILE = f"{LINK}/d000/f00000.txt"

WORKLOADS = (
    Workload("W1", "six steps of the reproduction", _reproduction, (("cold", "noop"),), rounds=5),
    Workload("W2", "20 RUNs", _chain(20), (("cold", "noop"), IMAGE), rounds=5),
    Workload("W3", "COPY of 20,000 files", _many_files, (PLAIN, EXPORTED, IMAGE), _FIRST_FILE),
    Workload("W4", "10 links of 2,000 files", _links(10, 2000), (PLAIN, IMAGE_CHANGED), _LINK_FILE),
    Workload("W4b", "40 links of 500 files", _links(40, 500), (PLAIN, IMAGE), _LINK_FILE),
    Workload(
        "W5", "768 MiB exported", _big_data, (("cold+oci",), ("cold+oci-zstd",))
    ),
    Workload("W6", "four stages at once", _stages, (("cold", "noop"),)),
    Workload("W7", "100 RUNs", _chain(100), (("cold", "noop"),)),
    Workload(
        "W8", "pull of 28,000 files", _pulled, (("cold", "noop"),), base="registry"
    ),
    Workload(
        "W9", "Debian: install, links, compile", _debian, (PLAIN,), "app/m00.py", base="debian",
    ),
)  # fmt: skip


def chosen(names: str) -> list[Workload]:
    """The workloads of a list such as `W1,W4b`; all for an empty one. Raises `ValueError`."""
    by_name = {workload.name.lower(): workload for workload in WORKLOADS}
    wanted = [name for name in names.replace(",", " ").lower().split() if name]
    unknown = [name for name in wanted if name not in by_name]
    if unknown:
        known = ", ".join(workload.name for workload in WORKLOADS)
        raise ValueError(f"there is no workload {unknown[0]}: there are {known}")
    return [by_name[name] for name in wanted] or list(WORKLOADS)
