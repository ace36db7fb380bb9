"""One output of a build on its way: what each exporter gets, and what it gives back.

Read next: `image`, `trees`: an exporter for each kind of output.
"""

from typing import TYPE_CHECKING

from minibuild.exporter.result import SolveResult
from minibuild.graph.reference import Reference
from minibuild.oci.model import Descriptor
from minibuild.progress.writer import ProgressWriter
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.context import BuildContext

if TYPE_CHECKING:
    from minibuild.exporter.annotations import Annotation
    from minibuild.oci.config import AssembledImage


class OutputContext(NamedTuple):
    """What an exporter gets besides its `Output`: the build, what the solver made, and the names,
    annotations and time that are for all outputs."""

    build: BuildContext
    solved: SolveResult
    names: tuple[Reference, ...]
    epoch: int | None
    progress: ProgressWriter
    annotations: "tuple[Annotation, ...]" = ()
    squash: bool = False


class Exported(NamedTuple):
    """What one output wrote: the top document, its names, and the images below it."""

    top: Descriptor | None = None
    images: "tuple[AssembledImage, ...]" = ()
    names: tuple[Reference, ...] = ()
