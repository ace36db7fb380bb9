"""Every console block of the course, README and insight.md, run: it prints what stands there.

The blocks of a page are one session: a shell, a folder, a store with busybox. Lines that begin with
`$` are commands, with `>` the rest of them; all else is output. What differs each time (digests,
times, inodes, sizes of the machine's busybox) counts as equal; a line `...` is any lines.
`pytest tests/course --update-golden` writes the output of blocks that differ.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import CHECKOUT, Cli

pytestmark = [
    pytest.mark.integration,
    pytest.mark.linters,  # one account is enough: the exercises are for all
    pytest.mark.needs("mount", "busybox", "overlay"),
]

PAGES = [
    Path("README.md"),
    Path("docs/insight.md"),
    *sorted(p.relative_to(CHECKOUT) for p in CHECKOUT.glob("docs/course/*.md")),
]
FENCE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = "\x1e"
"""What is written before the output of each command: ASCII's separator of records."""

BEFORE = {
    "README.md": [
        f"ln -s '{CHECKOUT}/testdata' .",
        "mkdir project; cd project; printf 'FROM busybox\\nWORKDIR /src\\nCOPY mian.c .\\n"
        "RUN cc -o main main.c\\n' > Dockerfile; touch main.c",
    ],
    "docs/insight.md": [
        f"cp -R '{CHECKOUT}/docs/examples/shop' app; cd app",
        *("", "", ""),
        "mkdir -p ../tool/conf; cd ../tool; touch conf/a run.sh\n"
        "for v in 1 2 3; do printf 'FROM busybox\\nRUN echo %s\\nCOPY conf /etc/app/\\n"
        "COPY run.sh /tmp/\\nRUN touch /done\\n' $v > Dockerfile\n"
        "minibuild build -q . > /dev/null; done",
        "cd ../app",
        "",
        "mkdir ../site; cd ../site; touch views.py; printf 'FROM busybox\\n"
        "COPY views.py /code/app/\\nRUN chown -R 33:33 /code\\n' > Dockerfile\n"
        "minibuild build -q -t site . > /dev/null; cd ../app",
    ],
}
"""What makes the files that a block of a page is about, where the page does not show it."""

MASKS = [
    (r"\x1b\[[0-9;]*m", ""),
    (r"\b[0-9a-f]{64}\b", "DIGEST"),
    (r"\b(?=\d*[a-f])[0-9a-f]{8,16}\b|\b\d{8,16}\b", "DIGEST"),
    (r"\b\d+(\.\d+)? ?(B|kB|MB)\b", "SIZE"),
    (r"\b\d+(\.\d+)? %", "PART"),
    (r"(just now|\d+ (second|minute|hour)s? (ago|before))", "AGO"),
    (r"\b\d+\.\d+ ?s\b", "TIME"),
    (r"^(#\d+ )?\d+\.\d+ ", r"\1TIME "),
    (r"exporting layers .*done", "exporting layers done"),
    (r"\bbyte \d+\b", "byte N"),
    (r"\b[A-Z][a-z]{2} [ \d]\d \d\d:\d\d\b", "DATE"),
    (r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b", "DATE"),
    (r"\bsnapshot \d+\b", "SNAPSHOT"),
    (r"#\d{2,}\b", "#INODE"),
    (r"\b(d[rwxst-]{9} +\d+ \w+ +\w+ +)\d+ ", r"\1SIZE "),  # each filesystem has its own
    (r"\b\d{3,}\b", "NUMBER"),
    (r"[ \t]+", " "),
]


class Block(NamedTuple):
    """A command of a page, and the output that stands below it."""

    command: str
    output: str


def blocks(text: str) -> list[list[Block]]:
    """The commands of each fence."""
    return [list(commands(found[1])) for found in FENCE.finditer(text)]


def commands(fence: str) -> list[Block]:
    made: list[Block] = []
    for line in fence.splitlines():
        if line.startswith("$ "):
            made.append(Block(line[2:], ""))
        elif line.startswith("> ") or line == ">":
            assert made and not made[-1].output, f"{line!r} goes on from nothing"
            made[-1] = made[-1]._replace(command=f"{made[-1].command}\n{line[2:]}")
        else:
            assert made, f"output without a command: {line!r}"
            made[-1] = made[-1]._replace(output=f"{made[-1].output}{line}\n")
    return made


def script(page: str, found: list[list[Block]]) -> str:
    """All of a page as one shell script."""
    lines = []
    for place, fence in enumerate(found):
        lines += BEFORE.get(page, [])[place : place + 1]
        for block in fence:
            lines += [f"code=$?; printf '{MARK}'; (exit $code)", block.command]
    return "\n".join(lines)


def run(cli: Cli, page: str, found: list[list[Block]], folder: Path) -> list[str]:
    """The output of each command."""
    program = os.path.dirname(cli.program)
    done = subprocess.run(
        ["bash", "-c", f"exec 2>&1\n{script(page, found)}"],
        cwd=folder,
        env={**cli.environment, "PATH": f"{program}:{os.environ['PATH']}", "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    printed = done.stdout.replace(str(folder), "/home/ada").split(MARK)[1:]
    return [f"{part}\n" if part and not part.endswith("\n") else part for part in printed]


def masked(text: str) -> list[str]:
    """Lines of which those that should be the same are equal."""
    lines = []
    for line in text.rstrip("\n").split("\n"):
        for pattern, word in MASKS:
            line = re.sub(pattern, word, line)
        lines.append(line.strip())
    progress = [re.sub(r"^#\d+ ", "", line) for line in lines if re.match(r"#\d+ ", line)]
    progress = [line for line in progress if line != "..." and " / " not in line]
    if not progress:
        return lines
    # Steps run at the same time: their lines come in any order.
    rest = [line for line in lines if line and not re.match(r"#\d+ ", line)]
    return [*sorted(set(progress)), *rest]


def alike(expected: str, printed: str) -> bool:
    """Whether an output is what stands in the page."""
    parts = re.split(r"^\.\.\.\n", expected, flags=re.MULTILINE)
    if len(parts) == 1:
        return masked(expected) == masked(printed)
    text = "\n".join(masked(printed)) + "\n"
    pattern = ".*".join(re.escape("\n".join(masked(p)) + "\n") if p else "" for p in parts)
    return re.fullmatch(pattern, text, re.DOTALL) is not None


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_blocks(
    page: Path, cli: Cli, busybox_store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = CHECKOUT / page
    found = blocks(path.read_text())
    if not found:
        pytest.skip("the page shows no commands")
    cli.has_busybox(busybox_store)
    folder = tmp_path / "home"
    folder.mkdir()
    printed = run(cli, str(page), found, folder)
    assert len(printed) == sum(map(len, found))
    outputs = iter(printed)
    wrong = []
    for fence in found:
        for position, block in enumerate(fence):
            out = next(outputs)
            if not alike(block.output, out):
                wrong.append(f"$ {block.command}\nit prints\n{out}and the page has\n{block.output}")
                fence[position] = block._replace(output=out)
    if wrong and request.config.getoption("--update-golden"):
        path.write_text(written(path.read_text(), found))
        return
    assert not wrong, f"{page}:\n" + "\n".join(wrong)


def written(text: str, found: list[list[Block]]) -> str:
    """The page with these outputs."""
    fences = iter(found)

    def fence(match: re.Match[str]) -> str:
        lines = []
        for block in next(fences):
            command = block.command.replace("\n", "\n> ").replace("\n> \n", "\n>\n")
            lines.append(f"$ {command}\n{block.output}")
        return f"```console\n{''.join(lines)}```"

    return FENCE.sub(fence, text)


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("a\n", "a\n", True),
        ("a\n", "b\n", False),
        ("took 1.2 s\n", "took 3.0 s\n", True),
        ("line 12\n", "line 13\n", False),
        ("a\n...\nc\n", "a\nb\nc\n", True),
        ("a\n...\nc\n", "a\nb\nd\n", False),
        ("...\nc\n", "a\nb\nc\n", True),
        (f"sha256:{'1' * 64}\n", f"sha256:{'2' * 64}\n", True),
        ("#9 0.017 a 5\n", "#9 1.250 a 5\n", True),
        ("#9 0.017 a 5\n", "#9 0.017 a 6\n", False),
        ("drwxr-xr-x 1 a b 4096 /c\n", "drwxr-xr-x 1 a b 60 /c\n", True),
        ("-rwxr-xr-x 1 a b 4096 /c\n", "-rwxr-xr-x 1 a b 60 /c\n", False),
        ("#1 [a]\n#1 DONE 0.0s\n\n#2 [b]\n", "#1 [b]\n\n#2 [a]\n#2 DONE 0.4s\n", True),
        ("", "an error\n", False),
    ],
)
def test_what_counts_as_alike(expected: str, printed: str, same: bool) -> None:
    assert alike(expected, printed) is same
