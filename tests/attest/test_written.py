"""What steps wrote to be said of an image: read with care, and said as it is written."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from minibuild.attest.statement import Predicate, statement
from minibuild.attest.written import predicates_of
from minibuild.errors import DefinitionError
from minibuild.exporter.result import Subject
from minibuild.graph.frontend import StepAttestation
from minibuild.linux.descriptors import closing_fd

SPDX = "https://spdx.dev/Document"


def read(tree: Path, attestation: StepAttestation) -> list[Predicate]:
    with closing_fd(os.open(tree, os.O_RDONLY | os.O_DIRECTORY)) as fd:
        return predicates_of(attestation, fd)


def written(kind: str, predicate: Any = None, **more: Any) -> str:
    return json.dumps({"predicateType": kind, "predicate": predicate, **more})


def test_a_file_is_a_predicate(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"x": 1}')
    (tmp_path / "empty").touch()
    subjects = (("", ()), ("f", ("sha256:ab", "sha512:cd")))
    (one,) = read(tmp_path, StepAttestation(None, "/a.json", False, "urn:x", subjects))
    assert json.loads(statement([Subject("image", "11")], one))["subject"] == [
        {"name": "image", "digest": {"sha256": "11"}},
        {"name": "f", "digest": {"sha256": "ab", "sha512": "cd"}},
    ]
    assert (one.type, one.content, one.file) == ("urn:x", {"x": 1}, "a.json")
    (nothing,) = read(tmp_path, StepAttestation(None, "empty", False, "urn:x"))
    assert nothing.content is None


def test_a_bundle_is_statements(tmp_path: Path) -> None:
    """First that of the image itself."""
    folder = tmp_path / "out"
    folder.mkdir()
    about = [{"name": "f", "digest": {"sha256": "ab"}}]
    (folder / "extra.json").write_text(written(SPDX, {"n": 1}, subject=about))
    (folder / "sbom.spdx.json").write_text(written(SPDX, {"n": 2}))
    core, extra = read(tmp_path, StepAttestation(None, "/out", True, SPDX, (), "sbom"))
    assert (core.content, core.core, core.subjects) == ({"n": 2}, True, ())
    assert (extra.content, extra.core, extra.subjects) == ({"n": 1}, False, tuple(about))


HOSTILE = [
    ("gone", "", "cannot read"),
    ("fifo", "", "no regular file"),
    ("folder", "", "no regular file"),
    ("outside", "", "cannot read"),
    ("text", "hush", "is not JSON"),
    ("deep", "[" * 100_000, "nested too deep"),
]


@pytest.mark.parametrize(("name", "text", "says"), HOSTILE, ids=[row[0] for row in HOSTILE])
def test_hostile_files(name: str, text: str, says: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "folder").mkdir(parents=True)
    os.mkfifo(tree / "fifo")
    (tmp_path / "secret").write_text("{}")
    (tree / "outside").symlink_to("../secret")
    if text:
        (tree / name).write_text(text)
    with pytest.raises(DefinitionError, match=says):
        read(tree, StepAttestation(None, name, False, "urn:x"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "is a list, not an object"),
        (written("urn:other"), "says 'urn:other', and not"),
        (written("https://slsa.dev/provenance/v1"), "only the builder makes"),
    ],
)
def test_wrong_statements(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text(text)
    kind = "" if "slsa" in text else "urn:x"
    with pytest.raises(DefinitionError, match=says):
        read(tmp_path, StepAttestation(None, "/", True, kind))
