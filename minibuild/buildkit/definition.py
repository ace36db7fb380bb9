"""The list of ops that a `DefinitionWriter` is, and what is said of each beside it.

Comes in: the message of an op, its inputs and its note. Goes out: the op's digest, by which others
name it. An op is hashed as it is written, so its bytes have to be those that BuildKit's client
writes in Go: fields by number, maps by key, and the `oneof` after all other fields.
Rules: moby/buildkit `solver/pb/ops.proto`, https://protobuf.dev/programming-guides/encoding/.
Read next: `encode`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from minibuild.buildkit.proto import messages
from minibuild.digest import Digest, digest_bytes
from minibuild.errors import SourceText, Span
from minibuild.graph.platform import Platform
from minibuild.graph.vertex import Note
from minibuild.startup.tuples import NamedTuple

SCRATCH = -1
"""In place of a number: an input that is the empty tree, an output that is dropped."""

OpBody = dict[str, Any]
"""A message of `ops.proto` as data: its members in their order there, None for what is not set."""


def set_platform(message: Any, platform: Platform) -> None:
    """Write a platform into a message."""
    message.OS, message.Architecture = platform.os, platform.architecture
    message.Variant, message.OSVersion = platform.variant, platform.os_version


def platform_in(message: Any) -> Platform | None:
    """The platform that a message has, if it has one."""
    if not message.OS:
        return None
    return Platform(message.OS, message.Architecture, message.Variant, message.OSVersion)


def ops_in(definition: Any) -> Iterator[tuple[Digest, bytes]]:
    """The ops of a message `Definition`, in order, by their digests."""
    for data in getattr(definition, "def"):  # the name is a keyword of Python
        yield digest_bytes(data), data


class OpOutput(NamedTuple):
    """What an op gives. Number 0 is its root filesystem, the others are what it left in mounts."""

    digest: Digest
    number: int = 0


class OpInputs:
    """The inputs of one op; equal ones are one."""

    __slots__ = ("outputs",)

    def __init__(self) -> None:
        self.outputs: list[OpOutput] = []

    def index(self, output: OpOutput | None) -> int:
        """The number by which the op names this input; `SCRATCH` is that of the empty tree."""
        if output is None:
            return SCRATCH
        if output not in self.outputs:
            self.outputs.append(output)
        return self.outputs.index(output)


class DefinitionWriter:
    """A definition in the making."""

    __slots__ = ("_ignores_cache", "_metadata", "_ops", "_spans", "_types")

    def __init__(self) -> None:
        self._types = messages("ops")
        self._ops: dict[Digest, bytes] = {}
        self._metadata: dict[Digest, Any] = {}
        self._spans: dict[Digest, Span] = {}
        self._ignores_cache = False

    def append(
        self,
        kind: str,
        body: OpBody,
        inputs: OpInputs,
        note: Note,
        *,
        caps: Iterable[str] = (),
        platform: Platform | None = None,
    ) -> OpOutput:
        """Add an op whose `oneof` is `kind`. One that is there already stays as it is."""
        op = self._types["Op"](inputs=map(_input, inputs.outputs), constraints={})
        if platform is not None:
            set_platform(op.platform, platform)
        digest = self._add(_bytes(op) + _bytes(self._types["Op"](**{kind: body})), note, caps)
        return OpOutput(digest)

    def _add(self, data: bytes, note: Note, caps: Iterable[str]) -> Digest:
        digest = digest_bytes(data)
        if digest not in self._ops:
            self._ops[digest] = data
            self._metadata[digest] = self._types["OpMetadata"](
                ignore_cache=note.ignore_cache,
                description={"llb.customname": note.name} if note.name else {},
                caps=dict.fromkeys(caps, True),
            )
            self._ignores_cache |= note.ignore_cache
            if note.span is not None:
                self._spans[digest] = note.span
        return digest

    def finish(self, result: OpOutput | None, sources: Sequence[SourceText], language: str) -> Any:
        """The whole message. Its last op has no kind, and its one input is the result."""
        if result is not None:
            caps = ["constraints", "meta.description", "platform"]
            caps += ["meta.ignorecache"] if self._ignores_cache else []
            self._add(_bytes(self._types["Op"](inputs=[_input(result)])), Note(), caps)
        made = self._types["Definition"](**{"def": self._ops.values(), "metadata": self._metadata})
        names = [source.name for source in sources]
        for digest, span in self._spans.items():
            place = made.Source.locations[digest].locations.add()
            place.sourceIndex = names.index(span.file) if span.file in names else 0
            for line in range(span.first, span.last + 1):
                place.ranges.add(start={"line": line}, end={"line": line})
        for source in sources:
            data = source.text.encode("utf-8", "surrogateescape")
            made.Source.infos.add(filename=source.name, data=data, language=language)
        return made


def _input(output: OpOutput) -> OpBody:
    return {"digest": output.digest, "index": output.number}


def _bytes(op: Any) -> bytes:
    return bytes(op.SerializeToString(deterministic=True))
