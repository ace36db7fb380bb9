"""The commands against a registry that fails, for good: one sentence, a hint, an exit code, and
nothing kept that is not what it should be. Documents and layers fail alike."""

import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from minibuild.cli.main import entry
from minibuild.events import Report
from minibuild.registry import pull
from minibuild.registry.patience import Patience
from tests.support.faulty import Fault, Faulty, digest

LAYER = os.urandom(300_000)


class Said(NamedTuple):
    """How a command ended, and what it told on standard error."""

    code: int
    lines: list[str]


@pytest.fixture
def server() -> Iterator[Faulty]:
    with Faulty() as running:
        yield running


@pytest.fixture
def run(
    server: Faulty,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Said]:
    """Run a command in this process, with a patience that ends soon if nothing is to come."""

    def impatient(cancelled: threading.Event, stall_s: float, report: Report) -> Patience:
        silence_s = 0.9 if any(fault.kind == "hang" for fault in server.faults) else 30.0
        return Patience(3, 0.0, 60.0, 30.0, silence_s, lambda seconds: None)

    monkeypatch.setattr(pull, "patient", impatient)

    def call(*words: str) -> Said:
        code = entry(["--root", str(tmp_path / "root"), *words])
        return Said(code, capsys.readouterr().err.splitlines())

    return call


Run = Callable[..., Said]

FAULTS = [
    (Fault("", 401), "denies access to"),
    (Fault("", 404), "has no "),
    (Fault("", 429, (("Retry-After", "600"),)), "takes no more requests for now"),
    (Fault("", 500), "has trouble of its own with"),
    (Fault("", "cut", at=20), "broke off its answer: it ended early"),
    (Fault("", "loop"), "redirects from one address to the next without end"),
    (Fault("", "hang"), "within 0.9 seconds"),
]


@pytest.mark.parametrize("where", ["/manifests/", "/blobs/"])
@pytest.mark.parametrize(("fault", "sentence"), FAULTS, ids=lambda v: str(getattr(v, "kind", "")))
def test_a_pull_ends_with_one_sentence(
    server: Faulty, run: Run, tmp_path: Path, where: str, fault: Fault, sentence: str
) -> None:
    name = server.image("app", LAYER)
    if fault.kind == "cut" and where == "/blobs/":
        # As long as bytes of a layer come, it goes on; here no more of them do.
        server.faults.append(fault._replace(where=where))
        fault, sentence = Fault("", "hang"), "within 0.9 seconds"
    server.faults += [fault._replace(where=where)] * 40
    code, lines = run("image", "pull", "--progress=quiet", name)
    assert code == 4, lines
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1 and sentence in errors[0], lines
    assert re.search(r"127\.0\.0\.1:\d+", errors[0])
    assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("hint: ")), lines
    assert not (tmp_path / "root/blobs/sha256" / digest(LAYER)[7:]).exists()


def test_a_pull_that_was_cut_resumes(server: Faulty, run: Run, tmp_path: Path) -> None:
    """The bytes that came are not asked for again: not in this pull, and not in the next."""
    name = server.image("app", LAYER)
    server.faults += [Fault(digest(LAYER), "cut", at=100_000)]
    assert run("image", "pull", "-q", name).code == 0
    asked = [line for line in server.asked if digest(LAYER) in line and line.startswith("GET")]
    assert len(asked) == 2 and "bytes=100000-" in asked[1]
    assert (tmp_path / "root/blobs/sha256" / digest(LAYER)[7:]).read_bytes() == LAYER


def test_a_wrong_layer_is_refused_and_not_kept(server: Faulty, run: Run, tmp_path: Path) -> None:
    name = server.image("app", LAYER)
    server.faults.append(Fault(digest(LAYER), "wrong"))
    code, lines = run("image", "pull", "-q", name)
    assert code == 7 and digest(LAYER) in lines[0], lines
    root = tmp_path / "root"
    files = [p for p in root.rglob("*") if p.is_file() and p.parent != root / "reserve"]
    assert [p for p in files if p.stat().st_size > 200_000] == []
    assert run("image", "pull", "-q", name).code == 0  # a good answer is taken


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
def test_a_push_ends_with_one_sentence(server: Faulty, run: Run, status: int) -> None:
    name = server.image("app", LAYER)
    assert run("image", "pull", "-q", name).code == 0
    server.blobs.clear()
    server.faults += [Fault("POST", status, (("Retry-After", "600"),))] * 40
    code, lines = run("image", "push", "--progress=quiet", name, name.replace("app", "other"))
    assert code == 4 and len([line for line in lines if line.startswith("error: ")]) == 1, lines
