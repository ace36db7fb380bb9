"""Saying of each image of a build what was asked: the one door into this package.

Comes in: a request, and what its build was made from. Goes out: for each image a descriptor, to
be put into the index beside it; for outputs that are files, a file for each statement.
Read next: `statement`.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from minibuild.attest.materials import materials
from minibuild.attest.packages import find_packages
from minibuild.attest.provenance import BuildFacts, local_definition, provenance
from minibuild.attest.sbom import PREDICATE_TYPE as SBOM
from minibuild.attest.sbom import sbom
from minibuild.attest.scanner import scanned
from minibuild.attest.statement import Predicate, attach, statement
from minibuild.attest.steps import Texts
from minibuild.attest.written import predicates_of
from minibuild.cache.results import VertexResult
from minibuild.digest import Digest
from minibuild.errors import UsageError
from minibuild.events import rfc3339
from minibuild.exporter.result import Attestor, ImageView, SolveResult, Subject, known_layers
from minibuild.frontend.definition import Definition
from minibuild.graph.context import context_vertex
from minibuild.graph.frontend import (
    Built,
    Frontend,
    FrontendResult,
    ImageContext,
    ImageResolver,
    LocalContext,
    StepAttestation,
)
from minibuild.graph.reference import Reference
from minibuild.graph.vertex import Vertex, topological
from minibuild.oci.content import ContentStore
from minibuild.oci.model import Descriptor
from minibuild.session.request import BuildRequest, BuildResult
from minibuild.solver.inputs import open_tree
from minibuild.source.source import Sources
from minibuild.worker.worker import Worker

_WORDS = 12
"""Bytes of an invocation's name: enough that no two builds have the same."""

_SBOM_FILE = "sbom.spdx.json"
_FILES = "files"
RECORD = "buildx.build.provenance"
"""The key of a build's metadata that has its provenance; the name is buildx's."""


class ImageAttestor(Attestor):
    """Says what was asked of the images of one build."""

    def __init__(
        self,
        sources: Sources,
        request: BuildRequest,
        definition: Definition,
        frontend: Frontend,
        done: Mapping[Digest, VertexResult],
        started: float,
    ) -> None:
        import os

        from minibuild import __version__

        name, now = os.urandom(_WORDS).hex(), time.time()
        self._asked = request.attestations
        self._context = sources.context
        texts, main = _origins(request, definition, frontend)
        ended, digest = max(now, started + 1e-6), sources.finder.digest
        self._build = BuildFacts(request, texts, main, frontend, done, name, started, ended, digest)
        self._tool = f"minibuild-{__version__}"

    @property
    def looks_inside(self) -> bool:
        return self._asked.sbom and not self._asked.generator

    def attest(
        self,
        content: ContentStore,
        built: Built,
        image: Descriptor,
        names: Sequence[Reference],
        view: ImageView,
        *,
        artifact: bool,
    ) -> Descriptor | None:
        said = self._predicates(built, str(names[0]) if names else image.digest, view)
        predicates = [self._with_layers(one, view) for one in said]
        if not predicates:
            return None
        return attach(content, image, names, predicates, artifact=artifact)

    def writes_files(self, built: Built) -> bool:
        provenance = bool(self._asked.mode) and not self._asked.inline_only
        return self.looks_inside or provenance or bool(built.attestations)

    def files(
        self, built: Built, subjects: Sequence[Subject], view: ImageView
    ) -> Mapping[str, bytes]:
        predicates = self._predicates(built, _FILES, view)
        return {
            predicate.file: statement(subjects, predicate)
            for predicate in predicates
            if predicate.file
        }

    def _predicates(self, built: Built, name: str, view: ImageView) -> list[Predicate]:
        """What was asked to be said of an image, or of files, called `name`."""
        said = [one for said in built.attestations for one in self._written(said, view)]
        if self.looks_inside and not any(one.type == SBOM for one in said):
            found = find_packages(view.tree_fd)
            for path in found.unread:
                view.remark(f"the SBOM lacks the packages in {path}: rpm's database is not read")
            at = rfc3339(int(self._build.finished) if view.epoch is None else view.epoch)
            said.append(sbom(found, name, at, self._tool)._replace(file=_SBOM_FILE))
        if self._asked.mode:
            file = "" if self._asked.inline_only else self._asked.filename
            made = provenance(self._build, built, view.number, view.layers)
            said.append(made._replace(file=file))
        return said

    def _written(self, said: StepAttestation, view: ImageView) -> list[Predicate]:
        """What a step wrote."""
        done = self._build.done.get(said.vertex.digest) if said.vertex else None
        with open_tree(self._context, said.vertex, done, view.remark) as tree:
            return predicates_of(said, tree.fd)

    def _with_layers(self, predicate: Predicate, view: ImageView) -> Predicate:
        """An SBOM that a step wrote, with the layers of the files in it."""
        if not (predicate.core and predicate.type == SBOM):
            return predicate
        from minibuild.attest.supplement import supplemented

        diffs, cancelled = self._context.worker.diffs, self._context.cancelled
        rows = [(diffs.get(key).layer, one.digest) for key, one in view.layers.items()]
        layers = [(layer, digest) for layer, digest in rows if layer is not None]
        content = supplemented(predicate.content, layers, self._tool, cancelled)
        return predicate._replace(content=content)

    def recorded(self, made: BuildResult, worker: Worker, solved: SolveResult) -> BuildResult:
        """The result of the build with its provenance in the metadata: all of it, if it is kept for
        later, and otherwise what was asked for."""
        asked, found = self._asked, dict[str, Any]()
        images = zip(solved.images, solved.results, strict=True)
        for number, (built, result) in enumerate(images if asked.mode or asked.recorded else ()):
            layers, mode = known_layers(worker, result), "max" if asked.recorded else ""
            predicate = provenance(self._build, built, number, layers, mode=mode)
            key = f"{RECORD}/{built.platform}" if solved.several else RECORD
            found[key] = predicate.content
        return made._replace(metadata={**made.metadata, **found})


def _origins(
    request: BuildRequest, definition: Definition, frontend: Frontend
) -> tuple[Texts, Vertex | None]:
    """The texts of a definition, and the main context."""
    if request.graphs:
        return Texts(request.attestations.sources, frontend.language), None
    main = definition.context
    assert not isinstance(main, ImageContext)  # they have names
    context = context_vertex(main, "", request.build_args, None)
    here = isinstance(main, LocalContext) or request.dockerfile is not None
    origin = local_definition() if here else context
    return Texts((definition.source,), frontend.language, origin), context


def ready(
    converted: FrontendResult,
    request: BuildRequest,
    definition: Definition,
    frontend: Frontend,
    resolver: ImageResolver,
) -> FrontendResult:
    """The images, with the steps that scan them if an image does that. Raises `UsageError` if the
    materials are to be complete, and a folder is among them."""
    asked = request.attestations
    if asked.complete:
        texts, main = _origins(request, definition, frontend)
        vertices = topological([*(image.vertex for image in converted.images), texts.origin, main])
        folders = materials(vertices, {}, request.contexts, asked.linked).locals
        if folders:
            raise UsageError(
                f"provenance materials are incomplete: no digest pins {', '.join(folders)}",
                hint="take the context from a repository, or leave complete-materials out",
            )
    if not asked.generator:
        return converted
    return FrontendResult(tuple(scanned(one, asked, resolver) for one in converted.images))
