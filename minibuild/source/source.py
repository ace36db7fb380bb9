"""Doing a Source: what comes from outside the graph, as results.

The layers of an image become a list of diffs that exist as blobs. Nothing is fetched or unpacked
for it: that happens when a step has to stand on them.
"""

from minibuild.cache.blobs import StoreLayers
from minibuild.cache.records import Cache
from minibuild.cache.results import DiffKey, Result
from minibuild.graph.op import GitSource, HttpSource, ImageSource
from minibuild.solver.cachekey import image_key
from minibuild.solver.trees import Solved
from minibuild.solver.workbench import Voice, Workbench
from minibuild.source.image import ImageFinder


class Sources:
    """The sources of one build."""

    def __init__(
        self, bench: Workbench, cache: Cache, layers: StoreLayers, finder: ImageFinder
    ) -> None:
        self._bench = bench
        self._cache = cache
        self._layers = layers
        self._finder = finder
        self.base: set[DiffKey] = set()
        """The diffs that are layers of images; an export may not change these."""

    def image(self, op: ImageSource) -> Solved:
        """The layers of an image as diffs, each made on those below it."""
        found = self._finder.image(op)
        result: Result = ()
        for layer in found.layers:
            self._layers.learn(layer, found.blobs)
            result = (*result, self._cache.layer(result, layer, op.ref))
        self.base.update(result)
        return Solved(result, image_key([layer.diff_id for layer in found.layers]), cached=True)

    def remote(self, op: HttpSource | GitSource, voice: Voice, *, ignore_cache: bool) -> Solved:
        """A file from the web or a commit of a repository."""
        if isinstance(op, HttpSource):
            from minibuild.source.http import fetch_http

            return fetch_http(self._bench, self._cache, op, voice, ignore_cache=ignore_cache)
        from minibuild.source.git import fetch_git

        return fetch_git(self._bench, self._cache, op, voice, ignore_cache=ignore_cache)
