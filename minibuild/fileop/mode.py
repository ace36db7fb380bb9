"""File modes as `--chmod` says them: octal (`0755`) or symbolic (`u=rwX,go=rX`, `+x`, `g=u`).

Comes in: text. Goes out: a `ModeRule` that turns the mode of a source into that of its copy. The
language is that of chmod(1), POSIX "chmod, Extended description"; a clause that names nobody
(`+w`) spares the bits of a umask of 022, whatever that of this process is.
"""

import stat

from minibuild.errors import DefinitionError
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

_UMASK = 0o022
_ALL_BITS = 0o7777
_EXECUTE = 0o111
_WHO = {
    "u": stat.S_ISUID | stat.S_IRWXU,
    "g": stat.S_ISGID | stat.S_IRWXG,
    "o": stat.S_ISVTX | stat.S_IRWXO,
    "a": _ALL_BITS,
}
_PERMISSIONS = {
    "r": 0o444,
    "w": 0o222,
    "x": _EXECUTE,
    "s": stat.S_ISUID | stat.S_ISGID,
    "t": stat.S_ISVTX,
}
_SHIFT = {"u": 6, "g": 3, "o": 0}
_CLAUSE = regex(r"([ugoa]*)((?:[-+=](?:[ugo]|[rwxXst]*))+)")
_ACTION = regex(r"([-+=])([ugo]|[rwxXst]*)")


class _Action(NamedTuple):
    """One change: `who` are the bits it may touch (0: nobody was named)."""

    who: int
    operator: str
    permissions: str


class ModeRule(NamedTuple):
    """What `--chmod` asks for: an exact mode, or actions on the mode that is there."""

    exact: int | None
    actions: tuple[_Action, ...] = ()

    def apply(self, mode: int) -> int:
        """The permission bits (0-07777) for a source of this `st_mode`."""
        if self.exact is not None:
            return self.exact
        bits = stat.S_IMODE(mode)
        for action in self.actions:
            bits = _act(action, bits, stat.S_ISDIR(mode))
        return bits

    @property
    def made_mode(self) -> int:
        """The mode of directories that no source has: the exact one less its special bits."""
        return 0o755 if self.exact is None else self.exact & 0o777


def parse_mode(text: str) -> ModeRule:
    """The rule that `text` spells. Raises `DefinitionError`."""
    if text.isdecimal():
        if text.isascii() and not set(text) & set("89") and int(text, 8) <= _ALL_BITS:
            return ModeRule(int(text, 8))
        raise DefinitionError(
            f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777",
            hint="write for example --chmod=0755",
        )
    actions: list[_Action] = []
    for clause in text.split(","):
        found = _CLAUSE.fullmatch(clause)
        if found is None:
            raise DefinitionError(
                f"invalid chmod parameter: '{text}': '{clause}' is neither octal nor symbolic",
                hint="write for example --chmod=0755, --chmod=u=rwX,go=rX or --chmod=+x",
            )
        who = 0
        for letter in found[1]:
            who |= _WHO[letter]
        actions.extend(_Action(who, op, what) for op, what in _ACTION.findall(found[2]))
    return ModeRule(None, tuple(actions))


def _act(action: _Action, bits: int, is_directory: bool) -> int:
    value = _value(action.permissions, bits, is_directory)
    # chmod(1) leaves set-id bits of directories alone unless the clause speaks of them.
    mentioned = value & action.who if action.who else value
    spared = (stat.S_ISUID | stat.S_ISGID) & ~mentioned if is_directory else 0
    value &= (action.who or ~_UMASK) & ~spared
    if action.operator == "+":
        return bits | value
    if action.operator == "-":
        return bits & ~value
    kept = (_ALL_BITS & ~action.who if action.who else 0) | spared
    return (bits & kept) | value


def _value(permissions: str, bits: int, is_directory: bool) -> int:
    """The bits that letters stand for, for user, group and others alike."""
    if permissions in _SHIFT:
        return (bits >> _SHIFT[permissions] & 0o7) * 0o111
    value = 0
    for letter in permissions:
        if letter == "X":
            value |= _EXECUTE if is_directory or bits & _EXECUTE else 0
        else:
            value |= _PERMISSIONS[letter]
    return value
