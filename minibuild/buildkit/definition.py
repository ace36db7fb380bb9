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

    __slots__ = ("_ignores_cache", "_message", "_op", "_spans", "_written")

    def __init__(self) -> None:
        self._op = messages("ops")["Op"]
        self._message = messages("ops")["Definition"]()
        self._written: set[Digest] = set()
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
        given = [{"digest": digest, "index": number} for digest, number in inputs.outputs]
        op = self._op(inputs=given, constraints={})
        if platform is not None:
            set_platform(op.platform, platform)
        rest = self._op(**{kind: body})
        data = op.SerializeToString(deterministic=True) + rest.SerializeToString(deterministic=True)
        digest = digest_bytes(data)
        if digest not in self._written:
            self._written.add(digest)
            self._ops.append(data)
            self._describe(digest, note, caps)
        return OpOutput(digest)

    @property
    def _ops(self) -> Any:
        return getattr(self._message, "def")

    def _describe(self, digest: Digest, note: Note, caps: Iterable[str]) -> None:
        metadata = self._message.metadata[digest]
        metadata.ignore_cache = note.ignore_cache
        self._ignores_cache |= note.ignore_cache
        if note.name:
            metadata.description["llb.customname"] = note.name
        for cap in caps:
            metadata.caps[cap] = True
        if note.span is not None:
            self._spans[digest] = note.span

    def _locate(self, digest: Digest, span: Span, names: Sequence[str]) -> None:
        location = self._message.Source.locations[digest].locations.add()
        if span.file in names:
            location.sourceIndex = names.index(span.file)
        for line in range(span.first, span.last + 1):
            line_range = location.ranges.add()
            line_range.start.line = line_range.end.line = line

    def finish(self, result: OpOutput | None, sources: Sequence[SourceText], language: str) -> Any:
        """The whole message. Its last op has no kind, and its one input is the result."""
        names = [source.name for source in sources]
        for digest, span in self._spans.items():
            self._locate(digest, span, names)
        if result is not None:
            last = self._op(inputs=[{"digest": result.digest, "index": result.number}])
            data = last.SerializeToString(deterministic=True)
            self._ops.append(data)
            caps = ["constraints", "meta.description", "platform"]
            caps += ["meta.ignorecache"] if self._ignores_cache else []
            for cap in caps:
                self._message.metadata[digest_bytes(data)].caps[cap] = True
        for source in sources:
            data = source.text.encode("utf-8", "surrogateescape")
            self._message.Source.infos.add(filename=source.name, data=data, language=language)
        return self._message
