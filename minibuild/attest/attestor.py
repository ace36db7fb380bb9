"""Saying of each image of a build what was asked: the one door into this package.

Comes in: a request, and what its build was made from. Goes out: for each image a descriptor, to
be put into the index beside it. Read next: `statement`.
"""

import time
from collections.abc import Mapping, Sequence

from minibuild.attest.packages import find_packages
from minibuild.attest.provenance import Build, provenance
from minibuild.attest.sbom import sbom
from minibuild.attest.statement import Predicate, attach
from minibuild.digest import Digest
from minibuild.errors import SourceText
from minibuild.exporter.result import ImageView
from minibuild.graph.frontend import Built, Frontend
from minibuild.oci.config import rfc3339
from minibuild.oci.content import ContentStore
from minibuild.oci.model import Descriptor
from minibuild.oci.reference import Reference
from minibuild.session.request import BuildRequest

_WORDS = 12
"""Bytes of an invocation's name: enough that no two builds have the same."""


class ImageAttestor:
    """Implements `exporter.result.Attestor` for the images of one build."""

    def __init__(
        self,
        request: BuildRequest,
        source: SourceText,
        frontend: Frontend,
        pins: Mapping[Digest, str],
        started: float,
    ) -> None:
        import os

        from minibuild import __version__

        name, now = os.urandom(_WORDS).hex(), time.time()
        self._asked = request.attestations
        self._build = Build(request, source, frontend, pins, name, started, now)
        self._tool = f"minibuild-{__version__}"

    @property
    def looks_inside(self) -> bool:
        """See `exporter.result.Attestor.looks_inside`."""
        return self._asked.sbom

    def attest(
        self,
        content: ContentStore,
        built: Built,
        image: Descriptor,
        names: Sequence[Reference],
        view: ImageView,
    ) -> Descriptor:
        """See `exporter.result.Attestor.attest`."""
        said: list[Predicate] = []
        if self._asked.sbom:
            found = find_packages(view.tree_fd)
            for path in found.unread:
                view.remark(f"the SBOM lacks the packages in {path}: rpm's database is not read")
            at = rfc3339(int(self._build.finished) if view.epoch is None else view.epoch)
            name = str(names[0]) if names else image.digest
            said.append(sbom(found, name, at, self._tool))
        if self._asked.mode:
            said.append(provenance(self._build, built))
        return attach(content, image, names, said)
