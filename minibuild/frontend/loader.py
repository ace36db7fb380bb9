"""Which frontend reads a definition: the one that is built in, or one that was installed.

Comes in: the text of a definition and the build arguments. Goes out: a `Frontend`. The directive
`# syntax=NAME` names it, or the build argument BUILDKIT_SYNTAX, which counts more. For BuildKit
NAME is an image that holds the frontend. Here it is a name in the entry point group
`minibuild.frontends` of an installed package. The tag or digest of an image does not count:
`# syntax=example.com/bakery:1` finds the entry point `example.com/bakery`. If no package has the
name, a copy of Docker's frontend (`mirror.example/docker/dockerfile:1`) is taken for that, and the
Dockerfile frontend warns of it. Any other frontend may read another language, so if it is not
installed, that is an error.

A search through the installed packages takes 20 ms, which is longer than the conversion of a
Dockerfile. So there is one only for names that are not built in.
Read next: `minibuild.graph.frontend`, for what a frontend is.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, cast

from minibuild.errors import BuildError, HostError, SourceText, Span, UsageError
from minibuild.graph.frontend import Frontend
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "minibuild.frontends"
BUILT_IN = {"dockerfile": "minibuild_dockerfile:DockerfileFrontend"}
"""The frontends that are found without a search, as pyproject.toml has them, too."""

_ARGUMENT = "BUILDKIT_SYNTAX"
_DOCKERFILE = frozenset(
    ("", "dockerfile", "dockerfile.v0", "docker/dockerfile", "docker/dockerfile-upstream")
)
_COPY_OF_IT = regex(r".*/dockerfile(-upstream)?")
_DIRECTIVE = regex(r"\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(\S+).*")
_DIRECTIVES = ("syntax", "escape", "check")
_LINES = 4
"""Each directive may stand there once, below a line that begins with `#!`."""


class Syntax(NamedTuple):
    """The word of a syntax directive, and the line that it is in."""

    word: str
    line: int = 1


def frontend_for(source: SourceText, build_args: Mapping[str, str]) -> Frontend:
    """The frontend for a definition. Raises `UsageError` and `HostError` about installed ones."""
    given = build_args.get(_ARGUMENT, "").split(" ")[0]
    syntax = Syntax(given) if given else declared_syntax(source.text)
    name = entry_point_name(syntax.word)
    if name in _DOCKERFILE:
        return built_in()
    try:
        return _installed(name) or _copied(name)
    except BuildError as error:
        error.span, error.source = Span(source.name, syntax.line, syntax.line), source
        raise


def _copied(name: str) -> Frontend:
    """The Dockerfile frontend in place of an image with a copy of Docker's."""
    if _COPY_OF_IT.fullmatch(name):
        return built_in()
    raise UsageError(
        f"the frontend {name} is not installed, and frontends in images cannot be run",
        hint="if the file is a Dockerfile, leave the directive out, or give "
        "--build-arg BUILDKIT_SYNTAX=dockerfile.v0",
    )


def built_in() -> Frontend:
    """The Dockerfile frontend. Raises `HostError` if it is not installed, as in a checkout."""
    module, _, name = BUILT_IN["dockerfile"].partition(":")
    try:
        return cast(Frontend, getattr(import_module(module), name)())
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise HostError(
            f"the Dockerfile frontend is not installed: there is no package {module}",
            hint="pip install it with minibuild; in a checkout, `make install` does",
        ) from None


def entry_point_name(word: str) -> str:
    """The name of the entry point that a word of a syntax directive means."""
    name = word.partition("@")[0]
    before, colon, tag = name.rpartition(":")
    if colon and tag and "/" not in tag:
        name = before
    return name.removeprefix("docker.io/")


def declared_syntax(text: str) -> Syntax:
    """The syntax that a definition declares, in the three forms that BuildKit knows: a directive
    behind `#`, or behind `//`, above all else; or the member `syntax` of a JSON object."""
    text = text.removeprefix("\ufeff")
    lines = text.split("\n", _LINES)[:_LINES]
    shebang = lines[0].startswith("#!")
    for mark in ("#", "//"):
        for number, line in enumerate(lines[shebang:], 1 + shebang):
            found = _DIRECTIVE.fullmatch(line, len(mark)) if line.startswith(mark) else None
            if found is None or found[1].lower() not in _DIRECTIVES:
                break
            if found[1].lower() == "syntax":
                return Syntax(found[2], number)
    return Syntax(_in_json(text) if text.lstrip().startswith("{") else "")


def _in_json(text: str) -> str:
    import json

    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    word = found.get("syntax") if isinstance(found, dict) else ""
    return word if isinstance(word, str) else ""


def _installed(name: str) -> Frontend | None:
    """The frontend that an installed package offers under this name, if one does."""
    from importlib.metadata import entry_points

    # A package may be found twice: as a checkout and as what was installed of it.
    found = {entry.value: entry for entry in entry_points(group=GROUP, name=name)}
    if len(found) > 1:
        names = ", ".join(sorted(_package(entry) for entry in found.values()))
        raise UsageError(
            f"several installed packages offer the frontend {name}: {names}",
            hint="uninstall all but one of them",
        )
    for entry in found.values():
        return _loaded(entry)
    return None


def _loaded(entry: "EntryPoint") -> Frontend:
    try:
        made = entry.load()()
    except Exception as error:  # whatever the code of another package may raise
        raise HostError(
            f"the frontend {entry.name} of the package {_package(entry)} cannot be loaded: "
            f"{type(error).__name__}: {error}",
            hint="is it made for this version of minibuild?",
        ) from error
    if not isinstance(made, Frontend):
        raise HostError(
            f"the frontend {entry.name} of the package {_package(entry)} is none: {entry.value} "
            "makes something else",
            hint="name a class that derives from minibuild.graph.frontend.Frontend",
        )
    return made


def _package(entry: "EntryPoint") -> str:
    return entry.dist.name if entry.dist is not None else entry.value.partition(".")[0]
