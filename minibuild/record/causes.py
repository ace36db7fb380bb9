"""Why two keys differ: their parts side by side, down to the word that is another.

Comes in: what two keys were made of (`solver.key_parts`), the old one first. Goes out: causes.
Nothing here knows of builds or reads a file. Values of variables with secret names are not shown.
Read next: `story`, which says where the words come from, and what follows from what.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from minibuild.graph.address import without_passwords
from minibuild.graph.secret_names import may_be_secret
from minibuild.record.secrecy import hashed
from minibuild.startup.tuples import NamedTuple

CauseKind = Literal["argument", "environment", "file", "base", "pin", "step", "request", "unknown"]

KeyParts = Mapping[str, Any]
"""What a key was made of."""

_WORDS_OF_FIELDS = {
    "args": "command",
    "cwd": "working directory",
    "dest": "destination",
    "paths": "sources",
    "add_hosts": "hosts",
    "shm_size_bytes": "size of /dev/shm",
}
_SHOWN = 60
_CONTEXT = 12


class Cause(NamedTuple):
    """One thing that made a key another one. `path` is that of a file, `part` the number of the
    input that it was read from, `line` where the definition says it. `perhaps` marks a guess."""

    kind: CauseKind
    text: str
    path: str = ""
    part: int | None = None
    line: int = 0
    perhaps: bool = False
    note: str = ""

    def __str__(self) -> str:
        said = f"{self.text}   ({self.note})" if self.note else self.text
        return f"perhaps {said}" if self.perhaps else said


def differences(old: KeyParts, new: KeyParts) -> Iterator[Cause]:
    """What of two keys differs, but for the base."""
    yield from op_differences(old["op"], new["op"])
    before, after = _by_number(old["parts"]), _by_number(new["parts"])
    for number in sorted(before.keys() & after.keys()):
        one, other = before[number], after[number]
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            yield from _files(one, other, number)


def reads(parts: KeyParts) -> list[tuple[int, Mapping[str, str] | None]]:
    """What a step reads, part by part, as `solver.keys.readers` has it: the number of the input,
    and the fingerprints of the files in it, if they are known."""
    members = parts["op"].get("actions") or parts["op"].get("mounts") or ()
    numbers = [
        int(member["input"])
        for member in members
        if member["type"] in ("Copy", "BindMount")
        or (member["type"] == "CacheMount" and member["input"] >= 0)
    ]
    found = map(_by_number(parts["parts"]).get, range(len(numbers)))
    files = (one if isinstance(one, Mapping) else None for one in found)
    return list(zip(numbers, files, strict=True))


def _by_number(parts: Mapping[str, Any]) -> dict[int, Any]:
    """The parts by their numbers, which begin their names."""
    return {int(name.partition(":")[0]): found for name, found in parts.items()}


# --- The operation ---


def op_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Cause]:
    """What of two operations differs: arguments and environment."""
    for field in dict.fromkeys((*new, *old)):
        one, other = old.get(field), new.get(field)
        if one == other:
            continue
        if field == "env":
            yield from _environment(one or (), other or ())
        elif field in ("actions", "mounts"):
            yield from _members(field, one or (), other or ())
        else:
            yield Cause("argument", _changed(_WORDS_OF_FIELDS.get(field, field), one, other))


def _environment(old: Sequence[Any], new: Sequence[Any]) -> Iterator[Cause]:
    before, after = dict(old), dict(new)
    for name in sorted(before.keys() | after.keys()):
        one, other = before.get(name), after.get(name)
        if one == other or {hashed(v) for v in (one, other) if v} & {one, other}:
            continue  # In a record that was exported a secret value is its digest.
        if one is not None and other is not None and may_be_secret(name):
            text = f"{name}: another value, which is not shown"
        elif one is None:
            text = f"{name} is new" if may_be_secret(name) else f"{name} is new: {_value(other)}"
        elif other is None:
            text = f"{name} is gone"
        else:
            text = f"{name} {_value(one)} -> {_value(other)}"
        yield Cause("environment", text, path=name)


def _members(field: str, old: Sequence[Any], new: Sequence[Any]) -> Iterator[Cause]:
    """Actions of a File, or mounts of an Exec: compared one by one."""
    for number in range(max(len(old), len(new))):
        one = old[number] if number < len(old) else None
        other = new[number] if number < len(new) else None
        if one is None or other is None:
            verb, member = ("is new", other) if one is None else ("is gone", one)
            yield Cause("argument", f"{_member(member)} {verb}")
        elif one != other:
            for name in dict.fromkeys((*other, *one)):
                if not _equal(one.get(name), other.get(name)):
                    word = _WORDS_OF_FIELDS.get(name, name)
                    if field == "mounts":
                        word = f"{_member(other)}: {word}"
                    yield Cause("argument", _changed(word, one.get(name), other.get(name)))


def _member(member: Any) -> str:
    if not isinstance(member, Mapping):
        return "a part of it"
    kind = str(member.get("type", "")).removesuffix("Mount").lower()
    where = member.get("target") or member.get("dest") or member.get("path") or ""
    word = "mount" if "target" in member else ""
    return " ".join(filter(None, (kind, word, str(where))))


def _equal(old: Any, new: Any) -> bool:
    """Whether values are the same. In a record that was exported a text of a file is its digest."""
    if isinstance(old, Mapping) and isinstance(new, Mapping) and "bytes" in old and "bytes" in new:
        one, other = str(old["bytes"]), str(new["bytes"])
        return one == other or hashed(one) == other or one == hashed(other)
    return bool(old == new)


def _changed(what: str, old: Any, new: Any) -> str:
    if isinstance(old, Mapping) and "bytes" in old:
        return "the text of the file is another"
    one, other = _one_text(old), _one_text(new)
    if isinstance(one, str) and isinstance(other, str) and "@" in one + other:
        shown = without_passwords(one), without_passwords(other)
        if shown[0] == shown[1] and one != other:
            return f"{what}: another password in an address, which is not shown"
        one, other = shown
    if isinstance(one, str) and isinstance(other, str) and max(len(one), len(other)) > _SHOWN:
        same = next(
            (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
            min(len(one), len(other)),
        )
        if same > 2 * _CONTEXT:
            one, other = (f"…{text[same - _CONTEXT :]}" for text in (one, other))
    return f"{what} {_value(one)} -> {_value(other)}"


def _one_text(value: Any) -> Any:
    """A list as one text: of a shell's words the command."""
    if isinstance(value, list | tuple):
        words = [str(word) for word in value]
        return words[2] if len(words) == 3 and words[1] == "-c" else " ".join(words)
    return " ".join(value.split()) if isinstance(value, str) else value


def _value(value: Any) -> str:
    """A value as it is shown, in no more than a line."""
    text = _one_text(value)
    if text in (None, ""):
        return "none"
    if not isinstance(text, str):
        return str(text)
    text = without_passwords(text)
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")


# --- Files ---


def _files(old: Mapping[str, str], new: Mapping[str, str], number: int) -> Iterator[Cause]:
    for path in sorted(old.keys() | new.keys()):
        one, other = old.get(path), new.get(path)
        if one is None:
            yield Cause("file", f"{path} is new", path, number)
        elif other is None:
            yield Cause("file", f"{path} is gone", path, number)
        elif one != other:
            yield Cause("file", f"{path}: {fingerprint_difference(one, other)}", path, number)


def fingerprint_difference(old: str, new: str) -> str:
    """What of two fingerprints differs, in words."""
    one, other = _read(old), _read(new)
    if one is None or other is None:
        return "changed"
    if one["kind"] != other["kind"]:
        return f"a {one['kind']} -> a {other['kind']}"
    said = []
    for name in ("mode", "owner", "target", "link", "number"):
        if one.get(name, "") != other.get(name, ""):
            said.append(f"{name} {one.get(name) or 'none'} -> {other.get(name) or 'none'}")
    if one.get("data") != other.get("data") and "link" not in one and "link" not in other:
        said.insert(0, "contents")
    return ", ".join(said) or "changed"


def _read(words: str) -> dict[str, str] | None:
    """A fingerprint taken apart, see `fileop.hasher`; None if it is cut, or of several."""
    kind, _, rest = words.partition(" ")
    if kind not in ("dir", "file", "symlink", "fifo", "char", "block", "socket") or "; " in words:
        return None
    found = {"kind": {"dir": "directory", "char": "device", "block": "device"}.get(kind, kind)}
    if kind == "symlink":
        owner, blank, target = rest.partition(" ")
        if blank and _is_owner(owner):
            found["owner"], rest = owner, target
        found["target"] = rest
        return found
    word, _, after = rest.partition(" ")
    if _is_mode(word):
        found["mode"], rest = word, after
    if kind in ("char", "block"):
        rest, _, found["number"] = rest.rpartition(" ")
    word, _, after = rest.partition(" ")
    if _is_owner(word):
        found["owner"], rest = word, after
    if rest.startswith("hardlink "):
        found["link"] = rest.removeprefix("hardlink ")
    elif rest:
        found["data"] = rest
    return found


def _is_mode(word: str) -> bool:
    return len(word) == 4 and not word.strip("01234567")


def _is_owner(word: str) -> bool:
    uid, colon, gid = word.partition(":")
    return bool(colon) and uid.isdigit() and gid.isdigit()
