"""What a client wants to be built, as a result that it can ask for.

Comes in: a Dockerfile's attributes, or a definition of LLB. Goes out: the message `Result`, with an
id by which the client asks for it, or with the answer to a question. Nothing is built here, but
what another build of the same client has to give. Read next: `definition`; `bridge`, which calls
this.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from minibuild.buildflags.request import build_request
from minibuild.buildkit.decode import decode
from minibuild.buildkit.rpc import Failure
from minibuild.errors import BuildError, SourceText
from minibuild.frontend.subrequests import Method
from minibuild.graph.flat import flatten
from minibuild.graph.image import ImageConfig
from minibuild.graph.platform import Platform, host_platform
from minibuild.serve.answers import failure_of
from minibuild.serve.attributes import cache_place
from minibuild.serve.build import Build
from minibuild.serve.definition import (
    Definition,
    answer_metadata,
    ask,
    check_frontend,
    question,
)
from minibuild.serve.lending import logins
from minibuild.serve.needs import Needs
from minibuild.serve.prepared import Prepared
from minibuild.serve.uploads import fetch_layout
from minibuild.session.request import BuildRequest, Output

Show = Callable[[Method, Mapping[str, Any]], tuple[Sequence[str], int]]
"""Makes lines and an exit code of the answer to a question."""


class Gateway:
    """Makes results for the clients of a builder."""

    def __init__(self, show: Show) -> None:
        self._show = show

    def result(self, build: Build, request: Any, attributes: Mapping[str, str]) -> Any:
        """The result of a call: of a definition, or of a frontend's attributes. Raises
        `Failure`."""
        if getattr(request.Definition, "def"):
            return self._of_llb(build, request.Definition)
        check_frontend(request.Frontend, attributes)
        return self._of_dockerfile(build, attributes, request.FrontendInputs)

    # --- definitions of LLB ---

    def _of_llb(self, build: Build, definition: Any) -> Any:
        return _result(build, self._prepared(build, definition), definition)

    def _prepared(self, build: Build, definition: Any) -> Prepared:
        try:
            vertex = decode(definition)
        except BuildError as error:
            raise failure_of(error) from None
        needs = Needs(build.builder.types)
        needs.add(definition)
        folders = {wanted.name: wanted.name for wanted in needs.wanted.values()}
        needs.wanted = {wanted.name: wanted for wanted in needs.wanted.values()}
        graph = flatten(vertex, ImageConfig(host_platform(), {}))
        options = {"allow": list(build.asked.Entitlements), "graph": graph}
        made = build_request(build.folder, options, build.builder.environment)
        sources = {
            info.filename: SourceText(info.filename, info.data.decode("utf-8", "surrogateescape"))
            for info in definition.Source.infos
        }
        return Prepared(_with_logins(build, made, needs.images), folders, needs, sources)

    # --- Dockerfiles ---

    def _of_dockerfile(
        self, build: Build, attributes: Mapping[str, str], inputs: Mapping[str, Any]
    ) -> Any:
        from tempfile import mkdtemp

        method = question(attributes)
        definition = Definition(attributes, mkdtemp(prefix="definition-", dir=build.folder))
        definition.fetch(build.session)
        made = definition.request(
            {
                "cache_to": [cache_place(c.Type, c.Attrs) for c in build.asked.Cache.Exports],
                "allow": list(build.asked.Entitlements),
                "contexts": {
                    **self._inputs(build, definition, inputs),
                    **_layouts(build, definition),
                },
            },
            build.builder.environment,
        )
        made = _with_logins(build, made, definition.image_names())
        if method is not None:
            answer = ask(made, method, build.builder.root, build.status)
            lines, code = self._show(method, answer)
            result = build.builder.types["Result"](metadata=answer_metadata(answer, lines, code))
            result.ref.SetInParent()
            return result
        needs = Needs(build.builder.types)
        graphs = [_graph(build, made, platform) for platform in made.platforms or (None,)]
        for graph in graphs:
            needs.add(graph)
        return _result(build, Prepared(made, definition.folders, needs), graphs[0])

    def _inputs(
        self, build: Build, definition: Definition, given: Mapping[str, Any]
    ) -> dict[str, str]:
        """Contexts that are results of builds of the client, as layouts in our folder."""
        found = {}
        for number, (name, key) in enumerate(definition.inputs().items()):
            if key not in given:
                raise Failure(f"the input {key} is not there")
            layout = os.path.join(build.folder, f"input-{number}")
            output = Output("oci", layout, {"tar": "false", "name": "input"})
            offered = build.builder.offered(given[key])
            other, result = offered or (build, build.add(self._prepared(build, given[key])))
            other.solve(result, [output])
            found[name] = f"oci-layout://{layout}:latest"
        return found


def _result(build: Build, prepared: Prepared, definition: Any) -> Any:
    """A result that the client can ask for, and that other builds of it can stand on."""
    result = build.builder.types["Result"]()
    result.ref.id = build.add(prepared)
    getattr(result.ref, "def").CopyFrom(definition)
    build.builder.offer(definition, build, result.ref.id)
    return result


def _graph(build: Build, made: BuildRequest, platform: Platform | None) -> Any:
    """The graph of a Dockerfile for one platform as LLB. Raises `Failure`."""
    arguments = {k: v for k, v in made.build_args.items() if k != "BUILDKIT_MULTI_PLATFORM"}
    single = made._replace(platforms=(platform,) if platform else (), build_args=arguments)
    data = ask(single, "llb", build.builder.root, build.status)["definition"]
    return build.builder.types["Definition"].FromString(data)


def _layouts(build: Build, definition: Definition) -> dict[str, str]:
    """Contexts that are layouts of the client, in our folder. Raises `Failure`."""
    return {
        name: fetch_layout(build.session, address, os.path.join(build.folder, f"layout-{number}"))
        for number, (name, address) in enumerate(definition.layouts().items())
    }


def _with_logins(build: Build, made: BuildRequest, images: Any) -> BuildRequest:
    """The request with the client's logins for the registries that it may talk to."""
    asked = build.asked
    names = [name for e in asked.Exporters for name in e.Attrs.get("name", "").split(",")]
    names += [c.Attrs.get("ref", "") for c in (*asked.Cache.Exports, *asked.Cache.Imports)]
    found = logins(build.session, [*images, *filter(None, names)])
    passwords = {**made.registries.passwords, **found}
    return made._replace(registries=made.registries._replace(passwords=passwords))
