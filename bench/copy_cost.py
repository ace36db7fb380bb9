"""What a COPY of many small files costs, beside the least that Python could do.

    python bench/copy_cost.py [--files 20000] [--directory DIR]

Prints seconds for: walking, digests without and with a memo, the copy as minibuild does it, and a
bare loop that only reads and writes. Creating files on a filesystem where many were just deleted
is several times slower, so every run gets new directories and nothing is deleted until the end.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from minibuild.fileop.api import SourceTree
from minibuild.fileop.apply import apply
from minibuild.fileop.checksum import content_digests
from minibuild.fileop.digest_cache import DigestCache
from minibuild.fileop.walk import walk
from minibuild.graph.op import Copy
from minibuild.store.database import Database


def make_tree(top: str, files: int) -> None:
    """`files` files of 1 to 8 KiB in directories of 50, with times in the past."""
    chooser = random.Random(1)
    block = chooser.randbytes(8192)
    for number in range(files):
        folder = os.path.join(top, f"d{number // 50:04d}")
        if number % 50 == 0:
            os.mkdir(folder)
        path = os.path.join(folder, f"f{number:06d}")
        with open(path, "wb") as file:
            file.write(b"%d" % number + block[: chooser.randrange(1024, 8192)])
        os.utime(path, (1_600_000_000, 1_600_000_000))


def bare_copy(source: str, target: str) -> None:
    """Read and write, and nothing else: no modes, owners, times or checks."""
    for folder, _, names in os.walk(source):
        made = os.path.join(target, os.path.relpath(folder, source))
        os.makedirs(made, exist_ok=True)
        for name in names:
            with (
                open(os.path.join(folder, name), "rb", buffering=0) as old,
                open(os.path.join(made, name), "wb", buffering=0) as new,
            ):
                new.write(old.read())


def timed(label: str, action: Callable[[], object]) -> None:
    """Run once and print the seconds."""
    started = time.perf_counter()
    action()
    print(f"{label:32} {time.perf_counter() - started:7.3f} s")


def measure(top: str, files: int) -> None:
    """All measurements in the directory `top`."""
    source = os.path.join(top, "source")
    os.mkdir(source)
    make_tree(source, files)
    fd = os.open(source, os.O_RDONLY | os.O_DIRECTORY)
    tree = SourceTree(fd, name="context")
    ignoring = SourceTree(fd, ("**/*.tmp", "node_modules", "!keep.tmp"), "context")
    copy = Copy(0, (".",), "/src/")
    database = Database(os.path.join(top, "meta.db"))
    memo = DigestCache(database)
    time.sleep(2.1)  # the memo does not trust files that changed just now

    def copied(name: str) -> Callable[[], object]:
        os.mkdir(os.path.join(top, name))
        root_fd = os.open(os.path.join(top, name), os.O_RDONLY | os.O_DIRECTORY)
        return lambda: apply((copy,), root_fd, {0: tree})

    timed("walk", lambda: sum(1 for _ in walk(fd)))
    timed("digests, nothing remembered", lambda: content_digests(copy, tree, memo))
    timed("digests, all remembered", lambda: content_digests(copy, tree, memo))
    timed("the same with ignore patterns", lambda: content_digests(copy, ignoring, memo))
    for turn in ("1", "2"):
        timed(f"copy {turn}", copied(f"copy{turn}"))
        timed(f"bare loop {turn}", partial(bare_copy, source, os.path.join(top, f"bare{turn}")))
    database.close()
    os.close(fd)


def main() -> None:
    """Parse the arguments, measure, clean up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--directory", help="where to write (default: the system's temporary one)")
    given = parser.parse_args()
    top = tempfile.mkdtemp(prefix="copy-cost-", dir=given.directory)
    try:
        measure(top, given.files)
    finally:
        shutil.rmtree(top)


if __name__ == "__main__":
    main()
