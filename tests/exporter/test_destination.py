"""Archives appear when they are whole, and leave nothing behind when they never are."""

import errno
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from minibuild.errors import BuildError
from minibuild.exporter.destination import (
    check_file,
    check_folder,
    open_destination,
    write_error,
)

ABLE = ["without a name", "with one"]


@pytest.fixture(params=ABLE)
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, on a filesystem that has files without a name, and on one that has not."""
    real = os.open

    def unable(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), path)
        return real(path, flags, mode)

    if request.param != ABLE[0]:
        monkeypatch.setattr(os, "open", unable)
    return tmp_path


def test_it_appears_when_it_is_whole(folder: Path) -> None:
    old = folder / "image.tar"
    old.write_text("old")
    with open_destination(str(old)) as file:
        file.write(b"new")
        file.flush()
        assert old.read_text() == "old"
    assert old.read_text() == "new" and os.listdir(folder) == ["image.tar"]
    assert stat.S_IMODE(old.stat().st_mode) == 0o666 & ~os.umask(os.umask(0o022))


def test_a_link_stays_one(folder: Path) -> None:
    (folder / "real").mkdir()
    (folder / "link").symlink_to("real/image.tar")
    with open_destination(str(folder / "link")) as file:
        file.write(b"x")
    assert (folder / "link").is_symlink() and (folder / "real/image.tar").read_text() == "x"


def test_a_failure_leaves_what_was_there(folder: Path) -> None:
    (folder / "image.tar").write_text("old")
    with pytest.raises(ZeroDivisionError), open_destination(str(folder / "image.tar")) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert os.listdir(folder) == ["image.tar"]
    assert (folder / "image.tar").read_text() == "old"


def test_a_killed_process_leaves_no_file(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        with open_destination(str(tmp_path / "image.tar")) as file:
            file.write(b"half")
            file.flush()
            os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    assert os.listdir(tmp_path) == []


def test_a_name_that_a_killed_process_left_is_taken_away(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_text("old")
    (tmp_path / ".a.tar.new").write_text("half of somebody's")
    with open_destination(str(tmp_path / "a.tar")) as file:
        file.write(b"new")
    assert os.listdir(tmp_path) == ["a.tar"] and (tmp_path / "a.tar").read_text() == "new"


def test_many_at_once(tmp_path: Path) -> None:
    """The last one wins, none fails, and nothing else is left."""
    dest = str(tmp_path / "a.tar")
    failed: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for _ in range(50):
                with open_destination(dest) as file:
                    file.write(f"whole {number}".encode())
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert os.listdir(tmp_path) == ["a.tar"]
    assert (tmp_path / "a.tar").read_text().startswith("whole ")


@pytest.mark.parametrize(
    ("number", "name", "says", "hint"),
    [
        (errno.EACCES, "/etc", "cannot write /etc/x.tar: Permission", "that you may write to"),
        (errno.EROFS, "/etc/.x.tar.part", "cannot write /etc/x.tar: Read-only", "you may write"),
        (errno.EACCES, "/etc/x.tar/a", "cannot write /etc/x.tar/a: Permission", "you may write"),
        (errno.ENOSPC, None, "cannot write /etc/x.tar: No space", "another disk"),
        (errno.ENOENT, "/etc", "cannot write /etc/x.tar: No such", "make the directory"),
    ],
)
def test_an_error_names_what_was_asked_for(
    number: int, name: str | None, says: str, hint: str
) -> None:
    """And not the folder or the file in which its bytes are until it is whole."""
    error = write_error(OSError(number, os.strerror(number), name), "/etc/x.tar")
    assert error.message.startswith(says)
    assert hint in error.hint


@pytest.mark.parametrize(
    ("check", "dest", "why"),
    [
        (check_file, "a.tar", ""),
        (check_file, "file", ""),
        (check_file, "pipe", ""),
        (check_file, "no/such/a.tar", "there is no directory "),
        (check_file, "file/a.tar", "there is no directory "),
        (check_file, "", "it is a directory"),
        (check_folder, "", ""),
        (check_folder, "no/such", ""),
        (check_folder, "file", "file is a file"),
        (check_folder, "file/below", "file is a file"),
    ],
)
def test_what_cannot_be_written_is_found_before(
    tmp_path: Path, check: Callable[[str], None], dest: str, why: str
) -> None:
    (tmp_path / "file").write_text("old")
    os.mkfifo(tmp_path / "pipe")
    if why:
        with pytest.raises(BuildError, match=why):
            check(str(tmp_path / dest))
    else:
        check(str(tmp_path / dest))
    assert sorted(os.listdir(tmp_path)) == ["file", "pipe"]


@pytest.mark.parametrize(("flag", "why"), [(0, "Permission denied"), (os.ST_RDONLY, "Read-only")])
@pytest.mark.parametrize("check", [check_file, check_folder])
def test_a_place_that_may_not_be_written_to(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    check: Callable[[str], None],
    flag: int,
    why: str,
) -> None:
    class Status(NamedTuple):
        f_flag: int

    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(os, "statvfs", lambda path: Status(flag))
    with pytest.raises(BuildError, match=f"cannot write {tmp_path}/a: {why}"):
        check(f"{tmp_path}/a")


def test_an_open_pipe_may_be_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of its descriptor, whatever the rights on the folder of descriptors."""
    read_fd, write_fd = os.pipe()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    check_file(f"/proc/self/fd/{write_fd}")
    os.close(read_fd)
    os.close(write_fd)
