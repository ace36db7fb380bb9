"""Which frontend reads a definition: those that are built in, and those that are installed."""

import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from minibuild_dockerfile import DockerfileFrontend

from minibuild.errors import BuildError, DefinitionError, HostError, SourceText, Span, UsageError
from minibuild.frontend.loader import (
    BUILT_IN,
    GROUP,
    Syntax,
    declared_syntax,
    entry_point_name,
    frontend_for,
)
from minibuild.graph.frontend import Epoch, Finding, FrontendRequest, ignore_findings
from minibuild.graph.op import Exec, File, ImageSource
from minibuild.graph.platform import Platform
from minibuild.graph.vertex import topological
from tests.conftest import CHECKOUT
from tests.support.frontends import BAKERY, RECIPE, install, install_bakery
from tests.support.resolver import FakeResolver
from tests.support.types import complaints

AMD64 = Platform("linux", "amd64")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of the path, empty, for packages; what is imported from it is forgotten again."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def chosen(text: str, build_args: Mapping[str, str] = {}) -> object:
    return frontend_for(SourceText("Recipe", text), build_args)


def request(text: str, **fields: object) -> FrontendRequest:
    return FrontendRequest(SourceText("Recipe", text), (AMD64,), AMD64, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Syntax("")),
        ("FROM scratch\n", Syntax("")),
        ("# syntax=bakery\n", Syntax("bakery")),
        ("\ufeff# syntax=bakery\n", Syntax("bakery")),
        ("#  SYNTAX =  bakery --flag \r\n", Syntax("bakery")),
        ("# escape=`\n# check=skip=all\n# syntax=bakery", Syntax("bakery", 3)),
        ("#!/usr/bin/env minibuild\n# syntax=bakery\n", Syntax("bakery", 2)),
        ("// syntax=bakery\n", Syntax("bakery")),
        ("// escape=x\n// syntax=bakery\n", Syntax("bakery", 2)),
        ('{"syntax": "bakery", "more": [1]}', Syntax("bakery")),
        ('\n {"syntax":\n "bakery"}\n', Syntax("bakery")),
        # Directives stand above all else, and begin their line.
        ("# a comment\n# syntax=bakery\n", Syntax("")),
        ("\n# syntax=bakery\n", Syntax("")),
        (" # syntax=bakery\n", Syntax("")),
        ("# unknown=1\n# syntax=bakery\n", Syntax("")),
        ("# syntax=\n# syntax=bakery\n", Syntax("")),
        ("# syntax=one\n# syntax=two\n", Syntax("one")),
        ("// a\n# syntax=bakery\n", Syntax("")),
        ('{"syntax": 1}', Syntax("")),
        ('["syntax"]', Syntax("")),
        ("{", Syntax("")),
        ("{" * 100_000, Syntax("")),
        ('{"a":' * 100_000, Syntax("")),
    ],
)
def test_declared_syntax(text: str, expected: Syntax) -> None:
    """The three forms of BuildKit, where they may stand."""
    assert declared_syntax(text) == expected


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("bakery", "bakery"),
        ("bakery:1.2", "bakery"),
        ("bakery@sha256:" + "a" * 64, "bakery"),
        ("bakery:1@sha256:" + "a" * 64, "bakery"),
        ("docker.io/me/bakery:1", "me/bakery"),
        ("example.com:5000/bakery", "example.com:5000/bakery"),
        ("example.com:5000/bakery:1", "example.com:5000/bakery"),
        ("", ""),
    ],
)
def test_names_of_entry_points(word: str, name: str) -> None:
    assert entry_point_name(word) == name


def test_the_table_agrees_with_the_package() -> None:
    """What is found without a search is what a search would find."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"][GROUP] == BUILT_IN


BUILT_IN_WORDS = [
    "",
    "# syntax=docker/dockerfile:1\n",
    "# syntax=docker.io/docker/dockerfile:1.7-labs\n",
    "# syntax=docker/dockerfile-upstream:master@sha256:" + "a" * 64 + "\n",
    "# syntax=dockerfile.v0\n",
    "# syntax=dockerfile\n",
]


def test_a_bare_checkout_has_no_frontend(monkeypatch: pytest.MonkeyPatch) -> None:
    """None that is found: the folder `frontends` is on the path of an install alone."""
    monkeypatch.setitem(BUILT_IN, "dockerfile", "minibuild_no_such:Frontend")
    with pytest.raises(HostError, match="no package minibuild_no_such") as caught:
        chosen("FROM scratch\n")
    assert "make install" in caught.value.hint


def test_no_search_for_what_is_built_in() -> None:
    """Packages are looked through only for other names: it takes longer than all the rest."""
    program = """\
import sys
from minibuild.errors import SourceText
from minibuild.frontend.loader import frontend_for
for text in %r:
    assert frontend_for(SourceText("Dockerfile", text), {}).name == "dockerfile.v0"
assert "importlib.metadata" not in sys.modules
text = "# syntax=mirror.example/docker/dockerfile"
assert frontend_for(SourceText("Dockerfile", text), {}).name == "dockerfile.v0"
assert "importlib.metadata" in sys.modules
"""
    command = [sys.executable, "-c", program % BUILT_IN_WORDS]
    subprocess.run(command, check=True, cwd=CHECKOUT)


COPIES = ["mirror.example/docker/dockerfile:1", "example.com:5000/dockerfile", "a/dockerfile:x"]


@pytest.mark.parametrize("word", COPIES)
def test_copies_of_dockers_frontend(word: str) -> None:
    """They are taken for it, and the Dockerfile frontend warns of that."""
    text = f"# syntax={word}\nFROM busybox\n"
    frontend = frontend_for(SourceText("Dockerfile", text), {})
    found: list[Finding] = []
    assert isinstance(frontend, DockerfileFrontend)
    assert len(frontend.convert(request(text), FakeResolver(), found.append).images) == 1
    assert [finding.rule for finding in found] == ["UnsupportedSyntax"]


@pytest.mark.parametrize("word", ["other", "example.com/other:1", "docker/dockerfile2"])
def test_what_is_not_installed(word: str) -> None:
    """It may read anything, so its file is not taken for a Dockerfile."""
    with pytest.raises(UsageError, match="is not installed") as caught:
        frontend_for(SourceText("Dockerfile", f"# check=skip=all\n# syntax={word}\n"), {})
    assert caught.value.span == Span("Dockerfile", 2, 2)


def test_an_installed_frontend(site: Path) -> None:
    """A package on the path and nothing else makes a second frontend."""
    with pytest.raises(UsageError, match="bakery is not installed"):
        chosen(RECIPE)
    install_bakery(site)
    frontend = frontend_for(SourceText("Recipe", RECIPE), {})
    assert (frontend.name, frontend.language) == ("bakery", "Recipe")
    found: list[Finding] = []
    (image,) = frontend.convert(request(RECIPE, labels={"a": "b"}), FakeResolver(), found.append)[0]
    ops = [type(vertex.op) for vertex in topological([image.vertex])]
    assert ops.count(ImageSource) == ops.count(File) == ops.count(Exec) == 1
    assert image.config.config["Cmd"] == ["/bin/sh", "-c", "/app.sh"]
    assert image.config.config["Labels"] == {"a": "b"}
    assert not found


def test_what_a_frontend_need_not_write(site: Path) -> None:
    """The time of an image is a number, and questions have no answer."""
    install_bakery(site)
    frontend = frontend_for(SourceText("Recipe", RECIPE), {})
    assert frontend.epoch(request(RECIPE)) == Epoch()
    assert frontend.epoch(request(RECIPE, build_args={"SOURCE_DATE_EPOCH": "-7"})) == Epoch(-7)
    with pytest.raises(DefinitionError, match="invalid SOURCE_DATE_EPOCH: context"):
        frontend.epoch(request(RECIPE, build_args={"SOURCE_DATE_EPOCH": "context"}))
    with pytest.raises(UsageError, match="frontend bakery does not answer 'targets'"):
        frontend.subrequest("targets", request(RECIPE), FakeResolver(), ignore_findings)


def test_the_build_argument_wins(site: Path) -> None:
    install_bakery(site)
    given = {"BUILDKIT_SYNTAX": "dockerfile.v0"}
    assert isinstance(chosen(RECIPE, given), DockerfileFrontend)
    given = {"BUILDKIT_SYNTAX": "bakery:2 --flag"}
    assert not isinstance(chosen("FROM scratch\n", given), DockerfileFrontend)


def test_the_name_of_an_image(site: Path) -> None:
    """So a file that BuildKit reads with a frontend of an image needs no change."""
    install_bakery(site)
    entries = {"example.com/me/bakery": "bakery:Bakery"}
    install(site, "other-name", entries)
    text = "# syntax=example.com/me/bakery:1@sha256:" + "a" * 64 + "\n"
    assert not isinstance(chosen(text), DockerfileFrontend)


def test_found_twice(site: Path) -> None:
    """A checkout, and what was installed of it, are one frontend."""
    install_bakery(site)
    install(site, "bakery-again", {"bakery": "bakery:Bakery"})
    assert not isinstance(chosen(RECIPE), DockerfileFrontend)


BROKEN = {
    "no module": ("missing:Bakery", "", "ModuleNotFoundError: No module named 'missing'"),
    "no class": ("broken:Other", "", "AttributeError"),
    "fails to load": ("broken:Bakery", "1 / 0", "ZeroDivisionError: division by zero"),
    "makes no frontend": ("broken:Bakery", "Bakery = dict", "is none: broken:Bakery makes"),
    "lacks convert": (
        "broken:Bakery",
        "from minibuild.graph.frontend import Frontend\n\nclass Bakery(Frontend):\n    name = ''\n",
        "abstract",
    ),
}


@pytest.mark.parametrize(("value", "module", "message"), BROKEN.values(), ids=list(BROKEN))
def test_broken_frontends(site: Path, value: str, module: str, message: str) -> None:
    """The line that asks for it is marked, and the package named."""
    install(site, "their-package", {"bakery": value}, broken=module)
    with pytest.raises(HostError) as caught:
        chosen("#!/x\n" + RECIPE)
    assert message in caught.value.message and "package their-package" in caught.value.message
    assert caught.value.span == Span("Recipe", 2, 2)
    assert caught.value.source is not None


def test_two_packages(site: Path) -> None:
    """Neither is picked by chance."""
    install_bakery(site)
    install(site, "rival", {"bakery": "rival:Bakery"}, rival="")
    with pytest.raises(BuildError, match=r"several installed packages .* bakery: bakery, rival"):
        chosen(RECIPE)


@pytest.mark.linters
def test_the_example_has_types() -> None:
    """A frontend is checked against the protocol by mypy, as its author would."""
    found, said = complaints(BAKERY / "bakery.py")
    assert not found and "error" not in said, said
