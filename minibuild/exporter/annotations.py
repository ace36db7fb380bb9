"""Annotations: text that a person attaches to a manifest, an index, or to what points at them.

Comes in: attributes such as `annotation-index[linux/amd64].key=value`, and flags such as
`--annotation manifest,index:key=value`. Goes out: `Annotation` values, and the annotations for a
place. Rules: image-spec annotations.md; the syntax is that of BuildKit and buildx.
"""

import re
from collections.abc import Collection, Iterable
from typing import Literal, cast

from minibuild.errors import DefinitionError, UsageError
from minibuild.graph.platform import Platform, parse_platform
from minibuild.graph.spelling import one_of
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

AnnotationPlace = Literal["manifest", "manifest-descriptor", "index", "index-descriptor"]
PLACES = ("manifest", "manifest-descriptor", "index", "index-descriptor")

_ATTRIBUTE = regex(r"annotation(?:-([a-z-]+))?(?:\[([^\]]*)\])?\.(.+)", re.DOTALL)
_TYPE = regex(r"([a-z-]+)(?:\[([^\]]*)\])?")


class Annotation(NamedTuple):
    """One annotation; without a platform it is for all images of the build. An index is for all
    platforms, so one that is named for it says nothing."""

    place: AnnotationPlace
    key: str
    value: str
    platform: Platform | None = None


def parse_attribute(key: str, value: str) -> Annotation | None:
    """The annotation that an attribute is, if it is one."""
    found = _ATTRIBUTE.fullmatch(key)
    return found and _annotation(found[1] or "manifest", found[2], found[3], value)


def parse_flag(text: str) -> tuple[Annotation, ...]:
    """The annotations of `--annotation [TYPE[PLATFORM][,TYPE...]:]KEY=VALUE`."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"invalid annotation {text!r}", hint="write KEY=VALUE")
    types, colon, key = name.partition(":")
    if not colon:
        types, key = "manifest", name
    elif not all(_TYPE.fullmatch(part) for part in types.split(",")):
        types, key = "manifest", name  # A colon within the key itself.
    found: list[Annotation] = []
    for part in types.split(","):
        matched = _TYPE.fullmatch(part)
        assert matched is not None
        found.append(_annotation(matched[1], matched[2], key, value))
    return tuple(found)


def _annotation(place: str, platform: str | None, key: str, value: str) -> Annotation:
    if not key:
        raise UsageError("an annotation has no key", hint="write KEY=VALUE")
    if place not in PLACES:
        raise UsageError(f"unknown annotation type {place!r}", hint=one_of(place, PLACES))
    try:
        parsed = None if platform is None else parse_platform(platform)
    except DefinitionError as error:
        raise UsageError(error.message, hint=error.hint) from None
    return Annotation(cast(AnnotationPlace, place), key, value, parsed)


def annotations_for(
    annotations: Iterable[Annotation], place: AnnotationPlace, platform: Platform | None = None
) -> dict[str, str]:
    """What is to be written at a place, of the image for a platform; later ones win."""
    return {
        a.key: a.value
        for a in annotations
        if a.place == place
        and (a.platform is None or place.startswith("index") or a.platform == platform)
    }


def check_platforms(annotations: Iterable[Annotation], platforms: Collection[Platform]) -> None:
    """Raise `UsageError` for an annotation of a platform that is not among several."""
    for annotation in annotations if len(platforms) > 1 else ():
        if annotation.platform is not None and annotation.platform not in platforms:
            raise UsageError(
                f"invalid annotation: the build is not for {annotation.platform}",
                hint=f"it is for {', '.join(map(str, platforms))}",
            )
