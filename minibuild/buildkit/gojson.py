"""JSON as BuildKit's own programs write it, which are written in Go.

Comes in: a message of protobuf, or the same as data. Goes out: data, and its text. Numbers are
numbers, also of enums and with 64 bits; what is not set is left out; the chosen field of a `oneof`
is one level deeper, under the name of that.
Rules: Go's encoding/json; moby/buildkit `solver/pb/json.go`.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

NAMES = {"byID": "byId"}
"""Members that are called otherwise than their fields."""


def go_json(message: Any) -> dict[str, Any]:
    """A message as data."""
    found: dict[str, Any] = {}
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            made: Any = {key: _value(value[key]) for key in sorted(value)}
        elif isinstance(value, bytes | str | int) or hasattr(value, "ListFields"):
            made = _value(value)
        else:
            made = [_value(item) for item in value]
        name = NAMES.get(field.name, field.name)
        if field.containing_oneof is None:
            found[name] = made
        else:
            found[field.containing_oneof.name.capitalize()] = {name: made}
    return found


def _value(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return go_json(value) if hasattr(value, "ListFields") else value


def without_empty(value: Any) -> Any:
    """Data of a message without what is empty in it, but for messages that are there."""
    if isinstance(value, Mapping):
        found = ((name, without_empty(one)) for name, one in value.items())
        return {name: one for name, one in found if isinstance(one, dict) or one}
    if isinstance(value, list | tuple):
        return [without_empty(item) for item in value]
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def as_json(value: Any) -> bytes:
    """Plain data as Go's encoding/json writes it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text.encode("utf-8", "surrogateescape")
