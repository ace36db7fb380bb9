"""Messages as plain values, for what needs their fields and not their bytes.

Comes in: the name of a .proto file beside this module. Goes out: classes with the fields of its
messages, which are used as those of `proto` are, but cannot be written as protobuf. They need no
library, so the keys of a cache are known where protobuf is not installed. `as_json` gives the
JSON of a message as Go's encoding/json writes the struct that protoc-gen-go makes of it.
Read next: `cachekeys`.
"""

import base64
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from minibuild.buildkit.schema import Schema, schema

_EMPTY = {"string": "", "bytes": b"", "bool": False}


def values(name: str) -> Mapping[str, Callable[..., Any]]:
    """The messages of a .proto file, by name."""
    said = schema(name)
    return {message: partial(Value, said, message) for message in said.messages}


class Value:
    """A message. A field that was not set is empty; a message in one is there once a field of its
    own is set."""

    __slots__ = ("_fields", "_kind", "_present", "_schema", "_set")

    def __init__(self, schema: Schema, kind: str, **fields: Any) -> None:
        self._schema = schema
        self._kind = kind
        self._fields = schema.messages[kind]
        self._set: dict[str, Any] = {}
        self._present: Callable[[], None] = lambda: None
        for name, value in fields.items():
            setattr(self, name, value)

    def __getattr__(self, name: str) -> Any:
        if name in self._set:
            return self._set[name]
        field = self._fields[name]
        if field.repeated:
            return self._set.setdefault(name, Values(partial(Value, self._schema, field.kind)))
        if field.key:
            return {}
        if field.kind not in self._schema.messages:
            return _EMPTY.get(field.kind, 0)
        made = Value(self._schema, field.kind)
        made._present = lambda: self._keep(name, made)
        return made

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
            return
        field = self._fields[name]
        if field.repeated:
            value = Values(partial(Value, self._schema, field.kind), value)
        elif isinstance(value, str) and field.kind in self._schema.enums:
            value = self._schema.enums[field.kind][value]
        self._keep(name, value)

    def _keep(self, name: str, value: Any) -> None:
        self._set[name] = value
        self._present()

    def has(self, name: str) -> bool:
        """Whether a field was set."""
        return name in self._set

    def CopyFrom(self, other: "Value") -> None:
        """Take all fields of another message of the kind."""
        self._set.update(other._set)
        self._present()

    def plain(self) -> dict[str, Any]:
        """The members of its JSON: fields in order, without those that are empty."""
        if self._kind == "UserOpt":  # BuildKit writes this one by hand
            known = {"byName": self._set.get("byName"), "byId": self._set.get("byID")}
            return {"User": {name: _plain(value) for name, value in known.items() if value}}
        found = ((name, self._set.get(name)) for name in self._fields)
        return {
            name: _plain(value)
            for name, value in found
            if isinstance(value, Value) or value not in (None, "", b"", 0, [], {})
        }


class Values(list[Any]):
    """A repeated field."""

    def __init__(self, kind: Callable[..., Any], items: Any = ()) -> None:
        super().__init__(items)
        self._make = kind

    def add(self, **fields: Any) -> Any:
        """Append a new message."""
        made = self._make(**fields)
        self.append(made)
        return made


def _plain(value: Any) -> Any:
    if isinstance(value, Value):
        return value.plain()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def as_json(value: Any) -> bytes:
    """Plain data as Go's encoding/json writes it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text.encode("utf-8", "surrogateescape")
