"""What of a file counts in a cache key, in words.

Comes in: metadata of what a copy or a bind mount reads. Goes out: pairs of a path and a
fingerprint, such as `("/src/a.py", "file 0644 2c26b46b...")`. A fingerprint says what can be seen
in the result and nothing else: no times, no mode that --chmod replaces, no owner that is not kept.
It is readable on purpose: a cache miss is explained by two of them side by side.
Read next: `checksum`, which reads files for them, and `content_hasher`, which watches a copy do so.
"""

import os
import stat

from minibuild.fileop.paths import join
from minibuild.fileop.select import Pick
from minibuild.fileop.walk import Found
from minibuild.graph.mode import ModeRule, parse_mode
from minibuild.graph.op import Copy
from minibuild.startup.tuples import NamedTuple

Contents = tuple[tuple[str, str], ...]
"""Fingerprints by path, sorted."""

_TYPES = {
    stat.S_IFDIR: "dir",
    stat.S_IFREG: "file",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFSOCK: "socket",
}
KEEP_MODE = ModeRule(None)


class Item(NamedTuple):
    """A path of the answer. `real` is where the data is; `data` says whether it is wanted."""

    label: str
    real: str
    stat: os.stat_result
    words: str
    data: bool


class Prints:
    """Which properties count. `tops`: also those of a directory whose contents are taken."""

    __slots__ = ("_known", "_owners", "_rule", "_tops")

    def __init__(self, rule: ModeRule, *, owners: bool, tops: bool = False) -> None:
        self._rule = rule
        self._owners = owners
        self._tops = tops
        self._known: dict[tuple[int, int, int, int], str] = {}

    def top(self, pick: Pick) -> str:
        """The words for a picked directory, which a copy does not copy."""
        return self.words(pick.stat, "") if self._tops else "dir"

    def words(self, status: os.stat_result, more: str) -> str:
        """The fingerprint but for the data: type, mode, owner, and what else belongs to it."""
        # The files of a tree look much alike, so the words for most of them are there already.
        look = (status.st_mode, status.st_uid, status.st_gid, status.st_rdev)
        words = self._known.get(look)
        if words is None:
            words = self._known[look] = self._words(status)
        return f"{words} {more}" if more else words

    def _words(self, status: os.stat_result) -> str:
        kind = stat.S_IFMT(status.st_mode)
        words = [_TYPES[kind]]
        if kind != stat.S_IFLNK:
            words.append(f"{self._rule.apply(status.st_mode):04o}")
        if self._owners:
            words.append(f"{status.st_uid}:{status.st_gid}")
        if kind in (stat.S_IFCHR, stat.S_IFBLK):
            words.append(f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}")
        return " ".join(words)


def prints_of(copy: Copy) -> Prints:
    """What counts for a copy."""
    rule = parse_mode(copy.chmod) if copy.chmod else KEEP_MODE
    return Prints(rule, owners=copy.keep_owner and not copy.chown)


class Labels:
    """The items of one pick, in the order of the walk."""

    __slots__ = ("_first_names", "_pick", "_prefix", "_prints", "_real")

    def __init__(self, pick: Pick, prints: Prints) -> None:
        self._pick = pick
        self._prints = prints
        self._prefix = ("/" + pick.named).rstrip("/") + "/"
        self._real = join(pick.real, "x")[:-1]
        self._first_names: dict[tuple[int, int], str] = {}

    def top(self) -> Item:
        """The pick itself."""
        pick, label = self._pick, "/" + self._pick.named
        if pick.is_dir:
            return Item(label, pick.real, pick.stat, self._prints.top(pick), False)
        words = self._prints.words(pick.stat, "")
        return Item(label, pick.real, pick.stat, words, stat.S_ISREG(pick.stat.st_mode))

    def below(self, found: Found, target: str | None = None) -> Item:
        """Something in a picked directory; `target` is what a symlink says, if it was read."""
        status, more, path = found.stat, "", found.path
        kind = stat.S_IFMT(status.st_mode)
        data = kind == stat.S_IFREG
        if data and status.st_nlink > 1:
            # Two names of one file are copied as such, so it matters which names they are.
            first = self._first_names.setdefault((status.st_dev, status.st_ino), path)
            if first is not path:
                more, data = f"hardlink {first}", False
        elif kind == stat.S_IFLNK:
            more = os.readlink(found.name, dir_fd=found.dir_fd) if target is None else target
        words = self._prints.words(status, more)
        return Item(self._prefix + path, self._real + path, status, words, data)


class Told:
    """Fingerprints as they become known."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[str, str] = {}

    def tell(self, label: str, words: str) -> None:
        """Note one."""
        # A path may be read twice, once as itself and once inside another source.
        before = self._found.setdefault(label, words)
        if before != words:
            self._found[label] = f"{before}; {words}"

    def contents(self) -> Contents:
        """All of them."""
        return tuple(sorted(self._found.items()))
