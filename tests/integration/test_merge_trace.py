"""`minibuild merge-trace`: images and steps, filters, JSON, and words that mean nothing."""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.conftest import CHECKOUT
from tests.integration.conftest import Builds

pytestmark = [pytest.mark.integration, pytest.mark.needs("overlay", "busybox")]

Project = Callable[[Mapping[str, str]], str]


@pytest.fixture
def demo(builds: Builds) -> Builds:
    """The Dockerfile of pull request 4516, built."""
    builds.cli("build", "-t", "demo", str(CHECKOUT / "testdata/whiteout-hardlink"))
    return builds


def trace(builds: Builds, *words: str) -> dict[str, Any]:
    """The trace as JSON."""
    found: dict[str, Any] = json.loads(builds.cli("merge-trace", "--json", *words).stdout)
    return found


def test_an_image_and_its_instructions(demo: Builds) -> None:
    found = trace(demo, "demo", "--only", "whiteouts")
    assert [layer["parent"] for layer in found["layers"]] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    one, two = found["paths"]
    assert (one["path"], two["path"]) == ("file1", "file2")
    assert [act["action"] for act in one["acts"]] == ["linked", "removed"]
    assert [act["action"] for act in two["acts"]] == ["below", "whiteout"]
    assert two["instruction"].startswith("RUN /bin/sh -c rm /file1 /file2")
    assert two["over"][0]["instruction"].startswith("RUN /bin/sh -c touch /file2")
    assert one["inode"] == 0 and two["inode"] > 0 and two["links"] > 1
    (three,) = trace(demo, "demo", "--path", "/file3")["paths"]
    assert (three["acts"][0]["action"], three["links"], three["gone"]) == ("linked", 2, False)


def test_as_a_table(demo: Builds) -> None:
    lines = demo.cli("merge-trace", "demo", "--only=conflicts").stdout.splitlines()
    assert lines[0].startswith("demo: 6 layers, ") and lines[0].endswith(
        "2 that layers disagree about"
    )
    assert "  2  applied  COPY file1 /file1 # buildkit" in "\n".join(lines)
    table = [line.split() for line in lines[lines.index("", 4) + 1 :]]
    assert table[0] == ["PATH", "LAYER", "WAS", "DONE", "INODE", "LINKS", "OVER"]
    assert table[1][:3] == ["file1", "3", "removed:"] and table[1][-3:] == ["-", "-", "2"]
    assert table[2][:4] == ["file2", "3", "whiteout", "written:"] and table[2][-1] == "1"
    assert "no path is like that" in demo.cli("merge-trace", "demo", "--only=copies").stdout


def test_steps_by_words_and_by_key(demo: Builds) -> None:
    found = trace(demo, "RUN rm")
    assert found["name"] == "[4/6] RUN rm /file1 /file2"
    assert [layer["instruction"] for layer in found["layers"]][1:] == [
        "[2/6] RUN touch /file2",
        "[3/6] COPY --link file1 /file1",
        "[4/6] RUN rm /file1 /file2",
    ]
    records = json.loads(demo.cli("du", "--format=json").stdout)
    [key] = [r["id"] for r in records if r["description"] == found["name"]]
    assert trace(demo, key.removeprefix("sha256:")[:12]) == found


def test_nothing_is_left_and_nothing_is_changed(demo: Builds) -> None:
    trace(demo, "demo")  # layers of the base may have to be unpacked for it
    snapshots = f"{demo.cli.root}/snapshots"
    before = sorted(os.listdir(snapshots))
    assert trace(demo, "demo")["paths"] == trace(demo, "demo")["paths"]
    assert sorted(os.listdir(snapshots)) == before


def test_an_image_from_elsewhere_is_a_chain(builds: Builds) -> None:
    found = trace(builds, "busybox")
    assert found["linked"] == 0 and all(layer["parent"] for layer in found["layers"])
    assert {act["action"] for path in found["paths"] for act in path["acts"]} == {"below"}


def test_words_that_mean_nothing(builds: Builds) -> None:
    assert "no image and no step 'nowhere'" in builds.cli("merge-trace", "nowhere", code=2).stderr
    assert "did you mean busybox" in builds.cli("merge-trace", "busybo", code=7).stderr


def test_what_was_asked_for_is_told_though_more_was_done_later(
    builds: Builds, project: Project
) -> None:
    text = "FROM busybox\nCOPY --link f /d/f\nRUN mkfifo /d/p /d/q\nCOPY --link f /e/f\n"
    context = project({"f": "", "Dockerfile": f"{text}RUN rm -r /d\nCOPY --link f /d/f\nRUN ls\n"})
    builds.cli("build", "-t", "later", context)
    copies = builds.cli("merge-trace", "later", "--only=copies").stdout.splitlines()
    done = "copied: never shared: fifo, socket (layer 2), then gone with its directory"
    for line, name in zip(copies[-2:], "pq", strict=True):
        assert line.split() == [f"d/{name}", "4", *done.split(), "-", "-", "2"]
    whiteouts = builds.cli("merge-trace", "later", "--only=whiteouts", "--path=/d").stdout
    assert "removed: nothing lies below (layer 4), then directory recreated" in whiteouts
    assert "invalid value 'x'" in builds.cli("merge-trace", "later", "--only=x", code=2).stderr


def test_names_cannot_write_to_the_terminal(builds: Builds, project: Project) -> None:
    made = "mkdir /o && touch \"$(printf '/o/a\\033[31m')\" && ln /o/a* /o/b"
    copy = "COPY --link --from=a /o /o\033[31m"
    dockerfile = f"FROM busybox AS a\nRUN {made}\nFROM busybox\n{copy}\n"
    builds.cli("build", "-t", "odd", project({"Dockerfile": dockerfile}))
    text = builds.cli("merge-trace", "odd", "--path=/").stdout
    assert "\033" not in text
    assert r"/a\x1b[31m  " in text and r"linked: to /o\x1b[31m/a\x1b[31m" in text
    assert r"COPY /o /o\x1b[31m" in text
