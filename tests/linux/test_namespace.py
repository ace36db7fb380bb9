"""Who writes the maps of a user namespace, and what is said if that fails."""

import os
from pathlib import Path

import pytest

from minibuild.errors import HostError
from minibuild.linux import namespace
from minibuild.linux.idmap import IdMapPlan, Range

WRITES_UIDS = 'echo "$2 $3 $4" > /proc/$1/uid_map'
WRITES_GIDS = 'echo deny > /proc/$1/setgroups; echo "$2 $3 $4" > /proc/$1/gid_map'
BUILT = "0 0, then imported"


def entered(plan: IdMapPlan) -> str:
    """What came of entering, in a process of its own: its ids, or the error."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        done: list[str] = []
        try:
            namespace.enter_user_namespace(plan, lambda: done.append("imported"))
            said = f"{os.getuid()} {os.getgid()}, then {done.pop()}"
        except HostError as error:
            said = error.message
        except BaseException as error:
            said = repr(error)
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        said = file.read()
    os.waitpid(pid, 0)
    return said


def helper(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.integration
@pytest.mark.needs("userns")
@pytest.mark.parametrize(
    ("uids", "gids", "said"),
    [
        (WRITES_UIDS, WRITES_GIDS, BUILT),
        # The first is the slower one: it is waited for, too.
        (f"sleep 0.2; {WRITES_UIDS}", WRITES_GIDS, BUILT),
        ("echo no uids >&2; exit 1", WRITES_GIDS, "cannot map subordinate ids: no uids"),
        (WRITES_UIDS, "echo no gids >&2; exit 1", "cannot map subordinate ids: no gids"),
        (WRITES_UIDS, "exit 3", "cannot map subordinate ids: exit status 3"),
        ("exit 3", WRITES_GIDS, "cannot map subordinate ids: exit status 3"),
        (
            "echo no uids >&2; exit 1",
            "sleep 0.1; echo no gids >&2; exit 1",
            "cannot map subordinate ids: no uids; no gids",
        ),
    ],
)
def test_helpers(tmp_path: Path, uids: str, gids: str, said: str) -> None:
    helpers = helper(tmp_path / "newuidmap", uids), helper(tmp_path / "newgidmap", gids)
    own = (Range(0, os.geteuid(), 1),), (Range(0, os.getegid(), 1),)
    assert entered(IdMapPlan("helpers", *own, helpers)).startswith(said)


@pytest.mark.integration
@pytest.mark.needs("userns")
def test_without_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespace, "_SHELL", "/no/sh")
    plan = IdMapPlan("helpers", (), (), ("/no/newuidmap", "/no/newgidmap"))
    assert entered(plan) == "cannot run /no/sh: No such file or directory"
