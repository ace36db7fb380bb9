"""Who may use "/" for steps: each wall refuses by itself, and this machine is behind several."""

import mmap
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from minibuild.executor.isolation import takes_own_root
from minibuild.executor.ownroot import permit
from minibuild.executor.ownroot.permit import (
    OwnRootRefused,
    ProgramHome,
    foreign_paths,
    program_home,
)
from minibuild.executor.ownroot.preserved import PreservedPaths
from minibuild.linux.mountinfo import MountInfo, mounts_in
from tests.conftest import Cli

CONTAINER: dict[str, Any] = {"uid": 0, "admin": False, "able": True, "pid_namespace": "pid:[1]"}
WALLS: Mapping[str, tuple[dict[str, Any], str]] = {
    "an ordinary user": ({"uid": 1000}, "only uid 0"),
    "root of a machine": ({"admin": True}, "CAP_SYS_ADMIN"),
    "the machine's processes": ({"pid_namespace": "pid:[4026531836]"}, "this is no container"),
    "no /proc": ({"pid_namespace": ""}, "this is no container"),
    "few capabilities": ({"able": False}, "lacks some of the capabilities"),
}


def test_a_container_of_ci_passes() -> None:
    permit.check_process(**CONTAINER)


@pytest.mark.parametrize("name", WALLS)
def test_each_wall_refuses_by_itself(name: str) -> None:
    changed, said = WALLS[name]
    with pytest.raises(OwnRootRefused, match=said):
        permit.check_process(**{**CONTAINER, **changed})


def test_this_machine_is_refused_by_what_its_process_is() -> None:
    with pytest.raises(OwnRootRefused):
        program_home()
    assert not takes_own_root("auto")
    with pytest.raises(OwnRootRefused):
        takes_own_root("own-root")


def test_this_machine_is_refused_by_where_its_program_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if all that is asked of the process said yes."""
    monkeypatch.setattr(permit, "check_process", lambda *facts: None)
    with pytest.raises(OwnRootRefused, match="this program is not in a folder of its own"):
        program_home()


def test_a_chroot_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permit, "check_process", lambda *facts: None)
    monkeypatch.setattr(permit, "_home", lambda files: ProgramHome("/none", ("/none",)))
    monkeypatch.setattr(permit, "own_mounts", lambda: [MountInfo("/", "/proc", "proc", "rw")])
    with pytest.raises(OwnRootRefused, match="this is a chroot"):
        program_home()


def test_a_program_without_the_marker_is_refused(tmp_path: Path) -> None:
    (tmp_path / "python").touch()
    with pytest.raises(OwnRootRefused, match="not in a folder of its own"):
        permit._home({str(tmp_path / "python")})


def test_code_is_what_a_process_consists_of(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("data")
    with (
        open(tmp_path / "data", "r+b") as file,
        mmap.mmap(file.fileno(), 0),
    ):
        found = permit._mapped_files()
    assert str(tmp_path / "data") not in found
    assert os.path.realpath(sys.executable) in found and os.path.realpath(permit.__file__) in found


@pytest.mark.integration
def test_the_flag_is_refused_before_anything_is_done(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "context").mkdir()
    (tmp_path / "context/Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    said = cli("build", "--isolation=own-root", str(tmp_path / "context"), code=3).stderr
    assert "error: " in said and "hint: " in said
    assert not os.path.exists(cli.root), "a store was made"


# --- What "/" may hold ----------------------------------------------------------------------------


class _ProgramHome(ProgramHome):
    """A home whose mounts are given."""

    mounts: Mapping[str, str] = {}

    def preserved(self) -> PreservedPaths:
        return PreservedPaths(dict(self.mounts), self.folders)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path, text in {
        "home/own-root": "/etc/passwd\n/busybox/\n",
        "home/lib/code": "code",
        "etc/passwd": "root",
        "etc/hosts": "bound by the runtime",
        "busybox/sh": "sh",
        "work/of/the/job": "a checkout",
        "mnt/empty": "",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    return tmp_path


def _foreign(root: Path) -> list[str]:
    home = _ProgramHome(f"{root}/home", (f"{root}/home", f"{root}/busybox"))
    home.mounts = {f"{root}/work": "ext4", f"{root}/etc/hosts": "ext4"}
    return sorted(foreign_paths(str(root), home))


def test_what_the_image_and_its_runtime_have_is_not_foreign(root: Path) -> None:
    assert _foreign(root) == []


def test_what_could_be_lost_is_foreign(root: Path) -> None:
    (root / "etc/shadow").write_text("secrets")
    (root / "opt").mkdir()
    (root / "opt/link").symlink_to("nowhere")
    assert _foreign(root) == ["/etc/shadow", "/opt/link"]


def test_what_a_person_agreed_to_is_not_foreign(root: Path) -> None:
    (root / "opt/app").mkdir(parents=True)
    (root / "opt/app/file").write_text("mine")
    permit.agree(ProgramHome(f"{root}/home", ()), ["/opt"])
    assert _foreign(root) == []


def test_mounts_are_read_with_their_odd_names() -> None:
    text = (
        "1 0 0:1 / / rw - overlay overlay rw\n"
        "2 1 0:2 /a /with\\040blank\\134\\012 rw shared:1 - ext4 /dev/a rw\n"
        "3 1 0:3 / /etc/hosts//deleted rw - tmpfs tmpfs rw\n"
    )
    assert {mount.point: mount.type for mount in mounts_in(text)} == {
        "/": "overlay",
        "/with blank\\\n": "ext4",
        "/etc/hosts": "tmpfs",
    }


def test_what_stays_and_what_leads_to_it() -> None:
    kept = PreservedPaths({"/": "overlay", "/etc/hosts": "ext4", "/a/b/c": "tmpfs"}, ("/home",))
    assert kept.stays("/home") and kept.stays("/etc/hosts") and not kept.stays("/etc")
    assert kept.leads_to_it("/a/b") and kept.leads_to_it("/etc") and not kept.leads_to_it("/a/x")
    assert kept.holds("/home/lib/x") and not kept.holds("/etc/passwd") and not kept.holds("/")
