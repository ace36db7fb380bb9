"""Owners that files cannot have are recorded, and come back with the same file and no other."""

import os
import pickle
import random
import stat
from pathlib import Path

import pytest

from minibuild.linux import recorded, xattr
from minibuild.linux.recorded import Recorded, Records, decode, encode
from minibuild.linux.syscalls import AT_FDCWD, birth

pytestmark = pytest.mark.needs("user_xattr")

KINDS = ("file", "directory", "device", "symlink", "fifo", "socket")


def make(folder: Path, kind: str, name: str = "e") -> Path:
    """Something of a kind."""
    path = folder / name
    match kind:
        case "directory":
            path.mkdir()
        case "symlink":
            path.symlink_to("nowhere")
        case "fifo" | "socket":
            os.mknod(path, 0o600 | (stat.S_IFIFO if kind == "fifo" else stat.S_IFSOCK))
        case "device":
            path.touch()
            os.setxattr(path, "user.minibuild.device", b"char 1:3")
        case _:
            path.write_text("text")
    return path


def records(tmp_path: Path, *names: str) -> Records:
    return Records([str(tmp_path / name) for name in names or ("owners",)])


def give(to: Records, path: Path, uid: int, gid: int) -> None:
    fd = os.open(path.parent, os.O_RDONLY)
    to.write(fd, path.name, uid, gid)
    os.close(fd)


def owner(of: Records, path: Path) -> tuple[int, int]:
    seen = of.seen(os.lstat(path), str(path))
    return seen.st_uid, seen.st_gid


@pytest.mark.parametrize(
    ("ids", "value"),
    [
        ((1000, 1000), "08e80710e807"),
        ((0, 5), "1005"),
        ((33, 0), "0821"),
        ((1, 0x7F), "0801107f"),
        ((0xFFFFFFFE, 0x80), "08feffffff0f108001"),
        ((0, 0), ""),
    ],
)
def test_the_attribute_is_the_message_of_the_convention(ids: tuple[int, int], value: str) -> None:
    assert encode(*ids).hex() == value
    assert decode(bytes.fromhex(value)) == ids


@pytest.mark.parametrize(
    ("value", "means"),
    [
        ("08ffffffff0f1005", (0, 5)),  # nothing recorded of the user
        ("1005" "0821", (33, 5)),  # in another order
        ("0821" "0822" "1805", (34, 0)),  # the last one counts; a field of later days
        ("08808000", (0, 0)),  # longer than it has to be
        ("08", None),
        ("08ff", None),
        ("0a0161", None),  # a text
        ("08ffffffffffffffff7f", None),  # no id
        ("08ffffffffffffffffffff01", None),
        ("c0", None),
    ],
)  # fmt: skip
def test_what_others_wrote_is_read_or_refused(value: str, means: tuple[int, int] | None) -> None:
    assert decode(bytes.fromhex(value)) == means


def test_no_bytes_break_the_reader() -> None:
    source = random.Random(1)
    for _ in range(2000):
        found = decode(source.randbytes(source.randrange(12)))
        assert found is None or max(found) < recorded.NOTHING


@pytest.mark.parametrize("kind", KINDS)
def test_an_owner_comes_back(tmp_path: Path, kind: str) -> None:
    path, table = make(tmp_path, kind), records(tmp_path)
    assert owner(table, path) == (0, 0)
    give(table, path, 1000, 33)
    before, seen = os.lstat(path), table.seen(os.lstat(path), str(path))
    assert (seen.st_uid, seen.st_gid) == (1000, 33)
    assert (seen.st_ino, seen.st_mtime_ns, seen.st_size) == (
        before.st_ino, before.st_mtime_ns, before.st_size,
    )  # fmt: skip
    assert stat.S_ISCHR(seen.st_mode) == (kind == "device")
    assert (table.tables[0] in map(str, tmp_path.iterdir())) == (
        kind in ("symlink", "fifo", "socket")
    )
    # In another process, under another name, and through an open file.
    os.rename(path, tmp_path / "moved")
    path = tmp_path / "moved"
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW)
    for again in (records(tmp_path), pickle.loads(pickle.dumps(table))):
        assert owner(again, path) == (1000, 33)
        target = fd if kind in ("symlink", "fifo", "socket") else f"/proc/self/fd/{fd}/."
        if kind not in ("file", "device"):
            assert again.owner(os.fstat(fd), target) == (1000, 33)
    os.close(fd)
    give(table, path, 0, 0)
    assert owner(table, path) == owner(records(tmp_path), path) == (0, 0)


def test_root_is_not_recorded(tmp_path: Path) -> None:
    for kind in KINDS:
        give(records(tmp_path), make(tmp_path, kind, kind), 0, 0)
    assert not (tmp_path / "owners").exists()
    assert xattr.OWNER not in os.listxattr(tmp_path / "file")


def test_a_file_with_the_inode_of_one_that_is_gone_has_not_its_owner(tmp_path: Path) -> None:
    path, table = make(tmp_path, "symlink"), records(tmp_path)
    inode, born_ns = birth(AT_FDCWD, str(path))
    assert inode == os.lstat(path).st_ino
    table.write_special(inode, born_ns - 1, 5, 6)
    assert owner(table, path) == (0, 0)
    table.write_special(inode, born_ns, 7, 8)
    assert owner(records(tmp_path), path) == (7, 8)


def test_tables_of_several_layers_are_one(tmp_path: Path) -> None:
    """A link that both layers have is the same inode; what comes last, on top, counts."""
    one, two = make(tmp_path, "symlink", "one"), make(tmp_path, "symlink", "two")
    give(records(tmp_path, "lower"), one, 1, 1)
    give(records(tmp_path, "lower"), two, 1, 1)
    both = records(tmp_path, "upper", "absent", "lower")
    assert (owner(both, one), owner(both, two)) == ((1, 1), (1, 1))
    give(both, two, 2, 2)
    again = records(tmp_path, "upper", "absent", "lower")
    assert (owner(again, one), owner(again, two)) == ((1, 1), (2, 2))
    assert owner(records(tmp_path, "lower"), two) == (1, 1)
    assert not (tmp_path / "absent").exists()


def test_half_a_line_at_the_end_counts_for_nothing(tmp_path: Path) -> None:
    path, table = make(tmp_path, "symlink"), records(tmp_path)
    give(table, path, 1, 1)
    with (tmp_path / "owners").open("ab") as file:
        file.write(b"%d 5" % os.lstat(path).st_ino)
    assert owner(records(tmp_path), path) == (1, 1)


def test_single_files_are_read_and_written_without_a_table(tmp_path: Path) -> None:
    path = make(tmp_path, "file")
    recorded.write(str(path), 1, 2)
    with path.open() as file:
        assert recorded.read(file.fileno()) == recorded.read(str(path)) == Recorded(1, 2)
        recorded.write(file.fileno(), 0, 0)
    assert recorded.read(str(path)) is None
    link = make(tmp_path, "symlink", "link")
    assert recorded.read(str(link)) is None
    with pytest.raises(OSError, match="Operation not permitted"):
        recorded.write(str(link), 1, 2)
