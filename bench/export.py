"""What an export is made of: 512 MiB of text and 256 MiB of noise, in each form that is written.

    python bench/export.py [--text 512] [--noise 256] [--rounds 3] [--directory DIR] [--vs buildah]

Prints seconds, and MiB of files in a second, for: a build with an empty store that writes an OCI
archive, compressed in each way; the same with the layers in the store already; and the files as
a directory and as a tar. Beside a cold build stands what BuildKit took for workload W5, the same
files in one layer on a small base. That was recorded once, on another day and with other work going
on (`recorded`), so it is a size to go by and no ratio: `bench/run.py` compares in turns. `--vs
buildah` runs in turns too, with its `vfs` storage, which copies; it has faster ones.
What the machine itself can do stands below: hashing and compressing.
`bench/pull.py` is about the other direction.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import zlib
from collections.abc import Callable
from hashlib import sha256

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bench.contents import big_file
from bench.recorded import BUILDKIT_S

PROGRAM = os.path.join(sysconfig.get_path("scripts"), "minibuild")
_MIB = 1 << 20
_SAMPLE_BYTES = 64 * _MIB
_RECORDED_MIB = 768

# Name of the row, output, attributes, what BuildKit's figure is called.
COLD = (
    ("oci, gzip", "", "cold+oci"),
    ("oci, gzip level 6", ",compression-level=6", "cold+oci"),
    ("oci, zstd", ",compression=zstd", "cold+oci-zstd"),
    ("oci, uncompressed", ",compression=uncompressed", ""),
)


class Bench:
    """A context, and stores to build it in. Old stores are renamed away, and removed at the end:
    creating files soon after deleting many is slow on some filesystems."""

    def __init__(self, top: str, text: int, noise: int) -> None:
        self.top = top
        self.context = os.path.join(top, "context")
        self.size_mib = text + noise
        self.rows: dict[str, list[float]] = {}
        self.count = 0
        data = os.path.join(self.context, "data")
        os.makedirs(data)
        big_file(os.path.join(data, "text"), text * _MIB, seed=5, noise=False)
        big_file(os.path.join(data, "noise"), noise * _MIB, seed=6, noise=True)
        with open(os.path.join(self.context, "Dockerfile"), "w") as file:
            file.write("FROM scratch\nCOPY data /data\n")

    def fresh(self, name: str) -> str:
        """A path that nothing was at before."""
        self.count += 1
        return os.path.join(self.top, f"{name}{self.count}")

    def build(self, row: str, store: str, output: str) -> None:
        """A build; its seconds go to a row."""
        environment = {**os.environ, "MINIBUILD_ROOT": store}
        command = [PROGRAM, "build", "-q", "-o", output, self.context]
        self.time(row, lambda: subprocess.run(command, env=environment, check=True, stdout=-3))

    def time(self, row: str, work: Callable[[], object]) -> None:
        """Do something, and note how long it takes."""
        began = time.perf_counter()
        work()
        self.rows.setdefault(row, []).append(time.perf_counter() - began)


def measure(bench: Bench, rounds: int, buildah: bool) -> None:
    """All rows; each round has new stores."""
    for _ in range(rounds):
        for name, attributes, _recorded in COLD:
            store, dest = bench.fresh("store"), bench.fresh("out")
            bench.build(f"cold  {name}", store, f"type=oci,dest={dest}{attributes}")
            bench.build(f"again {name}", store, f"type=oci,dest={dest}{attributes}")
            os.unlink(dest)
        store = bench.fresh("store")
        bench.build("cold  local", store, f"type=local,dest={bench.fresh('out')}")
        bench.build("again local", store, f"type=local,dest={bench.fresh('out')}")
        bench.build("again tar", store, f"type=tar,dest={bench.fresh('out')}")
        if buildah:
            bench.time("buildah (vfs) oci-archive", lambda: _buildah(bench))


def _buildah(bench: Bench) -> None:
    """The same image with buildah: a store of its own, then an archive."""
    folder = bench.fresh("buildah")
    start = ["buildah", "--root", folder, "--runroot", folder + "-run", "--storage-driver", "vfs"]
    build = [*start, "bud", "-q", "--layers", "-t", "bench", bench.context]
    subprocess.run(build, check=True, stdout=-3, stderr=-3)
    subprocess.run([*start, "push", "-q", "bench", f"oci-archive:{folder}.tar"], check=True)


def limits(bench: Bench) -> dict[str, float]:
    """MiB in a second that one core of this machine does of each kind of work, on the text."""
    from isal import isal_zlib

    with open(os.path.join(bench.context, "data", "text"), "rb") as file:
        data = file.read(_SAMPLE_BYTES)
    jobs: dict[str, Callable[[], object]] = {
        "sha256": lambda: sha256(data).digest(),
        "gzip by isal, level 1": lambda: isal_zlib.compress(data, 1),
        "gzip by zlib, level 6": lambda: zlib.compress(data[: 8 * _MIB], 6),
    }
    found = {}
    for name, job in jobs.items():
        began = time.perf_counter()
        job()
        size = 8 if "zlib" in name else len(data) / _MIB
        found[name] = size / (time.perf_counter() - began)
    return found


def show(bench: Bench) -> None:
    """The rows, with the median of each, and BuildKit's figure where there is one."""
    recorded = {f"cold  {name}": key for name, _, key in COLD if key}
    if bench.size_mib != _RECORDED_MIB:
        recorded = {}  # another amount of work
    print(f"{'':26} {'seconds':>8}  {'(range)':15} {'MiB/s':>6}  BuildKit, recorded")
    for row, found in bench.rows.items():
        middle = statistics.median(found)
        spread = f"({min(found):.2f}-{max(found):.2f})"
        theirs = BUILDKIT_S.get(("W5", recorded.get(row, "")))
        beside = f"{theirs:.2f} s" if theirs else ""
        print(
            f"{row:26} {middle:8.2f}  {spread:15} {bench.size_mib / middle:6.0f}  {beside}".rstrip()
        )
    print("\none core of this machine, MiB/s of text:")
    for name, speed in limits(bench).items():
        print(f"{name:26} {speed:8.0f}")


def main() -> None:
    """Parse the arguments, measure, clean up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--text", type=int, default=512, metavar="MIB")
    parser.add_argument("--noise", type=int, default=256, metavar="MIB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vs", choices=("buildah",), help="another builder to compare with")
    parser.add_argument("--directory", help="where to write (default: the system's temporary one)")
    given = parser.parse_args()
    top = tempfile.mkdtemp(prefix="export-", dir=given.directory)
    try:
        bench = Bench(top, given.text, given.noise)
        measure(bench, given.rounds, given.vs == "buildah")
        show(bench)
    finally:
        shutil.rmtree(top, ignore_errors=True)


if __name__ == "__main__":
    main()
