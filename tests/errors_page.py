"""docs/errors.md: wrong Dockerfiles, and what the program says about each of them.

Comes in: testdata/errors: a folder for each case, and cases.json with its title, what makes it
right, and arguments. Goes out: the page, with what the real program printed.

    python -m tests.errors_page            write docs/errors.md anew
    python -m tests.errors_page --print    print it

The program runs in forks of this process, one for each case, so that all of them take a second.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).parent.parent
CASES = CHECKOUT / "testdata/errors"
PAGE = CHECKOUT / "docs/errors.md"

_PROGRAM = (
    "minibuild.cli.build",
    "minibuild.cli.errors",
    "minibuild.rootless.enter",
    "minibuild.fileop.missing",
    "minibuild.builder",
    "minibuild_dockerfile.convert",
    "minibuild.graph.ignore_file",
    "difflib",
    "hashlib",
    "sqlite3",
)

_HEAD = """\
# Errors

An error says in which file and lines it is, marks them, says what is wrong, and what to do about
it. These are {count} mistakes, with what `minibuild build` prints about each. The Dockerfiles are
in `testdata/errors`; `python -m tests.errors_page` makes this page from what the program prints.

The exit code says what kind of error it is: 2 wrong use, 3 this machine cannot, 4 image not found,
5 a step failed, 6 the Dockerfile is wrong, 7 a broken image, 8 the store. After Ctrl-C it is 130.
It is 141 if the reader of standard output left before its end (`minibuild build -o - . | head`).
"""


class Case(NamedTuple):
    """A mistake. `mended` is what should stand there instead."""

    section: str
    name: str
    title: str
    mended: str
    arguments: tuple[str, ...] = ()


class Said(NamedTuple):
    """What the program printed, and its exit code."""

    text: str
    code: int


def cases() -> list[Case]:
    """All cases, in the order of the page."""
    listed = json.loads((CASES / "cases.json").read_text())
    return [Case(**{**case, "arguments": tuple(case.get("arguments", ()))}) for case in listed]


def outcome(case: Case, root: str) -> Said:
    """Run the program in the folder of a case. For a process of one thread."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _be_the_program(case, root, writing)
    os.close(writing)
    with open(reading, encoding="utf-8") as stream:
        text = stream.read()
    return Said(text, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _be_the_program(case: Case, root: str, writing: int) -> None:
    code = 99
    try:
        os.chdir(CASES / case.name)
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        variables = {"PATH": os.defpath, "HOME": root, "MINIBUILD_ROOT": root, "TERM": "dumb"}
        os.environ.clear()
        os.environ.update(variables)
        from minibuild.cli.main import entry

        code = entry(["build", "--progress=plain", *case.arguments, "."])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 99
    finally:
        sys.stderr.flush()
        os._exit(code)


def shown(text: str) -> list[str]:
    """Only what is about the error: the progress above it differs from run to run."""
    lines = text.splitlines()
    for at, line in enumerate(lines):
        if line.startswith(("Dockerfile:", "error:")):
            return lines[at:]
    return lines


def page() -> str:
    """The whole page."""
    for name in _PROGRAM:
        import_module(name)  # once, and not in each fork
    found = cases()
    with tempfile.TemporaryDirectory(prefix="minibuild-errors.") as root:
        os.chmod(root, 0o755)
        body = [line for case in _by_section(found) for line in _section(case, root)]
    return "\n".join([_HEAD.format(count=len(found)), *body[:-1], ""])


def _by_section(found: list[Case]) -> Iterator[Case | str]:
    section = ""
    for case in found:
        if case.section != section:
            section = case.section
            yield section
        yield case


def _section(case: Case | str, root: str) -> list[str]:
    if isinstance(case, str):
        return [f"## {case}", ""]
    said = outcome(case, root)
    command = " ".join(["$ minibuild build", *case.arguments, "."])
    return [
        f"### {case.title}",
        "",
        "```console",
        command,
        *shown(said.text),
        "```",
        "",
        "Mended:",
        "",
        *(f"    {line}" for line in case.mended.splitlines()),
        "",
    ]


if __name__ == "__main__":
    if "--print" in sys.argv:
        sys.stdout.write(page())
    else:
        PAGE.write_text(page())
