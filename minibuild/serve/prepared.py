"""What is known of a build before it begins: its request, and what it needs of its client.

Comes in: a request with empty folders in the place of the client's. Goes out: the same with the
client's folders, secrets and agents, which are asked for once, when they are needed.
Read next: `build`.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minibuild.errors import SourceText
from minibuild.serve.filesync import receive
from minibuild.serve.lending import agents, secrets
from minibuild.serve.needs import Needs
from minibuild.session.request import BuildRequest, FrontendCall

if TYPE_CHECKING:
    from minibuild.serve.build import Build

MAIN = "context"
"""How a client calls the folder of the main context."""


class Prepared:
    """One result that a client may ask for. `folders` maps contexts to the client's names, and
    `sources` names to the texts that a graph of the client was made from. `definition` is the
    graph as the client knows it, with the `config` of its image, and `calls` are what the client
    asked for to get it, of all images or of each. The results of one Dockerfile, one for each
    platform, are `parts` of one `whole`."""

    def __init__(
        self,
        request: BuildRequest,
        folders: Mapping[str, str],
        needs: Needs,
        sources: Mapping[str, SourceText] = {},
        definition: Any = None,
        config: bytes = b"",
        calls: tuple[FrontendCall, ...] = (),
    ) -> None:
        self.request = request
        self.calls = calls
        self.definition = definition
        self.config = config
        self.whole: Prepared | None = None
        self.parts: list[Prepared] = []
        self.sources = sources
        self._folders = folders
        self._needs = needs
        self._complete = False
        self._lock = threading.Lock()

    @property
    def definitions(self) -> Sequence[Any]:
        """The graphs of it, or of its parts."""
        found = [self.definition, *(part.definition for part in self.parts)]
        return [definition for definition in found if definition is not None]

    def add_part(self, request: BuildRequest, definition: Any, config: bytes) -> None:
        """Add one of the results that this is the whole of."""
        self._needs.add(definition)
        needs, sources = self._needs, self.sources
        made = Prepared(request, self._folders, needs, sources, definition, config, self.calls)
        made.whole = self
        self.parts.append(made)

    def complete(self, build: "Build") -> BuildRequest:
        """The request with all that the client has. Raises `Failure`."""
        with self._lock:
            if not self._complete:
                self._take(build)
                self._complete = True
            return self.request

    def _take(self, build: "Build") -> None:
        revisions: dict[str, str] = {}
        here = {name: self._receive(build, name, revisions) for name in self._folders}
        main = here.pop(MAIN, "")
        self.request = self.request._replace(
            context=main or self.request.context,
            contexts={**self.request.contexts, **here},
            revisions=revisions,
            secrets=secrets(build.session, self._needs.secrets),
            ssh=agents(build.session, self._needs.agents, build.folder, build.resources),
        )

    def _receive(self, build: "Build", name: str, revisions: dict[str, str]) -> str:
        """The client's folder of a context, here: what the graph reads of it. Notes which revision
        of it that is."""
        local = self._folders[name]
        session = build.session_of(local, self._needs.sessions.get(name, ""))
        place = build.resources.enter_context(
            build.builder.folders.folder(session.shared_key, name if name != MAIN else local)
        )
        wanted = self._needs.wanted.get(name)
        if wanted is not None:
            info = self._needs.vertices[name]
            wanted = wanted._replace(name=local)
            revision = receive(build.status, session, wanted, place, info)
            if revision:
                revisions[name] = revision
        return place
