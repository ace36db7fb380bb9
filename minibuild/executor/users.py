"""Who a step runs as: `USER` looked up in /etc/passwd and /etc/group of a root filesystem.

Comes in: an open root and a spec `[name-or-uid][:name-or-gid]`. Goes out: numbers and a home.
The files belong to the image, so they are opened inside its root, and only if they are plain
files of a sensible size. Rules as BuildKit has them: a numeric user need not exist (group 0,
home /); an explicit group replaces the supplementary ones; the primary group is always among the
supplementary ones, as login(1) has it, so that `id` prints it.
"""

import os
import stat
from collections.abc import Callable

from minibuild.errors import DefinitionError
from minibuild.linux.beneath import open_beneath
from minibuild.linux.descriptors import closing_fd
from minibuild.startup.tuples import NamedTuple

MAX_BYTES = 32 * 1024 * 1024
MAX_ID = 2**31 - 1
_MAX_DIGITS = 10


class ProcessUser(NamedTuple):
    """The ids of a process and its home directory."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"


class Passwd(NamedTuple):
    """A line of passwd(5)."""

    name: str
    uid: int
    gid: int
    home: str


class Group(NamedTuple):
    """A line of group(5)."""

    name: str
    gid: int
    members: tuple[str, ...]


def lookup_user(root_fd: int, spec: str) -> ProcessUser:
    """The user that `spec` names in this root; an empty spec is uid 0.

    Raises `DefinitionError` for a name that is not there.
    """
    user, _, group = spec.partition(":")
    passwd = parse_passwd(read_etc(root_fd, "etc/passwd"))
    return resolve(user, group, passwd, lambda: parse_group(read_etc(root_fd, "etc/group")))


def resolve(
    user: str, group: str, passwd: list[Passwd], groups: Callable[[], list[Group]]
) -> ProcessUser:
    """The same on parsed files; `groups` is called only if it matters."""
    wanted = user or "0"
    number = _id(os.fsencode(wanted))
    entry = next((e for e in passwd if e.name == wanted or e.uid == number), None)
    if entry is None:
        entry = Passwd("", _number(wanted, "user", "passwd"), 0, "/")
    home = entry.home or "/"
    if group:
        gid = _group(group, groups())
        return ProcessUser(entry.uid, gid, (gid,), home)
    member_of: tuple[int, ...] = ()
    if entry.name:
        member_of = tuple(g.gid for g in groups() if entry.name in g.members)
    if entry.gid not in member_of:
        member_of = (entry.gid, *member_of)
    return ProcessUser(entry.uid, entry.gid, member_of, home)


def _group(wanted: str, groups: list[Group]) -> int:
    for entry in groups:
        if entry.name == wanted:
            return entry.gid
    return _number(wanted, "group", "group")


def _number(text: str, kind: str, file: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise DefinitionError(
            f"unable to find {kind} {text}: no matching entries in {file} file",
            hint=f"create the {kind} in an earlier RUN, or use a number",
        )
    number = _id(text.encode())
    if number < 0:
        raise DefinitionError(f"{kind} id {text} is out of range", hint=f"ids end at {MAX_ID}")
    return number


def _id(digits: bytes) -> int:
    """A number from 0 to `MAX_ID`, or -1. To the kernel 2^32-1 is no id but says "as it is": who
    has it in passwd(5) would stay root."""
    if not digits.isdigit() or len(digits.lstrip(b"0")) > _MAX_DIGITS:
        return -1
    return int(digits) if int(digits) <= MAX_ID else -1


def parse_passwd(data: bytes) -> list[Passwd]:
    """The well-formed lines of passwd(5), in order."""
    found = []
    for line in data.split(b"\n"):
        fields = line.strip().split(b":")
        if len(fields) >= 4 and min(ids := (_id(fields[2]), _id(fields[3]))) >= 0:
            home = os.fsdecode(fields[5]) if len(fields) > 5 else ""
            found.append(Passwd(os.fsdecode(fields[0]), *ids, home))
    return found


def parse_group(data: bytes) -> list[Group]:
    """The well-formed lines of group(5), in order."""
    found = []
    for line in data.split(b"\n"):
        fields = line.strip().split(b":")
        if len(fields) >= 3 and (gid := _id(fields[2])) >= 0:
            members = os.fsdecode(fields[3]).split(",") if len(fields) > 3 else []
            found.append(Group(os.fsdecode(fields[0]), gid, tuple(members)))
    return found


def read_etc(root_fd: int, path: str) -> bytes:
    """A file of the root; nothing if it is not there or no plain file."""
    try:
        # O_NONBLOCK: a fifo in its place must not stop us.
        fd = open_beneath(root_fd, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return b""
    with closing_fd(fd):
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_BYTES:
            return b""
        with open(fd, "rb", buffering=0, closefd=False) as file:
            return file.read()
