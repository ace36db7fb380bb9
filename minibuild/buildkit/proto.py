"""Message classes from a .proto file, made when they are needed.

Comes in: the name of a .proto file beside this module. Goes out: its message classes, by name.
Code that protoc generates works with one major version of the library only. So nothing is
generated: this reads the part of the language that the files here use (messages, enums, `oneof`,
`map`, `repeated`, `stream`) into the descriptors that the library makes classes of.
Rules: https://protobuf.dev/reference/protobuf/proto3-spec/.
The file `ops.proto` has the messages of LLB. Read next: `encode`.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from minibuild.errors import UsageError
from minibuild.startup.regex import regex

_TOKEN = regex(r'//[^\n]*|"([^"]*)"|([\w.]+|[{}();=<>,])')
_SCALARS = ("double", "float", "int64", "uint64", "int32", "bool", "string", "bytes", "uint32")


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
        text = files(__package__).joinpath(f"{name}.proto").read_text()
        pool.AddSerializedFile(_File(f"{name}.proto", text).parsed().SerializeToString())
        for message in pool.FindFileByName(f"{name}.proto").message_types_by_name.values():
            classes[message.name] = _class_of(message)
    return MappingProxyType(classes)


def _class_of(message: Any) -> Any:
    from google.protobuf import message_factory

    factory: Any = message_factory
    if hasattr(factory, "GetMessageClass"):
        return factory.GetMessageClass(message)
    return factory.MessageFactory().GetPrototype(message)  # before protobuf 4.22


class _File:
    """One .proto file as it is read, token by token."""

    def __init__(self, name: str, text: str) -> None:
        from google.protobuf import descriptor_pb2

        self._file = descriptor_pb2.FileDescriptorProto(name=name, syntax="proto3")
        self._tokens = self._split(text)
        self._types: set[str] = set(re.findall(r"^\s*message (\w+)", text, re.MULTILINE))
        self._enums: set[str] = set(re.findall(r"^\s*enum (\w+)", text, re.MULTILINE))

    @staticmethod
    def _split(text: str) -> Iterator[str]:
        for token in _TOKEN.finditer(text):
            if not token[0].startswith("//"):
                yield token[1] if token[1] is not None else token[2]

    def parsed(self) -> Any:
        """The file as a `FileDescriptorProto`."""
        for token in self._tokens:
            if token == "package":
                self._file.package = next(self._tokens)
            elif token == "import":
                self._file.dependency.append(next(self._tokens))
            elif token == "message":
                self._message(self._file.message_type.add(name=next(self._tokens)))
            elif token == "enum":
                self._enum(self._file.enum_type.add(name=next(self._tokens)))
        return self._file

    def _enum(self, enum: Any) -> None:
        self._expect("{")
        while (name := next(self._tokens)) != "}":
            self._expect("=")
            enum.value.add(name=name, number=int(next(self._tokens)))
            self._expect(";")

    def _message(self, message: Any) -> None:
        self._expect("{")
        while (token := next(self._tokens)) != "}":
            if token == "oneof":
                message.oneof_decl.add(name=next(self._tokens))
                self._expect("{")
                while (kind := next(self._tokens)) != "}":
                    field = self._field(message, kind)
                    field.oneof_index = len(message.oneof_decl) - 1
            elif token == "map":
                self._map(message)
            elif token == "repeated":
                field = self._field(message, next(self._tokens))
                field.label = field.LABEL_REPEATED
            else:
                self._field(message, token)

    def _field(self, message: Any, kind: str) -> Any:
        field = message.field.add(name=next(self._tokens))
        field.label = field.LABEL_OPTIONAL
        self._type(field, kind)
        self._expect("=")
        field.number = int(next(self._tokens))
        self._expect(";")
        return field

    def _map(self, message: Any) -> None:
        """A map is a repeated message of keys and values."""
        self._expect("<")
        key = next(self._tokens)
        self._expect(",")
        value = next(self._tokens)
        self._expect(">")
        name = next(self._tokens)
        self._expect("=")
        number = int(next(self._tokens))
        self._expect(";")
        entry = message.nested_type.add(name=f"{name[:1].upper()}{name[1:]}Entry")
        entry.options.map_entry = True
        for i, (member, kind) in enumerate((("key", key), ("value", value)), 1):
            field = entry.field.add(name=member, number=i)
            field.label = field.LABEL_OPTIONAL
            self._type(field, kind)
        field = message.field.add(name=name, number=number)
        field.label = field.LABEL_REPEATED
        field.type = field.TYPE_MESSAGE
        field.type_name = f".{self._file.package}.{message.name}.{entry.name}"

    def _type(self, field: Any, kind: str) -> None:
        if kind in _SCALARS:
            field.type = getattr(field, f"TYPE_{kind.upper()}")
            return
        field.type = field.TYPE_ENUM if kind in self._enums else field.TYPE_MESSAGE
        here = kind in self._types or kind in self._enums
        field.type_name = f".{self._file.package}.{kind}" if here else f".{kind}"

    def _expect(self, token: str) -> None:
        found = next(self._tokens)
        if found != token:
            raise ValueError(f"{self._file.name}: {found!r} where {token!r} should be")
