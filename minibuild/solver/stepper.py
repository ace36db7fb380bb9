"""Someone who looks at a build step by step.

Comes in: what the solver knows of a vertex before it is done, and after. Goes out: nothing; a
stepper takes its time, and may end the build by an exception. With one, vertices are done one at a
time and in order, whatever could run beside them.
Read next: `solver`.
"""

from collections.abc import Sequence
from typing import Protocol

from minibuild.cache.results import VertexResult
from minibuild.errors import SourceText
from minibuild.graph.vertex import Vertex
from minibuild.solver.keys import ReadyVertex
from minibuild.solver.lookup import Answer
from minibuild.worker.context import BuildContext


class Stepper(Protocol):
    """What is called by the thread that started the build."""

    def begin(
        self, build: BuildContext, source: SourceText, targets: Sequence[Vertex | None]
    ) -> None:
        """The graph is known, and nothing is done."""

    def before(self, ready: ReadyVertex, answer: Answer) -> None:
        """The next vertex, and what a look-up found."""

    def after(self, vertex: Vertex, found: VertexResult) -> None:
        """It is done, or was found."""
