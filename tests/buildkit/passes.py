"""BuildKit's own tests against minibuild: what a run has lost, and what it has gained.

    python -m tests.buildkit.passes [--update] RESULT...

Comes in: files of `go test -json`, or of `go tool test2json`. Goes out: the difference to
passes.txt, whose head says how to run the suites. `--update` writes the tests that are new there;
none is ever taken out.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

PASSES = Path(__file__).with_name("passes.txt")
_SANDBOX = ("worker=", "frontend=")


def known(path: Path = PASSES) -> list[str]:
    """The tests that pass, as they are written down."""
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def results(lines: Iterable[str]) -> dict[str, bool]:
    """Whether the tests of a run passed. One that ran several times has to pass each time."""
    found: dict[str, bool] = {}
    for name, passed in _ended(lines):
        found[name] = found.get(name, True) and passed
    return found


def _ended(lines: Iterable[str]) -> Iterator[tuple[str, bool]]:
    for line in lines:
        event = json.loads(line) if line.startswith("{") else {}
        if event.get("Action") not in ("pass", "fail"):
            continue
        *parts, last = event.get("Test", "").split("/")
        # A test of the framework ends with the sandbox that it ran in; what stands behind it are
        # its parts.
        if last.startswith(_SANDBOX):
            words = [part for part in parts if not part.startswith(_SANDBOX)]
            package = event.get("Package", "").rpartition("/")[2]
            yield "/".join((package, *words)), event["Action"] == "pass"


def compared(found: dict[str, bool], before: Iterable[str]) -> tuple[list[str], list[str]]:
    """What is lost: known and run, but not passed; and what is new."""
    lost = sorted(name for name in before if not found.get(name, True))
    return lost, sorted({name for name, passed in found.items() if passed} - set(before))


def added(text: str, new: Iterable[str]) -> str:
    """The file with more tests, sorted below its head."""
    lines = text.splitlines()
    head = [line for line in lines if line.startswith("#") or not line]
    names = {line for line in lines if line not in head} | set(new)
    return "\n".join((*head, *sorted(names))) + "\n"


def main(words: list[str]) -> int:
    """Compare; 1 if a test is lost."""
    update, files = "--update" in words, [word for word in words if word != "--update"]
    found: dict[str, bool] = {}
    for name in files:
        with open(name, encoding="utf-8", errors="replace") as file:
            for test, passed in results(file).items():
                found[test] = found.get(test, True) and passed
    lost, new = compared(found, known())
    lines = [f"{mark} {name}" for mark, names in (("lost", lost), ("new", new)) for name in names]
    lines.append(f"{sum(found.values())} of {len(found)} passed; {len(lost)} lost, {len(new)} new")
    sys.stdout.writelines(f"{line}\n" for line in lines)
    if update:
        PASSES.write_text(added(PASSES.read_text(), new))
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
