"""What definitions meant that were converted before, for a process that builds more than once.

A frontend is a pure function of what it is asked and of what its resolver says of images. So an
answer is good again if it is asked the same, and the images that it looked up are what they were.
Read next: `bridge`.
"""

from collections.abc import Mapping
from typing import Any

from minibuild.errors import BuildError
from minibuild.graph.frontend import (
    Epoch,
    Finding,
    Frontend,
    FrontendRequest,
    FrontendResult,
    ImageResolver,
    NoNotes,
    ResolvedImage,
    Warn,
)
from minibuild.graph.platform import Platform
from minibuild.startup.tuples import NamedTuple

_MAX_KEPT = 16
_NO_NOTES = NoNotes()


class Conversions:
    """The last conversions of a process. Threads may share them."""

    def __init__(self) -> None:
        self.kept: tuple[_Conversion, ...] = ()

    def known_to(self, frontend: Frontend) -> Frontend:
        """The frontend, which takes them into account."""
        return _Remembering(frontend, self)


class _Conversion(NamedTuple):
    asked: tuple[type[Frontend], FrontendRequest]
    images: tuple[tuple[str, Platform, ResolvedImage], ...]
    findings: tuple[Finding, ...]
    result: FrontendResult

    def holds(self, resolver: ImageResolver) -> bool:
        """Whether the names of images mean what they did."""
        try:
            return all(resolver.resolve(ref, on) == found for ref, on, found in self.images)
        except BuildError:
            return False  # The frontend asks again, and knows in which line.


class _NotingResolver(ImageResolver):
    """A resolver, and what it `found`."""

    def __init__(self, resolver: ImageResolver) -> None:
        self._resolver = resolver
        self.found: list[tuple[str, Platform, ResolvedImage]] = []

    def resolve(self, ref: str, platform: Platform) -> ResolvedImage:
        image = self._resolver.resolve(ref, platform)
        self.found.append((ref, platform, image))
        return image


class _Remembering(Frontend):
    """A frontend with earlier conversions."""

    def __init__(self, frontend: Frontend, earlier: Conversions) -> None:
        self._frontend = frontend
        self._earlier = earlier
        self.name, self.language = frontend.name, frontend.language
        self.version = frontend.version

    def convert(
        self, request: FrontendRequest, resolver: ImageResolver, warn: Warn
    ) -> FrontendResult:
        """What the frontend returns, with the same findings."""
        asked = type(self._frontend), request._replace(notes=_NO_NOTES)
        for kept in self._earlier.kept:
            if kept.asked == asked and kept.holds(resolver):
                for finding in kept.findings:
                    warn(finding)
                return kept.result
        images, findings = _NotingResolver(resolver), list[Finding]()

        def note(finding: Finding) -> None:
            findings.append(finding)
            warn(finding)

        result = self._frontend.convert(request, images, note)
        made = _Conversion(asked, tuple(images.found), tuple(findings), result)
        others = [kept for kept in self._earlier.kept if kept.asked != asked]
        self._earlier.kept = (made, *others[: _MAX_KEPT - 1])
        return result

    def epoch(self, request: FrontendRequest) -> Epoch:
        return self._frontend.epoch(request)

    def subrequest(
        self, method: str, request: FrontendRequest, resolver: ImageResolver, warn: Warn
    ) -> Mapping[str, Any]:
        return self._frontend.subrequest(method, request, resolver, warn)
