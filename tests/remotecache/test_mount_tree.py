"""The contents of a cache mount: there and back unchanged, the same bytes for the same files, and
a fingerprint that no change escapes."""

import os
import socket
import stat
import struct
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minibuild.errors import Cancelled, ImageError
from minibuild.layer.tar_format import END, TarEntry, header
from minibuild.linux import recorded
from minibuild.linux.recorded import Records
from minibuild.oci.content import ContentStore
from minibuild.oci.model import Compression, Descriptor
from minibuild.remotecache.mounts.exporter import MountBlobs
from minibuild.remotecache.mounts.tree import fingerprint, is_empty, pack_tree, unpack_tree
from minibuild.store.layout import Store
from tests.layer.trees import make, read

NEVER = threading.Event()


MIXED: dict[str, Any] = {
    "pip/http": b"x" * 3000,
    "pip/.wh.http": b"a name like any other",
    "pip/.wh..wh..opq": b"",
    "again": "= pip/http",
    "link": "-> pip/http",
    "out": "-> /etc/passwd",
    "pipe": "fifo",
    "suid": (b"\x7fELF", 0o4711),
    "sticky": (None, 0o1777),
    "closed": (None, 0o700),
    "caf\udce9": b"not UTF-8",
}


def packed(
    path: str,
    content: ContentStore,
    compression: Compression = "zstd",
    owners: Records | None = None,
) -> Descriptor:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return pack_tree(fd, content, compression, None, NEVER, owners)
    finally:
        os.close(fd)


def unpacked(
    source: ContentStore, layer: Descriptor, path: str, owners: Records | None = None
) -> list[str]:
    os.mkdir(path)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return unpack_tree(source, layer, fd, NEVER, owners)
    finally:
        os.close(fd)


def mark(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return fingerprint(fd)
    finally:
        os.close(fd)


@pytest.fixture
def content(store: Store) -> ContentStore:
    return MountBlobs(store)


@pytest.mark.parametrize("compression", ["uncompressed", "gzip", "zstd"])
def test_there_and_back(tmp_path: Path, content: ContentStore, compression: Compression) -> None:
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    make(first, MIXED)
    os.chmod(first, 0o2750)
    layer = packed(first, content, compression)
    assert unpacked(content, layer, second) == []
    assert read(second) == read(first)
    assert stat.S_IMODE(os.stat(second).st_mode) == 0o2750
    assert os.stat(f"{second}/again").st_ino == os.stat(f"{second}/pip/http").st_ino
    assert packed(second, content, compression) == layer


def test_attributes_of_users_go_along(tmp_path: Path, content: ContentStore) -> None:
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    make(first, {"f": b"data"})
    try:
        os.setxattr(f"{first}/f", "user.note", b"\0\xff")
        os.setxattr(first, "user.overlay.opaque", b"y")
    except OSError:
        pytest.skip("no attributes on this filesystem")
    unpacked(content, packed(first, content), second)
    assert os.getxattr(f"{second}/f", "user.note") == b"\0\xff"
    assert os.getxattr(second, "user.overlay.opaque") == b"y"


def test_sockets_stay(tmp_path: Path, content: ContentStore, monkeypatch: Any) -> None:
    first = make(str(tmp_path / "first"), {"f": b"data"})
    monkeypatch.chdir(first)
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind("socket")
        unpacked(content, packed(first, content), str(tmp_path / "second"))
    assert os.listdir(tmp_path / "second") == ["f"]


def rewrite(top: str) -> None:
    """Other data of the same length, and the time set back."""
    Path(top, "a").write_bytes(b"2")
    os.utime(Path(top, "a"), ns=(1, 1))


CHANGES: dict[str, Callable[[str], object]] = {
    "data": lambda top: Path(top, "a").write_bytes(b"2"),
    "size and time kept": rewrite,
    "mode": lambda top: os.chmod(Path(top, "a"), 0o600),
    "new": lambda top: Path(top, "c").touch(),
    "gone": lambda top: os.unlink(Path(top, "d/b")),
    "renamed": lambda top: os.rename(Path(top, "d/b"), Path(top, "d/c")),
    "mode of the top": lambda top: os.chmod(top, 0o700),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen(tmp_path: Path, change: str) -> None:
    top = make(str(tmp_path / "top"), {"a": b"1", "d/b": b"1"})
    os.utime(f"{top}/a", ns=(1, 1))
    before = mark(top)
    assert mark(top) == before
    CHANGES[change](top)
    assert mark(top) != before


def test_a_rename_of_the_whole_is_no_change(tmp_path: Path) -> None:
    top = make(str(tmp_path / "top"), {"a": b"1"})
    before = mark(top)
    os.rename(top, tmp_path / "other")
    assert mark(str(tmp_path / "other")) == before


def test_both_ways_can_be_cancelled(tmp_path: Path, content: ContentStore) -> None:
    layer = packed(make(str(tmp_path / "first"), {"a": b"1"}), content)
    now = threading.Event()
    now.set()
    fd = os.open(tmp_path / "first", os.O_RDONLY)
    try:
        with pytest.raises(Cancelled):
            pack_tree(fd, content, "zstd", None, now)
        with pytest.raises(Cancelled):
            unpack_tree(content, layer, fd, now)
    finally:
        os.close(fd)


@pytest.mark.needs("user_xattr")
def test_recorded_owners_travel_as_owners(tmp_path: Path, content: ContentStore) -> None:
    """Of files and directories: a mount has no table for others. The record itself stays here."""
    first = make(str(tmp_path / "first"), {"d/f": b"1", "g": b"2", "link": "-> g"})
    for name, ids in (("", (5, 6)), ("d", (1000, 0)), ("d/f", (7, 8))):
        recorded.write(f"{first}/{name}", *ids)
    records = Records([])
    layer = packed(first, content, "uncompressed", records)
    again = str(tmp_path / "second")
    assert unpacked(content, layer, again, records) == []
    found = {name: recorded.read(f"{again}/{name}") for name in ("", "d", "d/f", "g")}
    assert found == {"": (5, 6), "d": (1000, 0), "d/f": (7, 8), "g": None}
    assert packed(again, content, "uncompressed", records) == layer
    with tarfile.open(content.path(layer.digest)) as tar:
        told = {entry.name: (entry.uid, entry.gid, set(entry.pax_headers)) for entry in tar}
    assert told["d/f"] == (7, 8, {"mtime"}) and told["link"] == (0, 0, {"mtime"})


def test_emptiness(tmp_path: Path) -> None:
    assert is_empty(str(tmp_path / "nowhere"))
    assert is_empty(make(str(tmp_path / "a"), {}))
    assert not is_empty(make(str(tmp_path / "b"), {".hidden": b""}))


def mine(entry: TarEntry) -> TarEntry:
    """The entry, with an owner that this account may give."""
    return entry._replace(uid=os.getuid(), gid=os.getgid())


def hostile(content: ContentStore, *entries: TarEntry) -> Descriptor:
    with content.writer() as blob:
        for entry in entries:
            blob.write(header(entry))
        blob.write(END)
        size = blob.size
        digest = blob.commit()
    return Descriptor("application/vnd.oci.image.layer.v1.tar", digest, size)


@pytest.mark.parametrize(
    "entries",
    [
        (TarEntry("a", "link", linkname="../../etc/passwd"),),
        (TarEntry("a", "link", linkname="/etc/passwd"),),
        (TarEntry("a", "link", linkname="nothing"),),
    ],
    ids=["link", "absolute link", "no target"],
)
def test_nothing_leads_out(
    tmp_path: Path, content: ContentStore, entries: tuple[TarEntry, ...]
) -> None:
    layer = hostile(content, *map(mine, entries))
    with pytest.raises(ImageError):
        unpacked(content, layer, str(tmp_path / "top"))
    assert os.listdir(tmp_path / "top") == []


def test_dots_end_inside(tmp_path: Path, content: ContentStore) -> None:
    layer = hostile(content, mine(TarEntry("../../out", "file")))
    unpacked(content, layer, str(tmp_path / "top"))
    assert os.listdir(tmp_path / "top") == ["out"] and "out" not in os.listdir(tmp_path)


def test_symlinks_end_inside(tmp_path: Path, content: ContentStore) -> None:
    (tmp_path / "outside").mkdir()
    layer = hostile(
        content,
        mine(TarEntry("d", "symlink", linkname=str(tmp_path / "outside"))),
        mine(TarEntry("d/file", "file")),
    )
    try:
        unpacked(content, layer, str(tmp_path / "top"))
    except ImageError:
        pass
    except Exception as error:  # making the missing parents takes the ids of root
        assert "cannot give" in str(error)
    assert os.listdir(tmp_path / "outside") == []


def test_a_damaged_layer_is_refused(tmp_path: Path, content: ContentStore) -> None:
    layer = packed(make(str(tmp_path / "first"), {"a": os.urandom(5000)}), content)
    with open(content.path(layer.digest), "r+b") as file:
        file.seek(1000)
        file.write(struct.pack("<I", 0xDEADBEEF))
    with pytest.raises(ImageError):
        unpacked(content, layer, str(tmp_path / "second"))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    files=st.dictionaries(
        st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=60),
        st.binary(max_size=40),
        max_size=6,
    )
)
def test_any_names(
    tmp_path_factory: pytest.TempPathFactory, store: Store, files: dict[str, bytes]
) -> None:
    files = {n: d for n, d in files.items() if n not in (".", "..") and len(n.encode()) < 250}
    folder, content = tmp_path_factory.mktemp("any"), MountBlobs(store)
    first = str(folder / "first")
    os.mkdir(first)
    for name, data in files.items():
        Path(first, name).write_bytes(data)
    layer = packed(first, content)
    unpacked(content, layer, str(folder / "second"))
    assert read(str(folder / "second")) == read(first)
    assert packed(str(folder / "second"), content) == layer
