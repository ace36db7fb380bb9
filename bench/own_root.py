"""What a build costs in the container's own root: W9 there and with namespaces, in turns.

    python -m bench.own_root [--turns N] [--debian TAR]

Needs root, and what tests/pods needs. The base image is in both stores before the time is taken,
and in no other form than its blobs: the build unpacks it. Both run on one filesystem, each time in
a new store, and nothing is deleted before the end. The start of the container does not count.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench.bases import make_debian
from bench.workloads import chosen
from tests.conftest import Cli
from tests.pods.matrix import pod
from tests.support import ci_image

_PATIENCE_S = 600.0
_BUILD = ("build", "-o", "type=cacheonly")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.own_root")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--debian", type=Path, help="the tar of a root directory with apt")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="own-root-") as name:
        race = Race(Path(name), options.debian)
        outside, inside = [], []
        for _ in range(options.turns):
            outside.append(race.outside())
            inside.append(race.inside())
            print(f"namespaces {outside[-1]:6.2f} s   own root {inside[-1]:6.2f} s", flush=True)
    one, other = statistics.median(outside), statistics.median(inside)
    print(f"medians    {one:6.2f} s   own root {other:6.2f} s   ratio {other / one:.2f}")
    return 0


class Race:
    """The context, the base, and the root directory of the container."""

    def __init__(self, folder: Path, debian: Path | None) -> None:
        folder.chmod(0o755)
        self.folder = folder
        (workload,) = chosen("W9")
        self.context = folder / "context"
        self.context.mkdir()
        workload.make(str(self.context), 1.0)
        self.archive = make_debian(str(folder), str(debian) if debian else "").archive
        os.link(self.archive, self.context / "base.oci")
        (self.context / ".dockerignore").write_text("*.oci\n")
        tree = ci_image.gather(folder / "gathered")
        ci_image.build(Cli(f"{folder}/image"), tree, "debug", "-o", f"{folder}/root")
        self._count = 0

    def _new(self) -> Path:
        self._count += 1
        return self.folder / f"turn-{self._count}"

    def outside(self) -> float:
        """The seconds of a build on this host."""
        cli = Cli(str(self._new()))
        cli("image", "load", "-i", self.archive)
        start = time.monotonic()
        cli(*_BUILD, str(self.context))
        return time.monotonic() - start

    def inside(self) -> float:
        """The same in a container without namespaces."""
        with pod(self._new(), self.folder / "root", "root-seccomp", self.context) as made:
            made.container.patience_s = _PATIENCE_S
            made.sh("minibuild image load -i base.oci")
            now = "echo now: $(cat /proc/uptime)"
            said = made.sh(f"{now}; minibuild {' '.join(_BUILD)} . && {now}")
        start, end = (float(part.split()[0]) for part in said.split("now: ")[1:])
        return end - start


if __name__ == "__main__":
    sys.exit(main())
