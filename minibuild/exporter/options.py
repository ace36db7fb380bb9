"""The attributes of an output, checked: `type=oci,dest=x,compression=zstd`.

Comes in: an `Output` of the request. Goes out: typed options, or a `UsageError` for a value that
makes no sense. As in BuildKit an unknown attribute has no effect; a warning says so, and what was
perhaps meant.
"""

import os
from collections.abc import Iterable, Mapping
from typing import Literal, TypeVar, assert_never, cast

from minibuild.digest import Digest
from minibuild.errors import DefinitionError, UsageError
from minibuild.events import Report, Warned
from minibuild.exporter.annotations import Annotation, check_platforms, parse_attribute, parse_flag
from minibuild.graph.frontend import EPOCH_SECONDS
from minibuild.graph.literals import parse_bool
from minibuild.graph.platform import misspelt
from minibuild.graph.reference import Reference, parse_reference
from minibuild.graph.spelling import nearest, one_of
from minibuild.oci.model import Compression
from minibuild.session.request import BuildRequest, Output, OutputType
from minibuild.startup.tuples import NamedTuple

_LAYER_KEYS = (
    "name",
    "compression",
    "compression-level",
    "force-compression",
    "oci-mediatypes",
    "oci-artifact",
    "attestation-inline",
    "rewrite-timestamp",
    "source-date-epoch",
)
_PUSH_KEYS = ("push", "push-by-digest", "registry.insecure")
_STORE_KEYS = ("store", "unpack", "name-canonical", "dangling-name-prefix")
_KEYS: Mapping[OutputType, tuple[str, ...]] = {
    "oci": (*_LAYER_KEYS, "tar"),
    "docker": (*_LAYER_KEYS, "tar"),
    "image": (*_LAYER_KEYS, *_PUSH_KEYS, *_STORE_KEYS),
    "registry": (*_LAYER_KEYS, *_PUSH_KEYS, *_STORE_KEYS),
    "local": ("platform-split", "source-date-epoch", "mode", "attestation-prefix"),
    "tar": ("platform-split", "source-date-epoch", "attestation-prefix"),
    "cacheonly": (),
}
# Attributes that buildx documents and that have no meaning here, and what to do instead.
_REASONS: Mapping[str, str] = {
    "context": "it names a context of docker's: set DOCKER_CONTEXT, and use --load",
    "prefer-nondist-layers": "layers are always written as those that may be distributed",
    "compatibility-version": "there is one version: the same input gives the same image",
}
_RULE = "OutputAttribute"
D = TypeVar("D", bound=bool | None)
_COMPRESSIONS = ("uncompressed", "gzip", "zstd")
NO_ATTESTATIONS = 'cannot export attestations with "oci-mediatypes=false"'
NO_PLACE = "leave out oci-mediatypes=false, or what Docker's media types have no place for"
NAMELESS = "an image without a name cannot be pushed"
NAMELESS_HINT = "give it one: --tag REGISTRY/NAME:TAG, or name=... in the output"


class PushOptions(NamedTuple):
    """How an image is pushed. `insecure` allows its registries to do without TLS."""

    by_digest: bool = False
    insecure: bool = False


class ImageOptions(NamedTuple):
    """How an image is written. `compression` None means: as the layers are.

    `force_compression` is about layers that exist with another compression; without it only new
    layers are compressed as asked. `epoch` replaces that of the build. Without `store` the
    image gets no name in the store; with `unpack` its files are laid out there, as for a RUN.
    Attestations are an `oci_artifact`, or in the form of an image; with `attestation_inline` also
    those that are `inline-only`. `name_canonical` adds names with
    the digest; an image without any name is called
    `dangling_prefix@DIGEST`, if there is a prefix.
    """

    names: tuple[Reference, ...] = ()
    compression: Compression | None = None
    level: int | None = None
    force_compression: bool = False
    oci_mediatypes: bool = True
    rewrite_timestamp: bool = False
    annotations: tuple[Annotation, ...] = ()
    tar: bool = True
    epoch: int | None = None
    push: PushOptions | None = None
    store: bool = True
    unpack: bool = False
    name_canonical: bool = False
    dangling_prefix: str = ""
    oci_artifact: bool = True
    attestation_inline: bool = False


class TreeOptions(NamedTuple):
    """How a tree is written. `platform_split` None: a folder for each if there are several.

    With `delete` the destination holds what the result holds, and nothing else. The names of the
    files with attestations begin with `attestation_prefix`.
    """

    platform_split: bool | None = None
    epoch: int | None = None
    delete: bool = False
    attestation_prefix: str = ""


def form_of(kind: OutputType) -> Literal["image", "tree", "nothing"]:
    """What an output is made from: the layers of an image, a tree of files, or nothing."""
    match kind:
        case "image" | "registry" | "oci" | "docker":
            return "image"
        case "local" | "tar":
            return "tree"
        case "cacheonly":
            return "nothing"
    assert_never(kind)


def written_as(output: Output) -> Literal["file", "folder", "nothing"]:
    """What an output writes at its destination: a file or stream, a folder, or nothing."""
    match output.type:
        case "tar":
            return "file"
        case "oci" | "docker":
            return "file" if _Values(output).boolean("tar", True) else "folder"
        case "local":
            return "folder"
        case "image" | "registry" | "cacheonly":
            return "nothing"
    assert_never(output.type)


def check_outputs(request: BuildRequest, report: Report) -> None:
    """Find the slips in all outputs before anything is built, and not when the build is done.

    Raises `UsageError`, and `HostError` for what may not be written; reports warnings.
    """
    for platform in request.platforms:
        if meant := misspelt(platform):
            report(Warned("Platform", f"no machine is {platform}; did you mean {meant}?"))
    for tag in request.tags:
        if _reference(tag).digest:
            raise UsageError(
                f"a tag cannot contain a digest: {tag}", hint="the digest comes from the build"
            )
    if sum(output.dest == "-" for output in request.outputs) > 1:
        raise UsageError(
            "standard output can take one output, and several are to go there",
            hint="name a file with dest=FILE for the others",
        )
    for output in request.outputs:
        for key in output.attributes:
            if not _is_known(key, output.type):
                report(Warned(_RULE, _unknown(key, output.type)))
        _check_output(output, request)


def _check_output(output: Output, request: BuildRequest) -> None:
    form = form_of(output.type)
    if form == "tree":
        tree, split = tree_options(output), len(request.platforms) > 1
        if tree.delete and not (split if tree.platform_split is None else tree.platform_split):
            from minibuild.exporter.local import refuse_precious

            refuse_precious(os.fspath(output.dest))
    elif form == "image":
        options = image_options(output)
        given = [one for text in request.annotations for one in parse_flag(text)]
        given += options.annotations
        check_platforms(given, request.platforms)
        if not options.oci_mediatypes:
            _check_media_types(output, options, request, given)
        if options.push is not None and not (request.tags or options.names):
            raise UsageError(NAMELESS, hint=NAMELESS_HINT)
    check_destination(output)


def _check_media_types(
    output: Output, options: ImageOptions, request: BuildRequest, given: Iterable[Annotation]
) -> None:
    """Whether the image has only what Docker's media types have a place for."""
    attestations = request.attestations
    said = attestations.sbom or (
        attestations.mode and (options.attestation_inline or not attestations.inline_only)
    )
    if options.oci_artifact:
        problem = 'exporter option "oci-artifact=true" conflicts with "oci-mediatypes=false"'
    elif any(one.place != "manifest" for one in given):
        problem = 'cannot export annotations with "oci-mediatypes=false"'
    elif said and output.type != "docker":
        problem = NO_ATTESTATIONS
    else:
        return
    raise UsageError(problem, hint=NO_PLACE)


def check_destination(output: Output) -> None:
    """Whether this process may write where the output is to go. Raises `UsageError` or
    `HostError`."""
    kind = written_as(output)
    if output.dest and kind != "nothing":
        from minibuild.exporter.destination import check_file, check_folder

        (check_file if kind == "file" else check_folder)(os.fspath(output.dest))


def image_options(output: Output, epoch: int | None = None) -> ImageOptions:
    """The options of an output that is an image; `epoch` is that of the whole build. Raises
    `UsageError`."""
    values = _Values(output)
    compression = values.choice("compression", _COMPRESSIONS)
    oci_mediatypes = values.boolean("oci-mediatypes", True)
    return ImageOptions(
        values.names(),
        cast(Compression | None, compression),
        values.level(cast(Compression, compression or "gzip")),
        values.boolean("force-compression", False),
        oci_mediatypes,
        values.boolean("rewrite-timestamp", False),
        values.annotations,
        values.boolean("tar", True),
        values.epoch(epoch),
        _push_options(output, values),
        values.boolean("store", True),
        values.boolean("unpack", False),
        values.boolean("name-canonical", False),
        values.text("dangling-name-prefix"),
        values.boolean("oci-artifact", oci_mediatypes),
        values.boolean("attestation-inline", output.type in ("image", "registry")),
    )


def full_names(
    names: tuple[Reference, ...], digest: Digest, options: ImageOptions
) -> tuple[Reference, ...]:
    """The names that an image gets in the store: those given, and those that its digest makes."""
    given = tuple(name for name in names if name.tag)
    if not names and options.dangling_prefix:
        return (_reference(f"{options.dangling_prefix}@{digest}"),)
    if options.name_canonical:
        given += tuple(name._replace(tag="", digest=digest) for name in names)
    return tuple(dict.fromkeys(given))


def _reference(text: str) -> Reference:
    try:
        return parse_reference(text)
    except DefinitionError as error:
        raise UsageError(error.message, hint=error.hint) from None


def _push_options(output: Output, values: "_Values") -> PushOptions | None:
    """How to push; None if the output is not for a registry."""
    if output.type not in ("image", "registry"):
        return None
    by_digest = values.boolean("push-by-digest", False)
    insecure = values.boolean("registry.insecure", False)
    if not values.boolean("push", output.type == "registry"):
        if by_digest or insecure:
            raise UsageError(
                "push-by-digest and registry.insecure need push=true", hint="or use type=registry"
            )
        return None
    return PushOptions(by_digest, insecure)


def tree_options(output: Output, epoch: int | None = None) -> TreeOptions:
    """The options of an output that is files; `epoch` is that of the whole build. Raises
    `UsageError`."""
    values = _Values(output)
    split = values.boolean("platform-split", None)
    mode = values.choice("mode", ("copy", "delete"))
    prefix = values.text("attestation-prefix")
    if "/" in prefix or "\0" in prefix:
        raise UsageError(
            f"attestation-prefix={prefix} has a slash", hint="it is the beginning of a file's name"
        )
    return TreeOptions(split, values.epoch(epoch), mode == "delete", prefix)


class _Values:
    """The attributes of one output, asked for by name."""

    def __init__(self, output: Output) -> None:
        self._values = output.attributes
        given = (parse_attribute(key, value) for key, value in output.attributes.items())
        self.annotations = tuple(annotation for annotation in given if annotation)

    def text(self, key: str) -> str:
        return self._values.get(key, "")

    def choice(self, key: str, allowed: tuple[str, ...]) -> str | None:
        value = self._values.get(key)
        if value is not None and value not in allowed:
            raise UsageError(f"unknown {key} {value!r}", hint=one_of(value, allowed))
        return value

    def boolean(self, key: str, default: D) -> bool | D:
        value = self._values.get(key)
        if value is None:
            return default
        try:
            return not value or parse_bool(value)  # no value means true
        except ValueError:
            raise UsageError(f"{key}={value} is neither true nor false") from None

    def level(self, compression: Compression) -> int | None:
        text = self._values.get("compression-level")
        if text is None:
            return None
        from minibuild.layer.compress import parse_level

        return parse_level(text, compression)

    def epoch(self, general: int | None) -> int | None:
        value = self._values.get("source-date-epoch")
        if value is None:
            return general
        if value and not EPOCH_SECONDS.fullmatch(value):
            raise UsageError(
                f"source-date-epoch={value} is not a number",
                hint="give seconds since 1970, as `date +%s` does, or nothing for no epoch",
            )
        return int(value) if value else None

    def names(self) -> tuple[Reference, ...]:
        words = filter(None, self.text("name").split(","))
        return tuple(_reference(word.strip()) for word in words)


def _is_known(key: str, kind: OutputType) -> bool:
    known = _KEYS[kind]
    return key in known or ("name" in known and parse_attribute(key, "") is not None)


def _unknown(key: str, kind: OutputType) -> str:
    """What is to be said of an attribute that has no effect."""
    known = _KEYS[kind]
    if not (why := _REASONS.get(key, "")):
        near = nearest(key, ("type", "dest", *known), most=2)
        why = f"did you mean {near!r}?" if near else f"it has {', '.join(sorted(known)) or 'none'}"
    return f"output type={kind} has no attribute {key!r}, which is ignored; {why}"
