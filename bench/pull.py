"""What a pull is made of: an image of 30,000 files from a registry on loopback.

    python bench/pull.py [--files 30000] [--layers 1] [--rounds 3] [--directory DIR]

Prints seconds for: the bytes alone (`image pull`), a build whose first RUN needs all files (the
layers are fetched side by side and unpacked as they arrive), the same with the layers in the store
already, an image that only extends it by `COPY --link` and is pushed (no layer is fetched), and
the build again with all of it cached. `bench/run.py --workload W8` compares with other builders.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from tests.support import busybox
from tests.support.registry import registry

PROGRAM = [os.path.join(sysconfig.get_path("scripts"), "minibuild")]


class Session:
    """One image in one registry, and stores to build in."""

    def __init__(self, top: str, address: str) -> None:
        self.top = top
        self.image = f"{address}/bench/image:1"
        self.linked = f"{address}/bench/linked:1"
        self.stores = 0

    def store(self) -> str:
        """A new, empty store."""
        self.stores += 1
        return os.path.join(self.top, f"store{self.stores}")

    def run(self, store: str, *words: str) -> float:
        """Run minibuild; returns the seconds that it took."""
        started = time.perf_counter()
        environment = {**os.environ, "MINIBUILD_ROOT": store}
        done = subprocess.run([*PROGRAM, *words], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return time.perf_counter() - started

    def context(self, name: str, dockerfile: str) -> str:
        """A build context of a Dockerfile alone."""
        folder = os.path.join(self.top, name)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "Dockerfile"), "w") as file:
            file.write(dockerfile)
        return folder


def make_image(session: Session, files: int, layers: int) -> None:
    """Push an image of that many files of 4 to 24 KiB, in that many layers above a userland."""
    binary = busybox.find()
    assert binary, "there is no static busybox: install busybox-static"
    rootfs, store = os.path.join(session.top, "rootfs.tar"), session.store()
    busybox.write_tar(binary, rootfs)
    session.run(store, "image", "import", rootfs, "localhost/bench")
    context = session.context("image", "FROM localhost/bench\n")
    chooser = random.Random(8)
    block = b" ".join(b"%06x" % chooser.randrange(1 << 18) for _ in range(4000))
    with open(os.path.join(context, "Dockerfile"), "a") as dockerfile:
        for layer in range(layers):
            dockerfile.write(f"COPY l{layer} /opt/l{layer}\n")
    for number in range(files):
        folder = os.path.join(context, f"l{number % layers}", f"d{number // 100:04d}")
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f"f{number}"), "wb") as file:
            file.write(b"%d" % number + block[: chooser.randrange(4096, 24_000)])
    session.run(store, "build", "--push", "-t", session.image, context)


def measure(session: Session, rounds: int) -> None:
    """All measurements; each round has new stores."""
    run = session.context("run", f"FROM {session.image}\nRUN ls -R /opt | wc -l > /count\n")
    link = session.context("link", f"FROM {session.image}\nCOPY --link Dockerfile /opt/\n")
    seconds: dict[str, list[float]] = {}

    def note(label: str, took: float) -> None:
        seconds.setdefault(label, []).append(took)

    for _ in range(rounds):
        pulled, cold, linked = session.store(), session.store(), session.store()
        note("image pull", session.run(pulled, "image", "pull", session.image))
        note("first RUN, all from the registry", session.run(cold, "build", run))
        note("first RUN, layers in the store", session.run(pulled, "build", run))
        note(
            "COPY --link and push",
            session.run(linked, "build", "--push", "-t", session.linked, link),
        )
        note("build again", session.run(cold, "build", run))
    for label, found in seconds.items():
        low, middle, high = min(found), statistics.median(found), max(found)
        print(f"{label:36} {middle:7.3f} s  ({low:.3f}-{high:.3f})")


def main() -> None:
    """Parse the arguments, measure, clean up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--files", type=int, default=30_000)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", help="where to write (default: the system's temporary one)")
    given = parser.parse_args()
    top = tempfile.mkdtemp(prefix="pull-", dir=given.directory)
    try:
        with registry(os.path.join(top, "registry")) as server:
            session = Session(top, server.address)
            make_image(session, given.files, given.layers)
            measure(session, given.rounds)
    finally:
        shutil.rmtree(top, ignore_errors=True)


if __name__ == "__main__":
    main()
