"""What a copy does to owners. Recorded ones come out as those that files have on disk."""

import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from minibuild.fileop.api import SourceTree
from minibuild.fileop.apply import apply
from minibuild.graph.op import Copy, FileAction, Mkdir, Mkfile, Rm, Symlink
from minibuild.linux.owner import seen
from minibuild.linux.recorded import Records
from tests.fileop.trees import make, opened, paths

Ids = tuple[int, int]
Owners = Mapping[str, Ids]

SOURCE = {
    "a": "a",
    "b": "",
    "sub/": "0700",
    "sub/c": "c",
    "sub/same": "= sub/c",
    "sub/up": "-> ../a",
    "sub/pipe": "|",
}
OF_SOURCE: dict[str, Ids] = {
    "a": (3, 4),
    "sub": (5, 6),
    "sub/c": (7, 8),
    "sub/same": (7, 8),
    "sub/up": (9, 10),
    "sub/pipe": (11, 12),
}
"""Owners in the source. What is not named here belongs to root."""

BEFORE = {"d/": "", "d/c": "old", "d/up": "-> old", "a": "a"}
OF_BEFORE: dict[str, Ids] = {"d": (20, 21), "d/c": (22, 23), "d/up": (24, 25), "a": (3, 4)}
"""What the destination has before."""

KEPT = {name.replace("sub", "d"): ids for name, ids in OF_SOURCE.items() if name > "sub"}


class Case(NamedTuple):
    """Actions, and the owners of all that is not root's afterwards."""

    actions: tuple[FileAction, ...]
    after: Owners


def everything(ids: Ids) -> dict[str, Ids]:
    return {f"n/{name.rstrip('/')}": ids for name in SOURCE}


CASES = {
    "kept": Case(
        (Copy(0, (".",), "/n/", keep_owner=True),),
        {f"n/{name}": ids for name, ids in OF_SOURCE.items()} | OF_BEFORE,
    ),
    "dropped": Case((Copy(0, (".",), "/n/"),), OF_BEFORE),
    "given": Case(
        (Copy(0, (".",), "/n/", chown="30:31"),),
        {"n": (30, 31)} | everything((30, 31)) | OF_BEFORE,
    ),
    "given and kept out": Case(
        (Copy(0, ("a",), "/n", chown="30:31", chmod="0"),), {"n": (30, 31)} | OF_BEFORE
    ),
    "into a directory that is there": Case(
        (Copy(0, ("sub",), "/d", keep_owner=True),), {**OF_BEFORE, **KEPT}
    ),
    "root's in place of another's": Case(
        (Copy(0, ("sub/c", "sub/up"), "/d/"),), {"d": (20, 21), "a": (3, 4)}
    ),
    "the same once more": Case((Copy(0, ("a",), "/a", keep_owner=True),), OF_BEFORE),
    "the same of another owner": Case(
        (Copy(0, ("a",), "/a", chown="3:9"),), {**OF_BEFORE, "a": (3, 9)}
    ),
    "with its parents": Case(
        (Copy(0, ("sub/c",), "/n/", keep_owner=True, parents=True),),
        {"n/sub": (5, 6), "n/sub/c": (7, 8), **OF_BEFORE},
    ),
    "an archive": Case(
        (Copy(0, ("t.tar",), "/d/", unpack=True),),
        {**OF_BEFORE, "d/c": (50, 51), "d/up": (52, 53), "d/pipe": (54, 55), "d/sub": (56, 57)},
    ),
    "an archive that is given": Case(
        (Copy(0, ("t.tar",), "/d/", unpack=True, chown="1:2"),),
        {**OF_BEFORE, **{f"d/{name}": (1, 2) for name in ("c", "up", "pipe", "sub")}},
    ),
    "made": Case(
        (
            Mkdir("/n/sub", owner="40:41"),
            Mkfile("/n/file", b"x", owner="42"),
            Symlink("/n/link", "file", owner="0:43"),
        ),
        {"n": (40, 41), "n/sub": (40, 41), "n/file": (42, 42), "n/link": (0, 43), **OF_BEFORE},
    ),
    "removed and made": Case(
        (Rm("/d/c"), Rm("/d/up"), Mkfile("/d/c", b"x"), Symlink("/d/up", "x")),
        {"d": (20, 21), "a": (3, 4)},
    ),
}


def archive() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for number, (name, kind) in enumerate(
            (
                ("c", tarfile.REGTYPE),
                ("up", tarfile.SYMTYPE),
                ("pipe", tarfile.FIFOTYPE),
                ("sub", tarfile.DIRTYPE),
            )
        ):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.linkname = kind, 0o700, "x"
            entry.uid, entry.gid = 50 + 2 * number, 51 + 2 * number
            # A record that the archive brings along counts for nothing.
            entry.pax_headers = {"SCHILY.xattr.user.rootlesscontainers": "\x08\x63"}
            tar.addfile(entry)
    return made.getvalue()


def give(top: Path, ids: Owners, records: Records | None) -> None:
    with opened(str(top)) as (fd,):
        for name, (uid, gid) in ids.items():
            if records is not None:
                records.write(fd, name, uid, gid)
            else:
                os.chown(name, uid, gid, dir_fd=fd, follow_symlinks=False)


def owned(top: Path, records: Records | None) -> Iterator[tuple[str, Ids]]:
    for path in paths(str(top)):
        found = seen(os.lstat(top / path), str(top / path), records)
        if found.st_uid or found.st_gid:
            yield path, (found.st_uid, found.st_gid)


@pytest.mark.parametrize(
    "recorded",
    [
        pytest.param(True, id="recorded", marks=pytest.mark.needs("user_xattr")),
        pytest.param(False, id="on disk", marks=pytest.mark.needs("root")),
    ],
)
@pytest.mark.parametrize("case", CASES)
def test_owners_of_what_is_copied(tmp_path: Path, case: str, recorded: bool) -> None:
    actions, after = CASES[case]
    source, dest = tmp_path / "source", tmp_path / "dest"
    ours, theirs = (
        Records([str(tmp_path / name)]) if recorded else None for name in ("ours", "theirs")
    )
    for top, files, ids, records in (
        (source, SOURCE, OF_SOURCE, theirs),
        (dest, BEFORE, OF_BEFORE, ours),
    ):
        make(str(top), files)
        give(top, ids, records)
    if "archive" in case:
        (source / "t.tar").write_bytes(archive())
    with opened(str(source), str(dest)) as (source_fd, dest_fd):
        assert apply(actions, dest_fd, {0: SourceTree(source_fd, owners=theirs)}, owners=ours) == []
    assert dict(owned(dest, ours)) == dict(after)
    if recorded:
        # Another process reads the records from disk.
        again = Records([str(tmp_path / "ours")])
        assert dict(owned(dest, again)) == dict(after)
        assert {os.lstat(dest / path).st_uid for path in paths(str(dest))} == {os.geteuid()}
