"""What a .proto file says, as data.

Comes in: the name of a .proto file beside this module. Goes out: its messages and enums. This reads
the part of the language that the files here use: messages, enums, `oneof`, `map` and `repeated`.
Rules: https://protobuf.dev/reference/protobuf/proto3-spec/.
Read next: `proto`, whose classes are those of protobuf's library; `values`, which needs no library.
"""

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files

from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

_PACKAGE = regex(r"^package ([\w.]+);", re.MULTILINE)
_IMPORT = regex(r'^import "([^"]+)";', re.MULTILINE)
_ENUM = regex(r"^enum (\w+) \{([^}]*)\}", re.MULTILINE)
_MESSAGE = regex(r"^message (\w+) \{((?:[^{}]|\{[^{}]*\})*)\}", re.MULTILINE)
_ONEOF = regex(r"oneof (\w+) \{([^}]*)\}")
_FIELD = regex(r"(repeated )?(?:map<(\w+), )?([\w.]+)>? (\w+) = (\d+);")


class Field(NamedTuple):
    """A field of a message. `key` is the type of the keys of a map, `choice` the name of the
    `oneof` that the field is in; most fields have neither."""

    name: str
    number: int
    kind: str
    repeated: bool
    key: str
    choice: str


class Schema(NamedTuple):
    """A file: the fields of each message, in order, and the numbers of each enum's names."""

    package: str
    imports: Sequence[str]
    messages: Mapping[str, Mapping[str, Field]]
    enums: Mapping[str, Mapping[str, int]]


def schema(name: str) -> Schema:
    """The schema in a file; the name is without the suffix."""
    text = files(__package__).joinpath(f"{name}.proto").read_text()
    text = re.sub("//.*", "", text)
    enums = {
        enum: {value: int(number) for value, number in re.findall(r"(\w+) = (\d+);", body)}
        for enum, body in _ENUM.findall(text)
    }
    messages = {message: _fields(body) for message, body in _MESSAGE.findall(text)}
    return Schema(_PACKAGE.findall(text)[0], _IMPORT.findall(text), messages, enums)


def _fields(body: str) -> Mapping[str, Field]:
    choices = {
        name: choice
        for choice, chosen in _ONEOF.findall(body)
        for _, _, _, name, _ in _FIELD.findall(chosen)
    }
    return {
        name: Field(name, int(number), kind, bool(repeated), key, choices.get(name, ""))
        for repeated, key, kind, name, number in _FIELD.findall(body)
    }
