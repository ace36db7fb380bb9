"""What the import and the export of caches work on, and what they say: vertices of progress, and
warnings."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from minibuild.digest import digest_strings
from minibuild.events import Completed, Planned, Report, Started, VertexInfo, Warned
from minibuild.session.request import RegistryAccess
from minibuild.solver.workbench import Voice
from minibuild.startup.tuples import NamedTuple
from minibuild.store.layout import Store


class Scene(NamedTuple):
    """The store whose caches travel, how registries are reached, who listens, who can stop it."""

    store: Store
    access: RegistryAccess
    report: Report
    cancelled: threading.Event


@contextmanager
def vertex(report: Report, name: str) -> Iterator[Voice]:
    """A vertex of its own for a part of a build that is no step."""
    digest = digest_strings(("beside", name))
    report(Planned((VertexInfo(digest, name),)))
    report(Started(digest, time.time()))
    try:
        yield Voice(report, digest)
    except BaseException as error:
        report(Completed(digest, time.time(), error=str(error) or type(error).__name__))
        raise
    report(Completed(digest, time.time()))


def warn(report: Report, rule: str, message: str) -> None:
    """Something that the build goes on without."""
    report(Warned(rule, message))
