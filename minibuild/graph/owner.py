"""Owners as `--chown` and USER say them: `user`, `user:group`, names or numbers.

Comes in: text. Goes out: an `Owner`, whose names still have to be looked up in a tree. The grammar
is BuildKit's: `root` is 0 without a look, a number for the user alone is the group's too, an empty
part is 0, and what is too large for a number is a name.
Read next: `fileop.owner`, which looks names up.
"""

from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

_NUMBER = regex("[+-]?[0-9]{1,20}")
_INT32 = range(-(1 << 31), 1 << 31)
_UNCHANGED = (1 << 32) - 1


class Owner(NamedTuple):
    """A user and a group, each by number or by name; no group is the one that the user has."""

    user: int | str
    group: int | str | None = None

    @property
    def name(self) -> str:
        """The first part that is a name, or nothing."""
        return next((part for part in self if isinstance(part, str)), "")


def parse_owner(text: str) -> Owner:
    """The owner that `text` means. Every text means one."""
    user, colon, group = text.partition(":")
    return Owner(_part(user), _part(group) if colon else None)


def _part(text: str) -> int | str:
    if text in ("", "root"):
        return 0
    if _NUMBER.fullmatch(text) and int(text) in _INT32:
        return as_id(int(text))
    return text


def as_id(number: int) -> int:
    """A number as the kernel takes it: 32 bits, and -1 leaves the root that makes a file."""
    wrapped = number & _UNCHANGED
    return 0 if wrapped == _UNCHANGED else wrapped
