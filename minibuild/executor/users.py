"""Who a step runs as: `USER` looked up in /etc/passwd and /etc/group of a root filesystem.

Comes in: an open root and a spec `[name-or-uid][:name-or-gid]`. Goes out: numbers and a home.
The files belong to the image, so they are opened inside its root, and only if they are plain
files of a sensible size. Rules as BuildKit has them: a numeric user need not exist (group 0,
home /); HOME is that of the first user with the uid, also an empty one; an explicit group
replaces the supplementary ones; the primary group is always among the supplementary ones, as
login(1) has it, so that `id` prints it.
"""

import os
from collections.abc import Callable, Iterator

from minibuild.errors import DefinitionError
from minibuild.linux.beneath import read_plain
from minibuild.startup.tuples import NamedTuple

_MAX_BYTES = 32 * 1024 * 1024
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
    user, group, *_ = (*spec.split(":"), "")
    passwd = parse_passwd(_read_etc(root_fd, "etc/passwd"))
    return resolve(user, group, passwd, lambda: parse_group(_read_etc(root_fd, "etc/group")))


def resolve(
    user: str, group: str, passwd: list[Passwd], groups: Callable[[], list[Group]]
) -> ProcessUser:
    """The same on parsed files; `groups` is called only if it matters."""
    number = _asked(user or "0")
    gid = _asked(group)
    if user == "root" and group and (gid is not None or group == "root"):
        number, gid = 0, gid or 0  # two ids: BuildKit knows root's without the files
    entry = next(
        (e for e in passwd if (e.name == user if number is None else e.uid == number)), None
    )
    if entry is None:
        if number is None:
            raise _unknown(user, "user", "passwd")
        entry = Passwd("", number, 0, "/")
    home = next((e.home for e in passwd if e.uid == entry.uid), "/")
    if group:
        if gid is None:
            gid = next((e.gid for e in groups() if e.name == group), None)
        if gid is None:
            raise _unknown(group, "group", "group")
        return ProcessUser(entry.uid, gid, (gid,), home)
    member_of: tuple[int, ...] = ()
    if entry.name:
        member_of = tuple(g.gid for g in groups() if entry.name in g.members)
    if entry.gid not in member_of:
        member_of = (entry.gid, *member_of)
    return ProcessUser(entry.uid, entry.gid, member_of, home)


def _asked(text: str) -> int | None:
    """The id that USER gives as a number; None if it gives a name."""
    number = _number(os.fsencode(text))
    if number is not None and not _is_id(number):
        raise DefinitionError(
            f"uids and gids must be in range 0-{MAX_ID}, and {text} is out of range",
            hint="write a smaller number, or a name that the image has",
        )
    return number


def _unknown(name: str, kind: str, file: str) -> DefinitionError:
    return DefinitionError(
        f"unable to find {kind} {name}: no matching entries in {file} file",
        hint=f"create the {kind} in an earlier RUN, or use a number",
    )


def _number(text: bytes) -> int | None:
    """A number as Go reads one, with or without a sign; -1 for one of too many digits."""
    digits = text[1:] if text[:1] in (b"+", b"-") else text
    if not digits.isdigit():
        return None
    if len(digits.lstrip(b"0")) > _MAX_DIGITS:
        return -1
    return -int(digits) if text[:1] == b"-" else int(digits)


def _is_id(number: int) -> bool:
    """To the kernel 2^32-1 is no id but says "as it is": who has it in passwd(5) would stay
    root."""
    return 0 <= number <= MAX_ID


def parse_passwd(data: bytes) -> list[Passwd]:
    """The lines of passwd(5), in order."""
    return [
        Passwd(os.fsdecode(fields[0]), uid, gid, os.fsdecode(fields[5]))
        for fields in _lines(data, 6)
        if _is_id(uid := _number(fields[2]) or 0) and _is_id(gid := _number(fields[3]) or 0)
    ]


def parse_group(data: bytes) -> list[Group]:
    """The lines of group(5), in order."""
    return [
        Group(os.fsdecode(fields[0]), gid, tuple(os.fsdecode(fields[3]).split(",")))
        for fields in _lines(data, 4)
        if not fields[0].startswith(b"#") and _is_id(gid := _number(fields[2]) or 0)
    ]


def _lines(data: bytes, fields: int) -> Iterator[list[bytes]]:
    """Lines cut into fields; what a line lacks is empty. As with BuildKit what should be a number
    and is none counts as 0, in comments of passwd(5), too."""
    for line in data.split(b"\n"):
        if line := line.strip():
            yield [*line.split(b":"), *[b""] * fields]


def _read_etc(root_fd: int, path: str) -> bytes:
    """A file of the root; nothing if it is not there, no plain file, or too large."""
    try:
        data = read_plain(root_fd, path, _MAX_BYTES + 1) or b""
    except OSError:
        return b""
    return data if len(data) <= _MAX_BYTES else b""
