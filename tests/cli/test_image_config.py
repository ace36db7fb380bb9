"""`minibuild image config`: each setting, alone and together, and nothing else changes."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minibuild.cli.main import entry
from minibuild.imagetools.reconfigure import Changes, reconfigured

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process on a store with the image `app:1`."""

    def call(*words: str, code: int = 0) -> str:
        ended = entry(["--root", str(tmp_path / "root"), *words])
        captured = capsys.readouterr()
        assert ended == code, captured.err
        return captured.out + (captured.err if code else "")

    with tarfile.open(tmp_path / "one.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("file"))
    call("image", "import", str(tmp_path / "one.tar"), "app:1")
    return call


def config(run: Run, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("image", "inspect", "--format=json", name))[0]
    image: dict[str, Any] = found["images"][0]
    return image


def test_all_at_once(run: Run) -> None:
    run(
        "image", "config", "app:1", "app:2", "-e", "A=1", "--env=B=x=y", "--label=l=m", "-u", "7:8",
        "-w", "/srv", "--entrypoint", '["/app", "-v"]', "--cmd", "serve", "--stop-signal=SIGINT",
        "--expose=80", "--expose=53/udp", "--volume=/data", "--annotation=a=b",
    )  # fmt: skip
    before, after = config(run, "app:1"), config(run, "app:2")
    assert after["config"]["config"] == {
        "Env": ["A=1", "B=x=y"],
        "Labels": {"l": "m"},
        "User": "7:8",
        "WorkingDir": "/srv",
        "Entrypoint": ["/app", "-v"],
        "Cmd": ["serve"],
        "StopSignal": "SIGINT",
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        "Volumes": {"/data": {}},
    }
    assert [layer["digest"] for layer in after["layers"]] == [
        layer["digest"] for layer in before["layers"]
    ]
    assert after["config"]["history"][-1]["empty_layer"] is True
    run("image", "validate", "app:2")
    run("image", "config", "app:2", "app:3", "--unset-env=A", "--user=", "--cmd=", "-e", "B=2")
    last = config(run, "app:3")["config"]["config"]
    assert last["Env"] == ["B=2"]
    assert "User" not in last and "Cmd" not in last and last["WorkingDir"] == "/srv"


def test_the_same_change_gives_the_same_image(run: Run) -> None:
    digests = {run("image", "config", "-q", "app:1", f"x:{n}", "-e", "A=1") for n in range(2)}
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "nothing to change"),
        (("-e", "A"), "it must be A=VALUE"),
        (("--expose", "http"), "is no port"),
        (("--expose", "70000"), "is no port"),
        (("--expose", "80/icmp"), "is no port"),
        (("--workdir", "srv"), "begin with a slash"),
        (("--volume", ""), "begin with a slash"),
        (("--cmd", "[1]"), "--cmd: [0] is a number"),
        (("--cmd", "["), "is not JSON"),
    ],
)
def test_slips(run: Run, words: tuple[str, ...], says: str) -> None:
    assert says in run("image", "config", "app:1", "x:1", *words, code=2)


def test_an_entrypoint_takes_the_command_away_unless_there_is_a_new_one() -> None:
    old = {"os": "linux", "config": {"Entrypoint": ["a"], "Cmd": ["b"], "Unknown": 1}}
    assert reconfigured(old, Changes(entrypoint=("c",)))["config"] == {
        "Entrypoint": ["c"],
        "Unknown": 1,
    }
    assert reconfigured(old, Changes(entrypoint=("c",), cmd=("d",)))["config"]["Cmd"] == ["d"]
    assert reconfigured(old, Changes()) == old
    assert reconfigured({"config": None}, Changes(user="x"))["config"] == {"User": "x"}
