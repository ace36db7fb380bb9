"""Messages as the JSON of BuildKit's own programs, which are written in Go.

Comes in: a message. Goes out: data. Numbers are numbers, also of enums and with 64 bits; what is
not set is left out; the chosen field of a `oneof` is one level deeper, under the name of that.
Rules: moby/buildkit `solver/pb/json.go`.
"""

import base64
from typing import Any

_NAMES = {"byID": "byId"}


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
        name = _NAMES.get(field.name, field.name)
        if field.containing_oneof is None:
            found[name] = made
        else:
            found[field.containing_oneof.name.capitalize()] = {name: made}
    return found


def _value(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return go_json(value) if hasattr(value, "ListFields") else value
