"""Message classes from a .proto file, made when they are needed.

Comes in: the name of a .proto file beside this module. Goes out: its message classes, by name.
Code that protoc generates works with one major version of the library only. So nothing is
generated: the files are read here, and become the descriptors that the library makes classes of.
This reads the part of the language that they use: messages, enums, `oneof`, `map` and `repeated`.
The file `ops.proto` has the messages of LLB.
Rules: https://protobuf.dev/reference/protobuf/proto3-spec/. Read next: `encode`.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from minibuild.errors import UsageError
from minibuild.startup.regex import regex

_SCALARS = ("double", "float", "int64", "uint64", "int32", "bool", "string", "bytes", "uint32")
_PACKAGE = regex(r"^package ([\w.]+);", re.MULTILINE)
_IMPORT = regex(r'^import "([^"]+)";', re.MULTILINE)
_ENUM = regex(r"^enum (\w+) \{([^}]*)\}", re.MULTILINE)
_MESSAGE = regex(r"^message (\w+) \{((?:[^{}]|\{[^{}]*\})*)\}", re.MULTILINE)
_ONEOF = regex(r"oneof (\w+) \{([^}]*)\}")
_FIELD = regex(r"(repeated )?(?:map<(\w+), )?([\w.]+)>? (\w+) = (\d+);")
_VALUE = regex(r"(\w+) = (\d+);")


@cache
def messages(*names: str) -> Mapping[str, Any]:
    """The message classes of .proto files, which may use each other's types. Each set is made once:
    that takes as long as it takes to write a definition.

    The names are those of the files without the suffix. Keys are names of messages without their
    package. Raises `UsageError` if the library is not installed.
    """
    try:
        from google.protobuf import descriptor_pool
    except ImportError:
        raise UsageError(
            "this needs the Python package protobuf",
            hint="install it with: pip install 'minibuild[buildkit]'",
        ) from None
    pool = descriptor_pool.DescriptorPool()
    classes: dict[str, Any] = {}
    for name in names:
        pool.AddSerializedFile(_descriptor(name).SerializeToString())
        for message in pool.FindFileByName(f"{name}.proto").message_types_by_name.values():
            classes[message.name] = _class_of(message)
    return MappingProxyType(classes)


def _class_of(message: Any) -> Any:
    from google.protobuf import message_factory

    factory: Any = message_factory
    if hasattr(factory, "GetMessageClass"):
        return factory.GetMessageClass(message)
    return factory.MessageFactory().GetPrototype(message)  # before protobuf 4.22


def _descriptor(name: str) -> Any:
    """A file as a `FileDescriptorProto`."""
    from google.protobuf import descriptor_pb2

    text = files(__package__).joinpath(f"{name}.proto").read_text()
    text = re.sub("//.*", "", text)
    (package,) = _PACKAGE.findall(text)
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{name}.proto", package=package, dependency=_IMPORT.findall(text), syntax="proto3"
    )
    for enum, body in _ENUM.findall(text):
        values = [{"name": value, "number": int(number)} for value, number in _VALUE.findall(body)]
        file.enum_type.add(name=enum, value=values)
    for message, body in _MESSAGE.findall(text):
        described = file.message_type.add(name=message)
        for choice, chosen in _ONEOF.findall(body):
            for field in _FIELD.findall(chosen):
                _add(package, described, *field).oneof_index = len(described.oneof_decl)
            described.oneof_decl.add(name=choice)
        for field in _FIELD.findall(re.sub(_ONEOF.pattern, "", body)):
            _add(package, described, *field)
    return file


def _add(package: str, message: Any, repeated: str, key: str, kind: str, name: str, at: str) -> Any:
    made = message.field.add(name=name, number=int(at))
    made.label = made.LABEL_REPEATED if repeated or key else made.LABEL_OPTIONAL
    if key:  # A map is a repeated message of keys and values.
        entry = message.nested_type.add(name=f"{name[:1].upper()}{name[1:]}Entry")
        entry.options.map_entry = True
        _add(package, entry, "", "", key, "key", "1")
        _add(package, entry, "", "", kind, "value", "2")
        kind = f"{package}.{message.name}.{entry.name}"
    if kind in _SCALARS:
        made.type = getattr(made, f"TYPE_{kind.upper()}")
    else:  # The library finds out whether it is a message or an enum.
        made.type_name = f".{kind}" if "." in kind else f".{package}.{kind}"
    return made
