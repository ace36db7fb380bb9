"""Whole Dockerfiles as they were read, in golden files."""

from pathlib import Path

import pytest
from minibuild_dockerfile.instructions import ParsedFile
from minibuild_dockerfile.parse import parse

from minibuild.errors import SourceText, Span
from tests.conftest import CHECKOUT, Golden

FILES = sorted((CHECKOUT / "testdata" / "parse").glob("*.Dockerfile"))


def dump(parsed: ParsedFile) -> str:
    """A parsed file as text for people: one paragraph for each instruction."""
    out = [f"escape {parsed.escape}"]
    out += [
        f"directive {name} = {found.value!r} (line {found.span.first})"
        for name, found in zip(parsed.directives._fields, parsed.directives, strict=True)
        if found
    ]
    for instruction in parsed.instructions:
        head = instruction.head
        out.append(f"\n{type(instruction).__name__} {head.keyword} {place(head.span)}")
        out.append(f"    original {head.original!r}")
        out += [f"    comment {comment!r}" for comment in head.comments]
        out += [f"    flag {f.name} {f.value!r} {place(f.span)}" for f in head.flags]
        for name, value in zip(instruction._fields[1:], instruction[1:], strict=True):
            if isinstance(value, tuple) and value and isinstance(value[0], tuple):
                out += [f"    {name} {plain(item)}" for item in value]
            elif value != instruction._field_defaults.get(name):
                out.append(f"    {name} {plain(value)}")
    out += [f"\nempty continuation {place(span)}" for span in parsed.empty_continuations]
    return "\n".join(out) + "\n"


def place(span: Span | None) -> str:
    assert span is not None
    return f"[{span.first}-{span.last}]"


def plain(value: object) -> str:
    if isinstance(value, Span):
        return place(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return " ".join(plain(item) for item in value)
    return repr(value)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden(path: Path, golden: Golden) -> None:
    text = path.read_bytes().decode()
    golden(path.with_suffix(".txt"), dump(parse(SourceText("Dockerfile", text))))
