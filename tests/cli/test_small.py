"""Tables, times and durations; completion; the doctor's verdicts."""

import io
import json
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from minibuild.cli import doctor
from minibuild.cli.catalogue import CATALOGUE
from minibuild.cli.command import Session
from minibuild.cli.main import entry
from minibuild.cli.serve import default_address
from minibuild.cli.table import ago, table
from minibuild.errors import UsageError
from minibuild.linux.probe import HostCheck
from minibuild.progress.console import Console
from minibuild.session.duration import duration
from minibuild.session.environment import Environment
from tests.support.flags import flags


def test_table() -> None:
    assert table(["A", "SIZE"], [["漢字", "1B"], ["x", "10kB"]], right="SIZE") == [
        "A     SIZE",
        "漢字    1B",
        "x     10kB",
    ]
    assert table(["A", "B"], []) == ["A  B"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "just now"),
        (-5, "just now"),
        (60, "1 minute ago"),
        (7199, "1 hour ago"),
        (3 * 86400, "3 days ago"),
    ],
)
def test_ago(seconds: float, text: str) -> None:
    assert ago(1000.0 - seconds, 1000.0) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("90m", 5400), ("1.5h", 5400), ("7d", 604800), ("2h30m", 9000), ("1w", 604800)],
)
def test_duration(text: str, seconds: float) -> None:
    assert duration(text, "--age") == seconds


@pytest.mark.parametrize("text", ["", "7", "d", "7x", "1..5h", "-1h", "1h5", "."])
def test_no_duration(text: str) -> None:
    with pytest.raises(UsageError):
        duration(text, "--age")


@pytest.mark.parametrize(
    ("uid", "variables", "address"),
    [
        (0, {}, "unix:///run/minibuild.sock"),
        (1000, {"XDG_RUNTIME_DIR": "/run/user/1000"}, "unix:///run/user/1000/minibuild.sock"),
        (1000, {"MINIBUILD_ROOT": "/state"}, "unix:///state/minibuild.sock"),
    ],
)
def test_default_address(uid: int, variables: dict[str, str], address: str) -> None:
    console = Console(io.StringIO())
    session = Session(Environment(variables, uid), console, console, threading.Event())
    assert default_address(session) == address


ROOT = Path(__file__).parents[2]


# --- completion -----------------------------------------------------------------------------------


def completions(script: str, *words: str) -> list[str]:
    """What bash offers after these words."""
    line = " ".join(f"'{word}'" for word in words)
    code = (
        f"source {script}; COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n"
        '_shtab_minibuild; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout.split()


@pytest.fixture
def script(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert entry(["completion", "bash"]) == 0
    path = tmp_path / "completion.bash"
    path.write_text(capsys.readouterr().out)
    return str(path)


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash(script: str) -> None:
    assert {"build", "image", "doctor"} <= set(completions(script, "minibuild", ""))
    assert completions(script, "minibuild", "bu") == ["build", "buildkitd", "builds"]
    assert "inspect" in completions(script, "minibuild", "image", "")
    assert completions(script, "minibuild", "build", "--prog") == ["--progress"]
    assert completions(script, "minibuild", "build", "--progress", "r") == ["rawjson"]
    assert "--digests" in completions(script, "minibuild", "image", "ls", "--")
    assert "--digests" not in completions(script, "minibuild", "image", "rm", "--")
    assert "--digests" in completions(script, "minibuild", "images", "--")
    assert completions(script, "minibuild", "rm") == ["rmi"]
    assert "pyproject.toml" in completions(script, "minibuild", "build", "")


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_a_command_with_commands_below_it(script: str) -> None:
    assert "try" in completions(script, "minibuild", "lab", "")
    assert "--slow" in completions(script, "minibuild", "lab", "--")
    assert "--slow" in completions(script, "minibuild", "lab", "type-mask", "--")
    assert "--slow" not in completions(script, "minibuild", "lab", "try", "--")
    assert completions(script, "minibuild", "lab", "try", "--format", "j") == ["json"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_sound_and_complete(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert entry(["completion", shell]) == 0
    text = capsys.readouterr().out
    for name in CATALOGUE:
        for flag in flags(name):
            for spelling in flag:
                assert (spelling.lstrip("-") if shell == "fish" else spelling) in text
    if shutil.which(shell):
        done = subprocess.run([shell, "-n"], input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


# --- the doctor -----------------------------------------------------------------------------------

GOOD = HostCheck("kernel", True, "6.1")
SLOW = HostCheck("overlay", False, "EINVAL", "put the store on ext4")
BAD = HostCheck("user namespaces", False, "EPERM", "sysctl it")
WORSE = HostCheck("openat2", False, "ENOSYS", "update it")
VERDICTS = {"kernel": "ok", "overlay": "limited", "user namespaces": "missing"} | {
    "openat2": "missing"
}


@pytest.mark.parametrize(
    ("findings", "last"),
    [
        ([GOOD], ""),
        ([GOOD, SLOW], ""),
        ([GOOD, SLOW, BAD], "Builds with a RUN cannot work here"),
        ([WORSE, SLOW, BAD], "Builds cannot work here"),
    ],
)
def test_doctor(
    findings: list[HostCheck],
    last: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    code = 3 if last else 0
    monkeypatch.setenv("MINIBUILD_ROOT", str(tmp_path))
    monkeypatch.setattr(doctor, "check_host", lambda folder: findings)
    monkeypatch.setattr(doctor, "limits", lambda: HostCheck("cgroup", True, "version 2"))
    monkeypatch.setattr(doctor, "container", lambda variables, **rest: None)
    assert entry(["doctor"]) == code
    out = capsys.readouterr().out
    for finding in findings:
        assert finding.found in out and finding.advice in out
    assert ("cannot work here" in out) is bool(last) and last in out
    assert entry(["doctor", "--format=json"]) == code
    verdicts = [data["verdict"] for data in json.loads(capsys.readouterr().out)]
    isolation = "limited" if BAD in findings else "ok"
    assert verdicts == ["ok", *(VERDICTS[f.name] for f in findings), "ok", isolation]
