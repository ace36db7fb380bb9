"""What systemd is asked for, and when it counts as given. Whether it gives it: `test_cgroups`."""

import os
from types import SimpleNamespace

import pytest

from minibuild.executor import scope


class Systemd:
    """In its place: keeps what it is asked, and has the process in a scope after some looks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, says: bool, after: int = 1) -> None:
        self.commands: list[list[str]] = []
        self.looks = 0
        self._says, self._after = says, after
        monkeypatch.setattr(scope, "_asked", self._asked)
        monkeypatch.setattr(scope, "read_text", self._read)
        clock = SimpleNamespace(monotonic=lambda: float(self.looks), sleep=lambda seconds: None)
        monkeypatch.setattr(scope, "time", clock)

    def _asked(self, command: list[str]) -> bool:
        self.commands.append(command)
        return self._says

    def _read(self, path: str) -> str:
        if path == "/proc/self/uid_map":
            return f"{os.geteuid():10} 1000 1\n"
        self.looks += 1
        name = f"minibuild-{os.getpid()}.scope"
        return f"0::/user.slice/{name if self.looks >= self._after else 'x'}\n"


@pytest.mark.parametrize(
    ("own", "slice_"),
    [
        ("/system.slice/ci.service", "system.slice"),
        ("/ci.slice/ci-one.slice/runner.service", "ci-one.slice"),
        ("/", ""),
    ],
)
def test_root_stays_in_the_slice_it_is_in(
    monkeypatch: pytest.MonkeyPatch, own: str, slice_: str
) -> None:
    """The innermost: its limits hold on."""
    systemd = Systemd(monkeypatch, says=True)
    assert scope.enter(own, root=True)
    (command,) = systemd.commands
    assert "--system" in command and f"minibuild-{os.getpid()}.scope" in command
    asked = command[command.index("Slice") :][:3] if "Slice" in command else []
    assert asked == (["Slice", "s", slice_] if slice_ else [])


def test_others_ask_the_manager_of_their_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the user outside of the namespace, who has no say in slices."""
    systemd = Systemd(monkeypatch, says=True)
    assert scope.enter("/user.slice/a.service", root=False)
    (command,) = systemd.commands
    assert "--address=unix:path=/run/user/1000/bus" in command
    assert "Slice" not in command


@pytest.mark.parametrize(
    ("says", "after", "given"), [(False, 1, False), (True, 3, True), (True, 9, False)]
)
def test_it_is_given_when_the_process_is_there(
    monkeypatch: pytest.MonkeyPatch, says: bool, after: int, given: bool
) -> None:
    systemd = Systemd(monkeypatch, says=says, after=after)
    assert scope.enter("/a.slice", root=True) == given
    assert systemd.looks == (min(after, 3) if says else 0)
