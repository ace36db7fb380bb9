"""What the import and the export of cache mounts say: vertices of progress, and warnings."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from minibuild.digest import digest_strings
from minibuild.events import Completed, Planned, Started, VertexInfo, Warned
from minibuild.solve.workbench import Voice, Workbench


@contextmanager
def vertex(bench: Workbench, name: str) -> Iterator[Voice]:
    """A vertex of its own for a part of a build that is no step."""
    digest = digest_strings(("cache-mounts", name))
    bench.report(Planned((VertexInfo(digest, name),)))
    bench.report(Started(digest, time.time()))
    try:
        yield Voice(bench.report, digest)
    except BaseException as error:
        bench.report(Completed(digest, time.time(), error=str(error) or type(error).__name__))
        raise
    bench.report(Completed(digest, time.time()))


def warn(bench: Workbench, rule: str, message: str) -> None:
    """Something that the build goes on without."""
    bench.report(Warned(rule, message))
