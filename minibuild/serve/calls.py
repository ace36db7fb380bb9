"""What a client asked for, as provenance says it: the call of a frontend, and those before it.

Comes in: the requests of a client. Goes out: a `FrontendCall`. Read next: `minibuild.attest.call`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from minibuild.session.request import FrontendCall

if TYPE_CHECKING:
    from minibuild.serve.build import Build

_GATEWAY = "gateway.v0"
_BUILT_IN = "dockerfile.v0"


def root_call(build: "Build") -> FrontendCall:
    """What the build began with: the call of a frontend, or a program of the client's."""
    asked = build.asked
    inputs = _inputs(build, asked.FrontendInputs)
    attributes = dict(asked.FrontendAttrs)
    return FrontendCall(asked.Frontend, attributes, inputs, None, asked.CompatibilityVersion)


def frontend_call(build: "Build", request: Any, attributes: Mapping[str, str]) -> FrontendCall:
    """A call of the Dockerfile frontend, with what the client asked before."""
    frontend = request.Frontend
    if frontend == _GATEWAY and attributes.get("source") == _BUILT_IN:
        # The gateway hands on what is built in.
        frontend, left_out = _BUILT_IN, ("source", "cmdline")
        attributes = {key: value for key, value in attributes.items() if key not in left_out}
    root = root_call(build)
    inputs = _inputs(build, request.FrontendInputs)
    call = FrontendCall(frontend, dict(attributes), inputs, None, root.compatibility)
    asks = any((root.frontend, root.attributes, root.inputs))
    return call._replace(root=root) if asks and root != call else call


def _inputs(build: "Build", definitions: Mapping[str, Any]) -> dict[str, FrontendCall]:
    """The calls that definitions are the answers to, where the client still waits for these."""
    found = {}
    for name, definition in definitions.items():
        offered = build.builder.offered(definition)
        if offered is not None:
            other, result = offered
            call = other.result(result).calls[0]
            if call.frontend:
                found[name] = call._replace(root=None)
    return found
