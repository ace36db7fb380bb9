"""The thin layer over the kernel: what fails says what to do, and what works works."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minibuild.errors import HostError
from minibuild.linux import owner, syscalls, xattr

CHECKOUT = Path(__file__).parents[2]


def run(code: str) -> str:
    """Run code in a process of its own, as it changes that process for good."""
    head = "import os\nfrom minibuild.linux import syscalls as s\n"
    command = [sys.executable, "-c", head + code]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_error_names_the_call_and_what_to_do() -> None:
    with pytest.raises(syscalls.SyscallError) as caught:
        syscalls.new_filesystem("no-such-filesystem")
    assert caught.value.call == "fsopen"
    assert caught.value.errno in (errno.ENODEV, errno.EPERM)
    assert caught.value.hint
    assert "fsopen no-such-filesystem" in str(caught.value)


def test_hints_belong_to_a_call_and_a_reason() -> None:
    assert "overlap" in syscalls.SyscallError(errno.ELOOP, "mount", "/x").hint
    assert syscalls.SyscallError(errno.ELOOP, "umount", "/x").hint == ""
    assert str(syscalls.SyscallError(errno.EPERM, "setns")) == "setns: Operation not permitted"


def test_openat2_raises_what_open_would(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(FileNotFoundError):
        syscalls.openat2(fd, "missing", os.O_RDONLY)
    made = syscalls.openat2(fd, "new", os.O_CREAT | os.O_WRONLY, 0o600)
    assert not os.get_inheritable(made)
    os.close(made)
    os.close(fd)


def test_capabilities_come_back_as_they_were_set() -> None:
    assert run("print(s.capget()); s.capset(0, 0, 0); print(s.capget())").endswith("(0, 0, 0)")
    high = "e, p, i = s.capget(); s.capset(e & ~(1 << 40), p & ~(1 << 40), i); print(s.capget()[1])"
    assert int(run(high)) >> 40 == 0


def test_a_filter_is_installed() -> None:
    # ld [0] (the call's number); jeq #getppid, kill nothing but answer EPERM; allow.
    number = {"x86_64": 110, "aarch64": 173}.get(os.uname().machine)
    if number is None:
        pytest.skip("the number of getppid(2) here is not known to this test")
    code = f"""
import struct
program = b"".join(struct.pack("=HBBI", *i) for i in [
    (0x20, 0, 0, 0), (0x15, 0, 1, {number}), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)])
s.prctl(s.PR_SET_NO_NEW_PRIVS, 1)
from minibuild.linux.unotify import load_filter
load_filter(program)
print(os.getppid() == 2**32 - 1 or os.getppid() == -1)
"""
    assert run(code) == "True"


@pytest.mark.needs("mount", "root")
def test_detached_mounts() -> None:
    code = """
s.unshare(s.CLONE_NEWNS | s.CLONE_NEWUTS)
from minibuild.linux.root_mount import contain_mounts
contain_mounts()
mount = s.new_filesystem("tmpfs", [("size", "1m")], s.MOUNT_ATTR_NOSUID)
s.move_mount(mount, "/tmp")
os.mkdir("/tmp/x")
tree = s.open_tree("/tmp")
s.mount_setattr(tree, attr_set=s.MOUNT_ATTR_RDONLY)
try:
    os.mkdir("y", dir_fd=tree)
except OSError as error:
    print(error.errno)
s.umount("/tmp", s.MNT_DETACH)
s.sethostname("there")
print(os.uname().nodename)
s.join_session_keyring()
"""
    assert run(code).split() == [str(errno.EROFS), "there"]


def test_attributes(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("")
    (tmp_path / "l").symlink_to("f")
    dir_fd = os.open(tmp_path, os.O_RDONLY)
    xattr.set(xattr.at(dir_fd, "f"), "user.one", b"1")
    fd = os.open(file, os.O_RDWR)
    xattr.set(fd, "user.two", b"2")
    assert xattr.get_all(str(file)) == {"user.one": b"1", "user.two": b"2"}
    assert xattr.get(str(tmp_path / "l"), "user.one") is None
    assert not xattr.set(str(tmp_path / "l"), "user.x", b"", tolerant=True)
    with pytest.raises(OSError):
        xattr.set(str(tmp_path / "l"), "user.x", b"")
    xattr.remove(fd, "user.one")
    xattr.remove(fd, "user.one")
    assert xattr.names(fd) == ["user.two"]
    os.close(fd)
    os.close(dir_fd)


def test_owner_refused_is_an_error_unless_there_is_one_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "f").write_text("")
    dir_fd = os.open(tmp_path, os.O_RDONLY)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "chown", refuse)
    monkeypatch.setattr(owner, "maps_single_id", lambda: True)
    owner.chown(dir_fd, "f", 5, 5)
    monkeypatch.setattr(owner, "maps_single_id", lambda: False)
    with pytest.raises(HostError, match="cannot give f to 5:5") as caught:
        owner.chown(dir_fd, "f", 5, 5)
    assert "subuid" in caught.value.hint
    with pytest.raises(FileNotFoundError):
        monkeypatch.undo()
        owner.chown(dir_fd, "missing", 0, 0)
    os.close(dir_fd)
