"""File modes as `--chmod` says them: octal (`0755`) or symbolic (`u=rwX,go=rX`, `+x`, `g=u`).

Comes in: text. Goes out: a `ModeRule` that turns the mode of a source into that of its copy. The
language is that of chmod(1) as BuildKit reads it, by BSD's setmode(3) without a umask. Where that
differs from GNU's chmod:

- `+w` is for all classes;
- a `t` counts for a clause that names user, group or no class, and is ignored for others alone; a
  clause that names no class is about the sticky bit alone once it has a `t`;
- letters of permissions and of classes may be mixed (`g=ru`);
- directories lose their set-id bits like files.

Read next: `fileop.plan`, where modes of copies are made.
"""

import re
import stat
from collections.abc import Iterator

from minibuild.errors import DefinitionError
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

_ALL_BITS = 0o7777
_STICKY = stat.S_ISVTX
_EVERY_CLASS = 0o6777
_SET_IDS = stat.S_ISUID | stat.S_ISGID
_OTHERS = stat.S_IRWXO
_EXECUTE = 0o111
_WHO = {
    "u": stat.S_ISUID | stat.S_IRWXU,
    "g": stat.S_ISGID | stat.S_IRWXG,
    "o": _OTHERS,
    "a": _EVERY_CLASS,
}
_PERMISSIONS = {"r": 0o444, "w": 0o222, "x": _EXECUTE}
_SHIFT = {"u": 6, "g": 3, "o": 0}
_CLAUSE = regex(r"([ugoa]*)((?:[-+=][rwxXstugo]*)+)")
_ACTION = regex(r"([-+=])([rwxXstugo]*)")
_END = "."
_HINT = "write it like 0755, u=rwX,go=rX or +x"


class _Step(NamedTuple):
    """One change to those bits that are in `who`: add `bits`, take them away, or have just them.

    `copied` is a class whose permissions come in place of `bits`. `only_executable` is about
    directories and about what could be executed before any change.
    """

    operator: str
    who: int
    bits: int = 0
    copied: str = ""
    only_executable: bool = False

    def apply(self, mode: int) -> int:
        bits = self.bits
        if self.copied:
            bits = (mode >> _SHIFT[self.copied] & 0o7) * 0o111
        if self.operator == "-":
            return mode & ~(bits & self.who)
        kept = mode & ~self.who if self.operator == "=" else mode
        return kept | bits & self.who


class ModeRule(NamedTuple):
    """What `--chmod` asks for: an exact mode, or steps from the mode that is there."""

    exact: int | None
    steps: tuple[_Step, ...] = ()

    def apply(self, mode: int) -> int:
        """The permission bits (0-07777) for a source of this `st_mode`."""
        if self.exact is not None:
            return self.exact
        bits = stat.S_IMODE(mode)
        can_execute = stat.S_ISDIR(mode) or bits & _EXECUTE
        for step in self.steps:
            if can_execute or not step.only_executable:
                bits = step.apply(bits)
        return bits

    @property
    def made_mode(self) -> int:
        """The mode of directories that no source has: the exact one less its special bits."""
        return 0o755 if self.exact is None else self.exact & 0o777


def parse_mode(text: str) -> ModeRule:
    """The rule that `text` spells. Raises `DefinitionError`."""
    if re.match("[0-9]", text):
        if set(text) <= set("01234567") and int(text, 8) <= _ALL_BITS:
            return ModeRule(int(text, 8))
        raise DefinitionError(
            f"invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777",
            hint=_HINT,
        )
    steps: list[_Step] = []
    for clause in text.split(","):
        found = _CLAUSE.fullmatch(clause)
        if found is None:
            raise DefinitionError(f"invalid chmod parameter: '{text}': invalid syntax", hint=_HINT)
        who = 0
        for letter in found[1]:
            who |= _WHO[letter]
        for operator, letters in _ACTION.findall(found[2]):
            steps += _steps(who, operator, letters)
    return ModeRule(None, tuple(steps))


def _steps(who: int, operator: str, letters: str) -> Iterator[_Step]:
    """The changes of one operator and its letters; `who` is 0 where no class is named."""
    bits = execute = 0
    is_new = operator == "="  # which empties the classes, if only once
    for letter in (*letters, _END):
        if letter in _PERMISSIONS:
            bits |= _PERMISSIONS[letter]
        elif letter == "X":
            bits |= _EXECUTE if operator == "-" else 0
            execute |= _EXECUTE if operator != "-" else 0
        elif letter in "st":
            if who & ~_OTHERS or not who:
                bits |= _STICKY if letter == "t" else _SET_IDS
                who |= _STICKY if letter == "t" else 0
        else:
            is_last = letter == _END
            if bits or (is_last and is_new):
                yield _Step(operator, who or _EVERY_CLASS, bits)
            if execute:
                yield _Step("+", who or _EVERY_CLASS, execute, only_executable=True)
            if not is_last:
                yield _Step(operator, (who or _EVERY_CLASS) & 0o777, copied=letter)
            bits, execute, is_new = 0, 0, False
