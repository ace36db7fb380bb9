"""Documents that others wrote: JSON, read member by member.

Comes in: bytes from any source. Goes out: typed values, or an error that names the document and the
member: `config sha256:...: config.Env[2] is a number, not a string`. All documents pass through
here: manifests, indexes, configs, caches, logins, answers of registries.

It accepts what Go's encoding/json accepts: null is the same as a missing member, and what is no
UTF-8, such as half of a surrogate pair, becomes U+FFFD. It refuses values that are nested so deep
that code which walks them would run out of stack, and numbers that JSON cannot write (NaN, 1e999).
Read next: `model`, which knows what the documents of images hold.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from minibuild.digest import Digest, InvalidDigest, parse_digest
from minibuild.errors import BuildError, ImageError
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

MAX_DOCUMENT_BYTES = 4 << 20
"""The size of a manifest that registries have to take (distribution spec, "Pushing Manifests")."""

_MAX_DEPTH = 100
_MAX_DIGITS = 300
_LAST_SECOND = 253402300799  # of the year 9999
_MAX_SHOWN = 80
_PLAIN = regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,79}")
_RFC3339 = regex(
    r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[Tt]([01]\d|2[0-3])(:[0-5]\d){2}(\.\d+)?"
    r"([Zz]|[+-]\d{2}:\d{2})"
)


class _Name(NamedTuple):
    """What a document is called in errors, and of which kind these are."""

    what: str
    error: type[BuildError]


class Member:
    """A value of a document, and where it stands: the whole at first, then what is in it.

    What is missing is a member too, whose value is None; so `document["config"]["Env"].texts()` is
    the list, or an empty one. What has the wrong type raises the `error` of the document.
    """

    __slots__ = ("_key", "_within", "value")

    def __init__(self, value: Any, within: "Member | _Name", key: str | int = "") -> None:
        self.value = value
        self._within = within
        self._key = key

    def __getitem__(self, name: str) -> "Member":
        """The member of that name; that of nothing is nothing."""
        value = self._typed(dict, "an object")
        return Member(None if value is None else value.get(name), self, name)

    def __contains__(self, name: str) -> bool:
        return self[name].value is not None

    def wrong(self, why: str) -> BuildError:
        """The error to raise: `why` follows the name of the member, as `is no digest`."""
        path, member = "", self
        while isinstance(within := member._within, Member):
            path, member = _step(member._key) + path, within
        where = f"{within.what}: {path.removeprefix('.')}" if path else within.what
        return within.error(f"{where} {why}")

    def text(self, otherwise: str = "") -> str:
        """A string; `otherwise` if it is missing."""
        value = self._typed(str, "a string")
        return otherwise if value is None else value

    def word(self) -> str:
        """A string that a system call will see: without a NUL."""
        text = self.text()
        if "\0" in text:
            raise self.wrong("has a NUL character in it")
        return text

    def flag(self) -> bool:
        """True or false; false if it is missing."""
        return bool(self._typed(bool, "true or false"))

    def whole(self, least: int = 0, most: int = 1 << 62) -> int:
        """A whole number, which must be there."""
        value = self._typed(int, "a whole number")
        if value is None or not least <= value <= most:
            what = "is missing" if value is None else f"is {value}"
            raise self.wrong(f"{what}: it must be a number from {least} to {most}")
        return int(value)

    def seconds(self) -> float:
        """A moment, in seconds since 1970, that a calendar has."""
        value = self.value if isinstance(self.value, float) else self._typed(int, "a number")
        if value is None or not 0 <= value <= _LAST_SECOND:
            raise self.wrong(f"is {value!r:.{_MAX_SHOWN}}, no moment in seconds since 1970")
        return float(value)

    def digest(self) -> Digest:
        """A digest, which must be there."""
        try:
            return parse_digest(self.text())
        except InvalidDigest:
            shown = "missing" if self.value is None else f"{self.value!r:.{_MAX_SHOWN}}"
            raise self.wrong(f"is {shown}, no sha256 digest") from None

    def time(self) -> str:
        """A time as RFC 3339 has it; empty if it is missing."""
        text = self.text()
        if text and not _RFC3339.fullmatch(text):
            raise self.wrong(f"is {text!r:.{_MAX_SHOWN}}, no time as RFC 3339 has it")
        return text

    def object(self) -> dict[str, Any]:
        """The object as it is; an empty one if it is missing."""
        value: dict[str, Any] | None = self._typed(dict, "an object")
        return value or {}

    def members(self) -> Iterator[tuple[str, "Member"]]:
        """The members of an object by their names; none if it is missing."""
        for name in self.object():
            yield name, self[name]

    def strings(self) -> dict[str, str]:
        """An object whose members are strings."""
        return {name: member.text() for name, member in self.members()}

    def items(self, most: int = 1 << 20) -> Iterator["Member"]:
        """The members of a list of up to `most`; none if it is missing."""
        values = self._typed(list, "a list") or ()
        if len(values) > most:
            raise self.wrong(f"has {len(values)} members: {most} are the most")
        for number, value in enumerate(values):
            yield Member(value, self, number)

    def texts(self) -> list[str]:
        """A list of strings, each of which is there; an empty one if it is missing."""
        return [item.required().text() for item in self.items()]

    def words(self) -> list[str]:
        """A list of strings that a system call will see."""
        return [item.required().word() for item in self.items()]

    def required(self) -> "Member":
        """The member itself, which must be there."""
        if self.value is None:
            raise self.wrong("is missing")
        return self

    def _typed(self, kind: type, name: str) -> Any:
        # True is an int in Python, and not in JSON.
        fits = isinstance(self.value, kind) and (kind is bool or not isinstance(self.value, bool))
        if self.value is not None and not fits:
            raise self.wrong(f"is {_kind(self.value)}, not {name}")
        return self.value


def parse_document(
    data: bytes, what: str, *, limit: int = MAX_DOCUMENT_BYTES, error: type[BuildError] = ImageError
) -> Member:
    """The document in `data`, which must be an object; `what` names it in errors."""
    document = parse_value(data, what, limit=limit, error=error)
    document.required().object()
    return document


def parse_value(
    data: bytes, what: str, *, limit: int = MAX_DOCUMENT_BYTES, error: type[BuildError] = ImageError
) -> Member:
    """The same for a document that need be no object."""
    if len(data) > limit:
        raise error(f"{what} is larger than {limit} bytes")
    text = data.decode("utf-8", "replace")
    try:
        value = json.loads(text, parse_int=_int, parse_float=_float, parse_constant=_refused)
        _check_depth(value)
    except RecursionError:
        raise error(f"{what} is nested too deep") from None
    except json.JSONDecodeError as fault:
        at = f"line {fault.lineno}, column {fault.colno}"
        raise error(f"{what} is not JSON: {fault.msg.lower()} at {at}") from None
    except ValueError as fault:
        raise error(f"{what} is not JSON: {fault}") from None
    # Only an escape can spell half of a pair: what is decoded has none.
    if "\\ud" in text or "\\uD" in text:
        value = _whole_characters(value)
    return Member(value, _Name(what, error))


def _step(key: str | int) -> str:
    """The last step to a member: `.Env`, `[2]` or `['80/tcp']`."""
    if isinstance(key, str) and _PLAIN.fullmatch(key):
        return f".{key}"
    return f"[{key!r:.{_MAX_SHOWN}}]"


def _refused(constant: str) -> float:
    raise ValueError(f"{constant} is no number")


def _int(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError("a number in it is too large")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError("a number in it is too large")
    return value


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > _MAX_DEPTH:
            raise RecursionError
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner += one.values()
            elif isinstance(one, list):
                inner += one
        level = [one for one in inner if isinstance(one, dict | list)]


def _whole_characters(value: Any) -> Any:
    match value:
        case str():
            return re.sub("[\ud800-\udfff]", "\ufffd", value)
        case list():
            return [_whole_characters(one) for one in value]
        case dict():
            return {_whole_characters(k): _whole_characters(v) for k, v in value.items()}
    return value


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return "a string"
        case int() | float():
            return "a number"
        case list():
            return "a list"
    return "an object"
