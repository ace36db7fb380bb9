"""How cost grows: the families, the table, and the lines."""

import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.limits import Limit
from bench.lines import as_lines, as_table
from bench.measure import Cost
from bench.report import Report, rows_of
from bench.scale import FAMILIES, Family, main
from bench.session import Sample
from bench.tree import Tree


def _samples(size: int) -> list[Sample]:
    seconds = {"cold": size / 1000, "noop": 0.1, "change": 0.2}
    ours = [Sample("minibuild", phase, Cost(s, s, 20)) for phase, s in seconds.items()]
    other = Sample("peer", "cold", Cost(size / 100, 1, 90))
    return [*ours, other, Sample("peer", "noop", Cost(0, 0, 0), "peer\nno such thing")]


ROWS = [row for size in (100, 10_000) for row in rows_of(f"files {size}", _samples(size))]
LIMITS = {(f"files {size}", "noop"): Limit("noop", "a walk", 0.05) for size in (100, 10_000)}
TITLES = {f"files {size}": f"{size:,} files" for size in (100, 10_000)}
REPORT = Report(tuple(ROWS), LIMITS, TITLES, versions={"peer": "peer 1.0"})


def test_the_table_has_a_line_for_each_size() -> None:
    lines = as_table(REPORT).splitlines()
    assert "| 100 files | 0.10 / 1.00 | 0.10 / failed | 0.20 / failed | 0.05 | 20 / 90 |" in lines
    assert sum(line.startswith("| 1") for line in lines) == 2
    assert any("peer 1.0" in line for line in lines)


def _points(svg: str) -> dict[str, list[tuple[float, float]]]:
    """The lines of the picture, by their titles."""
    space = "{http://www.w3.org/2000/svg}"
    found = {}
    for line in ElementTree.fromstring(svg).iter(f"{space}polyline"):
        pairs = [place.split(",") for place in line.attrib["points"].split()]
        found[line.findtext(f"{space}title", "")] = [(float(x), float(y)) for x, y in pairs]
    return found


def test_cost_in_proportion_rises_like_the_diagonal() -> None:
    lines = _points(as_lines(REPORT))
    (x1, y1), (x2, y2) = lines["minibuild, cold"]
    assert x2 - x1 == y1 - y2 > 0
    (_, flat), (_, end) = lines["minibuild, noop"]
    assert flat == end
    assert sorted(lines) == [
        "limit of a noop",
        "minibuild, change",
        "minibuild, cold",
        "minibuild, noop",
        "peer, cold",
    ]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_context_is_of_its_size(family: Family, tmp_path: Path) -> None:
    family.make(str(tmp_path), 3)
    text = (tmp_path / "Dockerfile").read_text()
    if family.name == "files":
        assert sum(len(names) for _, _, names in os.walk(tmp_path)) == 4
    else:
        assert max(text.count(word) for word in (" AS s", "COPY --link", "RUN echo")) == 3
    assert not family.changed or (tmp_path / family.changed).is_file()
    assert family.workload(3).phases >= {"cold", "noop"}


def test_an_unknown_family_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "file", "--alone"]) == 2
    assert "there is no family file: there are files, steps" in capsys.readouterr().err


def test_programs_may_be_in_a_folder_of_their_own(tmp_path: Path) -> None:
    """They run in this machine's system; a folder with a Debian in it is entered."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "buildkitd"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    tree = Tree(str(tmp_path))
    assert (tree.root, tree.find("buildkitd")) == ("/", str(program))
    assert tree.find("sh") is not None
    (tmp_path / "usr").mkdir()
    assert Tree(str(tmp_path)).root == str(tmp_path)
