"""Doing a Source: what comes from outside the graph, as results.

The layers of an image become a list of diffs that exist as blobs. Nothing is fetched or unpacked
for it: that happens when a step has to stand on them. Read next: `image`, `git`, `http`.
"""

from minibuild.cache.results import DiffKey, Result, VertexResult
from minibuild.digest import DiffID
from minibuild.graph.op import GitSource, HttpSource, ImageSource
from minibuild.progress.writer import ProgressWriter
from minibuild.source.image import ImageFinder
from minibuild.worker.context import BuildContext


class Sources:
    """The sources of one build. `finder` finds images by name."""

    def __init__(self, context: BuildContext) -> None:
        self.context = context
        self.finder = ImageFinder(
            context.worker.content,
            context.worker.images,
            context.registries,
            pull=context.pull,
            report=context.report,
            cancelled=context.cancelled,
        )
        self.base: set[DiffKey] = set()
        """The diffs that are layers of images; an export may not change these."""

    def image(self, op: ImageSource) -> tuple[Result, list[DiffID]]:
        """The layers of an image as diffs, each made on those below it, and their diff ids."""
        worker, found = self.context.worker, self.finder.image(op)
        result: Result = ()
        for layer in found.layers:
            worker.layers.add(layer)
            result = (*result, worker.cache.layer(result, layer, op.ref))
        self.base.update(result)
        return result, [layer.diff_id for layer in found.layers]

    def remote(
        self, op: HttpSource | GitSource, progress: ProgressWriter, *, ignore_cache: bool
    ) -> VertexResult:
        """A file from the web or a commit of a repository."""
        if isinstance(op, HttpSource):
            from minibuild.source.http import fetch_http

            return fetch_http(self.context, op, progress, ignore_cache=ignore_cache)
        from minibuild.source.git import fetch_git

        return fetch_git(self.context, op, progress, ignore_cache=ignore_cache)
