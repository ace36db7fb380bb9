"""What a merge costs: both ways to make one, against a bare loop of link(2) over the same files.

    python bench/merge.py [ROUNDS [LAYERS [FILES]]]

40 layers of 500 files each, as many `COPY --link` make them. "stack" lists the layers, "hardlink"
walks them and links every file into one new layer. The bare loops link the same files by full
paths whose names are known already, into one directory that is there: no walk, no look at what
lies below, no metadata. One is in Python, the other in C where there is a compiler; the faster of
the two is what hardlink is compared with. All are run in turns. Run it as root, or through
`unshare --map-root-user --mount`; TMPDIR says on which filesystem.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from minibuild.snapshot.api import Diff, MergePolicy, SnapshotID, Strategy
from minibuild.snapshot.select import open_snapshotter
from minibuild.snapshot.snapshotter import Snapshotter
from minibuild.store.layout import Store

C_LOOP = r"""
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
static char from[20000000], *names[1000000];
int main(int argc, char **argv) {
    size_t size = fread(from, 1, sizeof from, stdin), count = 0;
    for (char *at = from; at < from + size; at += strlen(at) + 1) names[count++] = at;
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (size_t n = 0; n + 1 < count; n += 2)
        if (link(names[n], names[n + 1])) { perror(names[n]); return 1; }
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%.9f\n", end.tv_sec - start.tv_sec + (end.tv_nsec - start.tv_nsec) / 1e9);
}
"""


def make_layers(snapshots: Snapshotter, layers: int, files: int) -> list[SnapshotID]:
    """Layers of `files` files of 100 bytes in ten directories that all have in common."""
    made = []
    for layer in range(layers):
        active = snapshots.prepare(None)
        root = snapshots.layer_dir(active)
        for number in range(10):
            os.makedirs(f"{root}/srv/{number}")
        for number in range(files):
            with open(f"{root}/srv/{number % 10}/file-{layer}-{number}", "wb") as file:
                file.write(b"x" * 100)
        snapshots.commit(active)
        made.append(active)
    return made


def pairs(snapshots: Snapshotter, layers: list[SnapshotID], target: str) -> list[str]:
    """Every file of the layers, each followed by where the bare loop links it."""
    found = []
    for layer in layers:
        root = snapshots.layer_dir(layer)
        for folder, _, names in os.walk(root):
            for name in names:
                found += [f"{folder}/{name}", f"{target}{folder[len(root) :]}/{name}"]
    return found


def loop_in_python(words: list[str]) -> float:
    """Seconds of a loop of link(2) in Python."""
    link, each = os.link, list(zip(words[::2], words[1::2], strict=True))
    start = time.perf_counter()
    for source, target in each:
        link(source, target)
    return time.perf_counter() - start


def loop_in_c(program: str, words: list[str]) -> float:
    """Seconds of the same in C."""
    told = b"".join(word.encode() + b"\0" for word in words)
    return float(subprocess.run([program], input=told, capture_output=True, check=True).stdout)


def compiled(folder: str) -> str:
    """The loop in C; empty if nothing here compiles it."""
    program = f"{folder}/loop"
    command = ["cc", "-O2", "-x", "c", "-", "-o", program]
    if shutil.which("cc") is None:
        return ""
    done = subprocess.run(command, input=C_LOOP.encode(), check=False)
    return program if done.returncode == 0 else ""


def merged(snapshots: Snapshotter, layers: list[SnapshotID], strategy: Strategy) -> float:
    """Seconds of a merge, which is removed again."""
    diffs = [Diff(None, layer) for layer in layers]
    start = time.perf_counter()
    made = snapshots.merge(diffs, MergePolicy(strategy))
    seconds = time.perf_counter() - start
    assert strategy is Strategy.HARDLINK or made.report.strategy is Strategy.STACK, made.report
    snapshots.remove(made.snapshot)
    return seconds


def in_turns(folder: str, rounds: int, layers: int, files: int) -> dict[str, list[float]]:
    """Milliseconds of each way, round by round."""
    store = Store(f"{folder}/store")
    snapshots = open_snapshotter(store, "overlay")
    made = make_layers(snapshots, layers, files)
    target = f"{folder}/bare"
    # The first layer is the parent of a hardlink merge: it is not linked, there or here.
    words = pairs(snapshots, made[1:], target)
    ways: dict[str, Callable[[], float]] = {
        "stack": lambda: merged(snapshots, made, Strategy.AUTO),
        "hardlink": lambda: merged(snapshots, made, Strategy.HARDLINK),
        "loop in Python": lambda: loop_in_python(words),
    }
    if program := compiled(folder):
        ways["loop in C"] = lambda: loop_in_c(program, words)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            for directory in range(10):
                os.makedirs(f"{target}/srv/{directory}")
            seconds = way()
            shutil.rmtree(target)
            if number:  # The first round warms the caches.
                times[name].append(seconds * 1e3)
    store.close()
    return times


def main() -> None:
    """Measure and print."""
    given = [int(word) for word in sys.argv[1:]]
    rounds, layers, files = (*given, *(10, 40, 500)[len(given) :])
    folder = tempfile.mkdtemp(prefix="bench-merge-")
    try:
        times = in_turns(folder, rounds, layers, files)
    finally:
        shutil.rmtree(folder)
    medians = {name: statistics.median(found) for name, found in times.items()}
    print(f"{layers} layers of {files} files, median of {rounds} rounds")
    for name, found in times.items():
        print(f"{name:15} {medians[name]:8.2f} ms  ({min(found):.2f} to {max(found):.2f})")
    loop = min(median for name, median in medians.items() if name.startswith("loop"))
    print(f"hardlink / the faster loop: {medians['hardlink'] / loop:.2f}")


if __name__ == "__main__":
    main()
