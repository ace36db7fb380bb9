"""Folders from clients: what is written, what is asked for again, and what is refused."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minibuild.buildkit.packets import Receiver
from minibuild.buildkit.proto import messages
from minibuild.buildkit.rpc import Failure
from minibuild.linux.cursor import Cursor

TYPES = messages("ops", "api")
PACKET, STAT = TYPES["Packet"], TYPES["Stat"]
DIRECTORY, LINK, SOCKET = 1 << 31, 1 << 27, 1 << 24
REQ, DATA, FIN, ERR = 1, 2, 3, 4
THEN = 1_700_000_000_123_456_789


class Client:
    """Sends a list of entries, and the contents that it is asked for."""

    def __init__(self, folder: Path, entries: list[Any], contents: dict[str, bytes]) -> None:
        self.asked: list[str] = []
        self._entries = entries
        self._contents = contents
        self._folder = folder

    def run(self, *, again: bool = False) -> Receiver:
        root = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with Cursor(root) as cursor:
                receiver = Receiver(cursor, again=again)
                for entry in self._entries:
                    receiver.take(PACKET(stat=entry))
                receiver.take(PACKET())
                for number in [one.ID for one in receiver.asked() if one.type == REQ]:
                    path = self._entries[number].path
                    self.asked.append(path)
                    receiver.take(PACKET(type=DATA, ID=number, data=self._contents[path]))
                    receiver.take(PACKET(type=DATA, ID=number))
                receiver.check_end()
                return receiver
        finally:
            os.close(root)


def file(path: str, size: int = 1, mode: int = 0o644, when: int = THEN) -> Any:
    return STAT(path=path, mode=mode, size=size, modTime=when)


def directory(path: str) -> Any:
    return STAT(path=path, mode=DIRECTORY | 0o755, modTime=THEN)


def link(path: str, target: str) -> Any:
    return STAT(path=path, mode=LINK | 0o777, linkname=target)


def test_a_folder(tmp_path: Path) -> None:
    entries = [
        file("a", mode=0o640),
        directory("d"),
        file("d/b", size=3, mode=0o755 | 1 << 23),
        link("l", "../../etc/passwd"),
        STAT(path="m", mode=0o640, linkname="a", size=1, modTime=THEN),
        STAT(path="s", mode=SOCKET | 0o600),
    ]
    client = Client(tmp_path, entries, {"a": b"1", "d/b": b"abc"})
    client.run()
    assert client.asked == ["a", "d/b"]
    assert sorted(os.listdir(tmp_path)) == ["a", "d", "l", "m"]
    assert (tmp_path / "d/b").read_bytes() == b"abc"
    found = (tmp_path / "d/b").stat()
    assert stat.S_IMODE(found.st_mode) == 0o4755 and found.st_mtime_ns == THEN
    assert os.readlink(tmp_path / "l") == "../../etc/passwd"
    assert (tmp_path / "a").samefile(tmp_path / "m")
    assert (tmp_path / "d").stat().st_mtime_ns == THEN


def test_only_what_changed_is_asked_for(tmp_path: Path) -> None:
    contents = {"a": b"1", "b": b"2", "c": b"3", "d/e": b"4"}
    entries = [file("a"), file("b"), file("c"), directory("d"), file("d/e")]
    Client(tmp_path, entries, contents).run()
    # Another time, another mode, one that is gone, and one that became a directory.
    entries = [file("a", when=THEN + 1), file("b", mode=0o600), directory("d"), directory("d/e")]
    client = Client(tmp_path, entries, {"a": b"5", "b": b"2"})
    client.run()
    assert client.asked == ["a", "b"]
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "d"]
    assert (tmp_path / "a").read_bytes() == b"5" and (tmp_path / "d/e").is_dir()
    os.chmod(tmp_path / "d", 0o700)
    again = Client(tmp_path, [*entries, directory("f")], {})
    again.run()
    assert again.asked == [] and stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o755
    before = (tmp_path / "d").stat().st_ctime_ns
    Client(tmp_path, entries, {}).run()
    assert (tmp_path / "d").stat().st_ctime_ns == before  # A copy sees that it is as it was.
    every = Client(tmp_path, entries, {"a": b"6", "b": b"2"})
    every.run(again=True)
    assert every.asked == ["a", "b"] and (tmp_path / "a").read_bytes() == b"6"


def test_a_directory_becomes_a_file_and_a_link(tmp_path: Path) -> None:
    Client(tmp_path, [directory("a"), file("a/x"), directory("b")], {"a/x": b"1"}).run()
    Client(tmp_path, [file("a"), link("b", "a")], {"a": b"2"}).run()
    assert (tmp_path / "a").read_bytes() == b"2" and os.readlink(tmp_path / "b") == "a"


@pytest.mark.parametrize(
    "entries",
    [
        [file("/etc/x")],
        [file("../x")],
        [file("..")],
        [file(".")],
        [file("")],
        [file("a//b")],
        [file("d/x")],
        [directory("d"), file("d/../x")],
        [link("l", "/etc"), file("l/x")],
        [file("f"), file("f/x")],
        [file("a"), file("a")],
        [directory("d"), file("d/x\0y")],
        [STAT(path="h", linkname="nothing")],
        [STAT(path="h", linkname="/etc/passwd")],
        [link("l", "x"), STAT(path="h", linkname="l")],
    ],
    ids=lambda entries: " ".join(repr(entry.path) for entry in entries),
)
def test_hostile_paths_are_refused(tmp_path: Path, entries: list[Any]) -> None:
    outside, inside = tmp_path / "x", tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(Failure):
        Client(inside, entries, dict.fromkeys(("a", "f", "d/x"), b"1")).run()
    assert not outside.exists()


def test_a_link_left_from_before_is_not_followed(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    Client(inside, [link("d", str(outside))], {}).run()
    Client(inside, [directory("d"), file("d/x")], {"d/x": b"1"}).run()
    assert list(outside.iterdir()) == [] and (inside / "d/x").read_bytes() == b"1"


def packets(*sent: Any) -> Iterator[Any]:
    yield from sent


@pytest.mark.parametrize(
    "sent",
    [
        [PACKET(stat=file("a")), PACKET(), PACKET(type=DATA, ID=0, data=b"12")],
        [PACKET(stat=file("a")), PACKET(), PACKET(type=DATA, ID=7, data=b"1")],
        [PACKET(stat=file("a")), PACKET(), PACKET(type=FIN)],
        [PACKET(stat=file("a"))],
        [PACKET(type=ERR, data=b"no such folder")],
    ],
    ids=["too much", "not asked for", "ended early", "cut off", "error"],
)
def test_a_client_that_misbehaves(tmp_path: Path, sent: list[Any]) -> None:
    root = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    with Cursor(root) as cursor, pytest.raises(Failure):
        receiver = Receiver(cursor)
        for packet in sent:
            if receiver.take(packet):
                break
        receiver.check_end()
    os.close(root)


def test_hardlinks_are_sent_once(tmp_path: Path) -> None:
    """Neither they nor their times change while the client has them so; and names that are files of
    their own there become such."""
    linked = [file("a"), STAT(path="b", mode=0o644, linkname="a", size=1, modTime=THEN)]
    Client(tmp_path, linked, {"a": b"1"}).run()
    before = os.stat(tmp_path / "b")
    client = Client(tmp_path, [*linked, file("c")], {"c": b"2"})
    client.run()
    after = os.stat(tmp_path / "b")
    assert client.asked == ["c"] and after.st_nlink == 2
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)
    client = Client(tmp_path, [file("a"), file("b"), file("c")], {"b": b"1"})
    client.run()
    assert client.asked == ["b"]
    assert os.stat(tmp_path / "a").st_nlink == os.stat(tmp_path / "b").st_nlink == 1
    client = Client(tmp_path, [file("b")], {})
    client.run()
    assert client.asked == [] and os.listdir(tmp_path) == ["b"]
