"""What sources are asked with: a server on loopback, and a client with secrets."""

import threading
from collections.abc import Callable, Iterator, Mapping

import pytest

from minibuild.digest import digest_bytes
from minibuild.events import Event, Report
from minibuild.progress.writer import ProgressWriter
from minibuild.session.request import RegistryAccess
from minibuild.session.secrets import AgentSocket
from tests.support.webserver import WebServer, serving


class Asker:
    """A `source.web.Client`. `heard` are the events that it was told."""

    def __init__(self, secrets: Mapping[str, bytes]) -> None:
        self.registries = RegistryAccess()
        self.secret: Callable[[str], bytes | None] = secrets.get
        self.ssh: Callable[[str], AgentSocket | None] = lambda name: None
        self.cancelled = threading.Event()
        self.heard: list[Event] = []
        self.report: Report = self.heard.append
        self.progress = ProgressWriter(self.report, digest_bytes(b"a source"))


@pytest.fixture
def asker() -> Callable[..., Asker]:
    """Makes clients; secrets are given by their ids."""
    return lambda secrets=None: Asker(secrets or {})


@pytest.fixture
def web() -> Iterator[WebServer]:
    """A web server on loopback."""
    with serving() as server:
        yield server
