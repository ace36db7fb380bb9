"""What the record of a build costs: the same build with it and without, in turns.

    python bench/record_cost.py [ROUNDS]

Two builds are measured: an idle one of 20 RUNs (all cached: it writes nothing new), and one that
runs its 20 RUNs. Each is timed as a whole process, the two ways one after the other, so that what
else the machine does falls on both. Compare the medians, and of a busy machine the least.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from tests.support import busybox

PROGRAM = os.path.join(os.path.dirname(sys.executable), "minibuild")
STEPS = 20
WAYS: dict[str, tuple[str, ...]] = {"with": (), "without": ("--no-record",)}


def one(context: str, *flags: str) -> tuple[float, float]:
    """Seconds of one build, by the clock and of processors."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([PROGRAM, "build", "-q", *flags, context], check=True, capture_output=True)
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took, used


def compare(name: str, context: str, rounds: int, *flags: str) -> None:
    """Time both ways in turns, and print what they took."""
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for number in range(rounds):
        for way in (list(WAYS), list(WAYS)[::-1])[number % 2]:
            times[way].append(one(context, *flags, *WAYS[way]))
    for column, what in enumerate(("clock", "processor")):
        taken = {way: [pair[column] * 1000 for pair in found] for way, found in times.items()}
        middle = {way: statistics.median(found) for way, found in taken.items()}
        words = ", ".join(
            f"{way} {middle[way]:.1f} ms (least {min(taken[way]):.1f})" for way in WAYS
        )
        ratio = middle["with"] / middle["without"]
        sys.stdout.write(f"{name}, {what}: {words}; ratio of medians {ratio:.3f}\n")


def main() -> None:
    """Measure both builds."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    binary = busybox.find()
    assert binary is not None, "needs a static busybox"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MINIBUILD_ROOT"] = os.path.join(folder, "store")
        tar, context = os.path.join(folder, "busybox.tar"), os.path.join(folder, "context")
        busybox.write_tar(binary, tar)
        subprocess.run([PROGRAM, "image", "import", tar, "busybox"], check=True)
        os.mkdir(context)
        with open(os.path.join(context, "Dockerfile"), "w", encoding="utf-8") as file:
            file.write("FROM busybox\n" + "".join(f"RUN echo {n} > /{n}\n" for n in range(STEPS)))
        one(context)
        compare("idle", context, rounds)
        compare(f"{STEPS} RUNs", context, max(5, rounds // 4), "--no-cache")


if __name__ == "__main__":
    main()
