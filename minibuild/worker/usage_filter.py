"""Which things in the store are meant: the filters of `prune` and of BuildKit's clients.

Comes in: selectors with commas between them, all of which have to hold: `type==exec.cachemount`,
`id~=^sha256:ab`, `description!=x`, `mutable`. Docker's form with one `=` means the same as two.
Goes out: a test of one thing. Rules: containerd `filters`, moby/buildkit `cache/manager.go`.
Read next: `prune`.
"""

import re
from collections.abc import Callable, Mapping

from minibuild.errors import UsageError
from minibuild.startup.regex import regex
from minibuild.worker.gc import UsageRecord

Matches = Callable[[UsageRecord], bool]

_TYPES = {"record": "regular", "cache-mount": "exec.cachemount"}
_SELECTOR = regex(r'([a-z]+)(?:(==|!=|~=|=)(?:"((?:[^"\\]|\\.)*)"|([^\s,=][^\s,]*)))?(?:,|$)')
_KNOWN = frozenset("id description parents type inuse mutable immutable shared private".split())


def record_type(record: UsageRecord) -> str:
    """What BuildKit calls a thing of this kind."""
    return _TYPES.get(record.kind, "internal")


def everything(record: UsageRecord) -> bool:
    """The test that all things pass."""
    return True


def parse_filter(text: str) -> Matches:
    """The test that a text describes. Raises `UsageError`."""
    tests, position = [], 0
    while position < len(text):
        found = _SELECTOR.match(text, position)
        if found is None or found[1] not in _KNOWN:
            raise UsageError(
                f"unknown filter {text!r}",
                hint="such as until=24h, type=exec.cachemount, id~=^sha256:ab, description~=apt",
            )
        value = found[4] if found[3] is None else re.sub(r"\\(.)", r"\1", found[3])
        tests.append(_test(found[1], found[2] or "", value or ""))
        position = found.end()
    return (lambda record: all(test(record) for test in tests)) if tests else everything


def _test(field: str, operator: str, value: str) -> Matches:
    if not operator:
        return lambda record: field in _fields(record)
    if operator == "~=":
        try:
            pattern = re.compile(value)
        except re.error as error:
            raise UsageError(f"the filter {field}~={value} is no pattern: {error}") from None
        return lambda record: pattern.search(_fields(record).get(field, "")) is not None
    equal = operator != "!="
    return lambda record: (_fields(record).get(field, "") == value) is equal


def _fields(record: UsageRecord) -> Mapping[str, str]:
    """The fields that a thing has. What is only true or not has no text."""
    found = {"id": record.id, "type": record_type(record), "private": ""}
    if record.description:
        found["description"] = record.description
    found["mutable" if record.kind == "cache-mount" else "immutable"] = ""
    return found
