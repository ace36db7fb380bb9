"""Message classes from a .proto file, made when they are needed.

Comes in: the name of a .proto file beside this module. Goes out: its message classes, by name.
Code that protoc generates works with one major version of the library only. So nothing is
generated: what `schema` reads becomes the descriptors that the library makes classes of. The file
`ops.proto` has the messages of LLB. Read next: `schema`, `encode`.
"""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from minibuild.buildkit.schema import Field, Schema, schema
from minibuild.errors import UsageError

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

    said = schema(name)
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{name}.proto", package=said.package, dependency=said.imports, syntax="proto3"
    )
    for enum, numbers in said.enums.items():
        made = file.enum_type.add(name=enum)
        for value, number in numbers.items():
            made.value.add(name=value, number=number)
    for message, fields in said.messages.items():
        described = file.message_type.add(name=message)
        choices = list(dict.fromkeys(field.choice for field in fields.values() if field.choice))
        for choice in choices:
            described.oneof_decl.add(name=choice)
        for field in fields.values():
            found = _add(said, described, field)
            if field.choice:
                found.oneof_index = choices.index(field.choice)
    return file


def _add(said: Schema, message: Any, field: Field) -> Any:
    made = message.field.add(name=field.name, number=field.number)
    many = field.repeated or field.key
    made.label = made.LABEL_REPEATED if many else made.LABEL_OPTIONAL
    if not field.key:
        _set_type(said, made, field.kind)
        return made
    # A map is a repeated message of keys and values.
    entry = message.nested_type.add(name=f"{field.name[:1].upper()}{field.name[1:]}Entry")
    entry.options.map_entry = True
    for number, (name, kind) in enumerate((("key", field.key), ("value", field.kind)), 1):
        member = entry.field.add(name=name, number=number, label=made.LABEL_OPTIONAL)
        _set_type(said, member, kind)
    made.type = made.TYPE_MESSAGE
    made.type_name = f".{said.package}.{message.name}.{entry.name}"
    return made


def _set_type(said: Schema, field: Any, kind: str) -> None:
    if kind in _SCALARS:
        field.type = getattr(field, f"TYPE_{kind.upper()}")
        return
    field.type = field.TYPE_ENUM if kind in said.enums else field.TYPE_MESSAGE
    here = kind in said.messages or kind in said.enums
    field.type_name = f".{said.package}.{kind}" if here else f".{kind}"
