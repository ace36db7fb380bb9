"""`build --report` and `builds show -o`: the page of real builds."""

import json
import os
import time
from pathlib import Path

import pytest

import minibuild
from tests.conftest import Cli
from tests.support.markup import Page, problems

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "busybox")]

DOCKERFILE = """\
FROM busybox AS base
RUN mkdir -p /etc/app && echo base > /etc/app/base.conf

FROM base AS build
COPY src/ /src/
RUN cat /src/* > /all && echo "<b>built</b>"

FROM base
COPY --link --from=build /all /srv/all
COPY --link conf/ /etc/app/
RUN dd if=/dev/zero of=/tmp/big bs=1k count=100 2>/dev/null
RUN rm /tmp/big && ls /srv
"""


@pytest.fixture
def context(cli: Cli, busybox_store: str, tmp_path: Path) -> Path:
    cli.has_busybox(busybox_store)
    for name, text in {"src/a": "a\n", "conf/app.conf": "x\n", "Dockerfile": DOCKERFILE}.items():
        path = tmp_path / "context" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "context"


def read(path: Path) -> Page:
    page = Page(path.read_text())
    assert problems(page) == []
    assert len(page.raw) < 120_000
    return page


def test_the_page_of_a_build(cli: Cli, context: Path, tmp_path: Path) -> None:
    first, second, third = (tmp_path / f"{n}.html" for n in range(3))
    cli("build", "-q", "-t", "app", "--report", str(first), str(context))
    page = read(first).words
    assert "7 of 7 steps ran" in page
    # Layers, with what they hide and what to do; the log; the merge.
    assert "102.4kB of layer" in page and "/tmp/big" in page
    assert "deleted by layer" in page and "remove it in line 11 itself" in page
    assert "<b>built</b>" in page
    assert "line 11 needed 4 layers as one tree" in page and "stacked" in page
    # Files, with their line and what they are a copy of.
    assert "conf/app.conf of the context" in page and "/all of line 6" in page

    (context / "src/a").write_text("another\n")
    cli("build", "-q", "-t", "app", "--report", str(second), str(context))
    page = read(second).words
    assert "Why steps ran: line 5: /src/a: contents" in page and "compared with" in page

    # An idle build, whose page is that of the build that did the work; and the same once more.
    time.sleep(1.1)
    cli("build", "-q", "-t", "app", "--report", str(third), str(context))
    assert "Built again on" in read(third).words
    again = tmp_path / "again.html"
    cli("builds", "show", "-o", str(again), cwd=str(context))
    assert again.read_text() == third.read_text()

    # A record from another machine has no layers here; all else is the same.
    exported = tmp_path / "record.json"
    cli("builds", "export", "-o", str(exported), cwd=str(context))
    cli(
        "builds",
        "show",
        str(exported),
        "-o",
        str(again),
        env={"MINIBUILD_ROOT": str(tmp_path / "x")},
    )
    assert "The layers are not in this store." in read(again).words


def test_no_secret_is_in_a_page(cli: Cli, context: Path, tmp_path: Path) -> None:
    """Values of variables with secret names, in text, names, arguments, logs, histories."""
    text = "FROM busybox\nARG API_TOKEN\nENV DB_PASSWORD=pass-%s\nWORKDIR /d/$DB_PASSWORD\n"
    text += 'COPY src/a "/x/$API_TOKEN"\nRUN echo $API_TOKEN $DB_PASSWORD > /y; cat /y\n'
    page = tmp_path / "page.html"
    for number in ("one", "two"):
        (context / "Dockerfile").write_text(text % number)
        flags = ("--build-arg", f"API_TOKEN=token-{number}", "--report", str(page), "--squash")
        cli("build", "-q", *flags, str(context))
        shown = read(page).raw
        assert not [word for word in ("token-", "pass-") if word in shown]
    assert "another value, which is not shown" in shown


def test_the_page_of_a_build_that_failed(cli: Cli, context: Path, tmp_path: Path) -> None:
    (context / "Dockerfile").write_text(DOCKERFILE + "RUN echo look here; exit 3\nRUN true\n")
    page = tmp_path / "page.html"
    cli("build", "-q", "--report", str(page), str(context), code=5)
    words = read(page).words
    assert "Failed build" in words and "exit code: 3" in words and "look here" in words
    assert {"open": ""} in read(page).all("details")  # the log of what failed is to be seen
    # One that fails before its first step has no page, and that of an older build is gone.
    (context / "Dockerfile").write_text("FORM busybox\n")
    cli("build", "-q", "--report", str(page), str(context), code=6)
    assert not page.exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--report", "/nonexistent/page.html"), "no directory /nonexistent"),
        (("--report", "page.html", "--no-record"), "made from its record"),
    ],
)
def test_what_cannot_be(flags: tuple[str, ...], said: str, cli: Cli, context: Path) -> None:
    assert said in cli("build", *flags, str(context), code=2).stderr


def test_what_is_no_file_stays(cli: Cli, context: Path, tmp_path: Path) -> None:
    """A link leads to the page, and is not replaced by it; /dev/stdout is standard output."""
    (tmp_path / "link.html").symlink_to(tmp_path / "page.html")
    cli("build", "-q", "--report", str(tmp_path / "link.html"), str(context))
    assert (tmp_path / "link.html").is_symlink()
    read(tmp_path / "page.html")
    for name in ("/dev/stdout", "-"):
        shown = cli("builds", "show", "-o", name, cwd=str(context)).stdout
        assert shown == (tmp_path / "page.html").read_text()
    assert os.path.islink("/dev/stdout")


def test_a_page_for_programs(cli: Cli, context: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = minibuild.build(context, tags=["app"], root=cli.root, report_file=page)
    read(page)
    shown = result._repr_html_()
    assert "app" in shown and str(result.digest) in shown and "&lt;b&gt;built" not in shown
    assert shown.count("<tr>") == 1 + len(result.images[0].layers)
    assert json.loads(cli("builds", "--format", "json").stdout)[0]["tags"]
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]
