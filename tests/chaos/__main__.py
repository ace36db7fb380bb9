"""`python -m tests.chaos [--times 200] [--seed 1] [--signal INT] [--kind NAME]... [--beside]`

Builds big things and ends them at random moments. Prints a line for each and what was wrong; the
status is 1 if anything was. Takes some three seconds for each time.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.chaos.builds import KINDS
from tests.chaos.harness import moments, prepared

CHECK_EVERY = 10
"""After so many that are ended, one is built to its end."""


def main() -> int:
    """Do it."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--signal", default="INT")
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--beside", action="store_true", help="with another build of it")
    parser.add_argument("--program", default=str(Path(sys.executable).parent / "minibuild"))
    options = parser.parse_args()
    number = signal.Signals[f"SIG{options.signal}"]
    if number != signal.SIGKILL and signal.getsignal(number) is signal.SIG_IGN:
        # As after `python -m tests.chaos &`: builds would ignore it, too.
        signal.signal(number, signal.SIG_DFL)
    kinds = options.kind or list(KINDS)
    done, bad, slowest, wrong = 0, 0, 0.0, list[str]()
    with tempfile.TemporaryDirectory(prefix="minibuild-chaos.", ignore_cleanup_errors=True) as name:
        harness = prepared(options.program, Path(name))
        for kind, after_s in moments(options.seed, options.times, kinds):
            ended = harness.interrupt(kind, after_s, number, beside=options.beside)
            left = harness.left()
            sys.stdout.write(f"{ended}{f', left: {left}' if left else ''}\n")
            sys.stdout.flush()
            bad += bool(ended.wrong)
            slowest = max(slowest, ended.took_s)
            done += 1
            if done % CHECK_EVERY == 0 or done == options.times:
                wrong += harness.next_build()
        subprocess.run([options.program, "--root", harness.root, "prune", "--all", "--force"])
    sys.stdout.write(f"{options.times} builds, {bad} bad, the slowest took {slowest:.2f} s\n")
    sys.stdout.write("".join(f"afterwards: {what}\n" for what in wrong))
    return 1 if bad or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
