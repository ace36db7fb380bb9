"""What is built while it is interrupted: each kind is busy with something else most of its time.

Comes in: an empty folder. Goes out: contexts in it, and for each kind a Dockerfile and flags. Files
are big, for small ones are done before anybody can look; those with holes cost no room.
"""

import os
import random
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

MIB = 1 << 20
HOLES_BYTES = 100 << 30
NAP = f"77.{os.getpid()}"


class Kind(NamedTuple):
    """A Dockerfile, flags, and files of the ignore file if there is one."""

    dockerfile: str
    flags: Sequence[str] = ()
    ignored: str = ""


KINDS = {
    "layer of holes": Kind("FROM scratch\nCOPY holes /\n"),
    "tree of holes": Kind("FROM busybox\nCOPY holes /\nRUN ls\n"),
    "bind mount": Kind("FROM busybox\nRUN --mount=type=bind,target=/m ls /m\n"),
    "bind mount, some ignored": Kind(
        "FROM busybox\nRUN --mount=type=bind,target=/m ls /m\n", ignored="many/1\n"
    ),
    "copies": Kind(
        "FROM busybox\nCOPY noise /a\nCOPY --link noise /b\nRUN cat a b > /c\n",
        ("-o", "type=image,compression=zstd,force-compression=true"),
    ),
    "many files": Kind("FROM busybox\nCOPY many /many\nRUN cp -a /many /again\n"),
    "stages": Kind(
        "FROM busybox AS one\nRUN cat /dev/urandom | head -c 100000000 > /x\n"
        "FROM busybox AS two\nRUN dd if=/dev/zero of=/y bs=1M count=400\n"
        "FROM busybox\nCOPY --from=one /x /\nCOPY --from=two /y /\nRUN cat /x /y > /z\n"
    ),
    "step with holes": Kind("FROM busybox\nRUN truncate -s 100G /holes\n"),
    "archive": Kind("FROM busybox\nADD noise.tar /a/\nADD holes.tar /b/\n"),
    "base": Kind("FROM big\nRUN ls\nCOPY noise /\n"),
    "base as it is": Kind("FROM big\n", ("-o", "type=oci,dest=out.tar")),
    "cache mount": Kind(
        "FROM busybox\nRUN --mount=type=cache,target=/c cat /dev/zero | head -c 1000000000 > /c/x\n"
    ),
    "folder": Kind("FROM big\nCOPY many /\n", ("-o", "type=local,dest=out")),
    "tar": Kind("FROM big\nRUN truncate -s 90G /holes\n", ("-o", "type=tar,dest=out.tar")),
    "docker archive": Kind("FROM big\nCOPY noise /\n", ("-o", "type=docker,dest=out.tar")),
    "squash": Kind("FROM busybox\nCOPY noise /\nRUN cat noise > a\n", ("--squash",)),
    "times": Kind(
        "FROM big\nCOPY noise /\n",
        ("-o", "type=image,rewrite-timestamp=true", "--build-arg", "SOURCE_DATE_EPOCH=1"),
    ),
    "deaf": Kind(
        'FROM busybox\nRUN trap "" INT TERM HUP; for i in 1 2 3 4 5 6 7 8 9; do '
        f"setsid sleep {NAP} & done; sleep {NAP}\n"
    ),
    "much": Kind(
        "FROM busybox AS one\nCOPY noise /a\nCOPY --link noise /b\nRUN cat a b > /c\n"
        "FROM big\nCOPY many /many\nRUN cp -a /many /again\nCOPY --from=one /c /\n"
    ),
    "checks": Kind("FROM big\n" + "RUN echo $x\n" * 3000, ("--check",)),
}


def make_context(folder: Path, noise_mib: int) -> None:
    """The files that all of them use."""
    noise = random.Random(4).randbytes(MIB)
    with open(folder / "noise", "wb") as file:
        for number in range(noise_mib):
            file.write(number.to_bytes(8, "big") + noise)
    with open(folder / "holes", "wb") as file:
        file.truncate(HOLES_BYTES)
    (folder / "many").mkdir()
    for number in range(4000):
        (folder / "many" / str(number)).write_bytes(noise[number : 2 * number])
    with tarfile.open(folder / "noise.tar", "w") as tar:
        tar.add(folder / "noise", "noise")
    _tar_of_holes(folder / "holes.tar")


def _tar_of_holes(path: Path) -> None:
    """An archive of one huge file of zeros, itself with a hole."""
    info = tarfile.TarInfo("holes")
    info.size = 40 << 30
    with open(path, "wb") as file:
        file.write(info.tobuf())
        file.truncate(info.size + 512 * 3)
