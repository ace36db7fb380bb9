"""`python -m tests.mutation MODULE... --tests PATH...`: see the package."""

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from minibuild.errors import HostError
from tests.mutation.confine import run_confined
from tests.mutation.runner import Mutations

CHECKOUT = Path(__file__).resolve().parent.parent.parent


def main() -> int:
    """Run it; 1 if fewer than the wanted share of mutants was killed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("modules", nargs="+", type=Path)
    parser.add_argument("--tests", nargs="+", required=True)
    parser.add_argument("--jobs", type=int, default=2, help="mutants at once (default: 2)")
    parser.add_argument("--sample", type=int, default=1, help="every Nth mutant (default: all)")
    parser.add_argument("--goal", type=float, default=90, help="percent to be killed (default: 90)")
    asked = parser.parse_args()
    files = [
        f for path in asked.modules for f in ([path] if path.is_file() else path.rglob("*.py"))
    ]
    with tempfile.TemporaryDirectory(prefix="mutation.") as folder:
        work = Path(folder)
        try:
            return run_confined(work, lambda: _run(asked, sorted(files), work))
        except HostError as error:
            parser.error(f"no mutant runs where it could remove any file: {error}")


def _run(asked: argparse.Namespace, files: list[Path], work: Path) -> int:
    plugin = Mutations(files, CHECKOUT, work, asked.jobs, asked.sample)
    words = ["-q", "-p", "no:cacheprovider", "--no-header", *asked.tests]
    if (code := pytest.main(words, plugins=[plugin])) not in (0, 5):
        return int(code)
    counts = Counter(outcome.what for outcome in plugin.outcomes)
    total = sum(counts.values())
    killed = counts["killed"] + counts["timeout"]
    share = 100 * killed / total if total else 100.0
    print(f"{killed} of {total} mutants killed ({share:.1f} %); {dict(counts)}")
    return 0 if share >= asked.goal else 1


if __name__ == "__main__":
    sys.exit(main())
