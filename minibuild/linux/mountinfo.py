"""The mounts that a process sees, as the kernel lists them: see proc_pid_mountinfo(5).

Comes in: the text of a mountinfo. Goes out: a `MountInfo` for each of its lines.
"""

from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

_ESCAPED = regex(r"\\([0-7]{3})")
"""The kernel writes blanks, line ends and backslashes in paths so."""


class MountInfo(NamedTuple):
    """A mount at `point`: the directory `root` of a filesystem of this `type`, which has these
    `options` wherever it is mounted."""

    root: str
    point: str
    type: str
    options: str


def mounts_in(text: str) -> list[MountInfo]:
    """The mounts of a mountinfo, those below others first."""
    found = []
    for line in filter(None, text.split("\n")):
        mount, _, filesystem = line.partition(" - ")
        _, _, _, root, point, *_ = mount.split(" ")
        kind, _, options = filesystem.split(" ", 2)
        point = _path(point).removesuffix("//deleted")  # The directory below it was removed.
        found.append(MountInfo(_path(root), point, kind, options))
    return found


def own_mounts() -> list[MountInfo]:
    """The mounts of this process."""
    path = "/proc/self/mountinfo"
    with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        return mounts_in(file.read())


def _path(written: str) -> str:
    if "\\" not in written:
        return written
    return _ESCAPED.sub(lambda digits: chr(int(digits[1], 8)), written)
