"""What was asked of the frontend, as provenance says it.

Comes in: the call of a client; or the request of the command line, which is put into the same
words. Goes out: where the definition came from, and the call without what is secret in it, or is
about the builder alone.
Rules: BuildKit's docs/attestations/slsa-definitions.md. Read next: `materials`.
"""

from collections.abc import Mapping
from typing import Any

from minibuild.graph.address import masked
from minibuild.graph.remote import InvalidRemote, git_url
from minibuild.session.request import BuildRequest, FrontendCall

Json = dict[str, Any]

_OF_THE_BUILDER = ("cgroup-parent", "image-resolve-mode", "platform", "cache-imports")
_VALUES = ("build-arg:", "label:")
"""Values that may be secret: only where all is asked for."""

_REMOTE = ("docker-image:", "oci-layout:")


def call_of(request: BuildRequest, frontend: str, name: str) -> FrontendCall:
    """The call that `docker buildx build` would make for a request. `name` is the Dockerfile's."""
    if request.graphs:
        return FrontendCall("", {})
    attributes = {f"build-arg:{key}": value for key, value in request.build_args.items()}
    attributes |= {f"label:{key}": value for key, value in request.labels.items()}
    for context, value in request.contexts.items():
        elsewhere = "://" in value or value.startswith(("git@", *_REMOTE))
        attributes[f"context:{context}"] = value if elsewhere else f"local:{context}"
    attributes["filename"] = name
    if "://" in request.context or request.context.startswith("git@"):
        attributes["context"] = request.context
    if request.target:
        attributes["target"] = request.target
    if request.no_cache or request.no_cache_filter:
        attributes["no-cache"] = "" if request.no_cache else ",".join(request.no_cache_filter)
    if request.network != "default":
        attributes["force-network-mode"] = request.network
    return FrontendCall(frontend, attributes)


def described(call: FrontendCall, found: Mapping[str, Json]) -> Json:
    """A call as data: members `configSource` and `request`. `found` has the materials that are no
    images, by their addresses."""
    arguments = _shown(call.attributes)
    config: Json = {}
    key = arguments.get("contextkey", "") or "context"
    if not arguments.get(key) and arguments.get("input:context"):
        key = "input:context"
    if arguments.get(key):
        config = _origin(arguments.pop(key), found)
    if arguments.get("filename"):
        config["path"] = arguments.pop("filename")
    request: Json = {"frontend": call.frontend} if call.frontend else {}
    if arguments:
        request["args"] = arguments
    if call.inputs:
        request["inputs"] = {k: described(one, found) for k, one in sorted(call.inputs.items())}
    if call.root is not None:
        request["root"] = described(call.root, found)
    if call.compatibility:
        request["compatibilityVersion"] = call.compatibility
    return {"configSource": config, "request": request}


def _shown(attributes: Mapping[str, str]) -> dict[str, str]:
    addresses = (attributes.get("contextkey", "") or "context", "vcs:source")
    return {
        key: masked(value) if key in addresses or key.startswith("context:") else value
        for key, value in sorted(attributes.items())
        if key not in _OF_THE_BUILDER and not key.startswith("attest:")
    }


def _origin(address: str, found: Mapping[str, Json]) -> Json:
    """An address and, if it was fetched, what pins it."""
    try:
        git = git_url(address)
    except InvalidRemote:
        git = None
    if git is None:
        material = found.get(address)
        return {"uri": address} if material is None else dict(material)
    fragment = f"#{git.ref}" if git.ref or git.subdir else ""
    material = found.get(git.remote + (f"#{git.ref}" if git.ref else ""))
    config: Json = {"uri": git.remote + fragment + (f":{git.subdir}" if git.subdir else "")}
    return config if material is None else {**config, "digest": material["digest"]}


def without_values(request: Json) -> bool:
    """Take out of a request what is only for `mode=max`; whether that was anything that the build
    depends on."""
    request.pop("secrets", None)
    request.pop("ssh", None)
    arguments = request.get("args", {})
    left_out = [key for key in arguments if key.startswith(_VALUES)]
    for key in left_out:
        del arguments[key]
    if not arguments:
        request.pop("args", None)
    others = [*request.get("inputs", {}).values(), *filter(None, [request.get("root")])]
    return any([bool(left_out), *(without_values(one["request"]) for one in others)])


def take_vcs(request: Json) -> Json:
    """What a client says of the repository that its files are of, which is no argument."""
    arguments = request.get("args", {})
    names = [key for key in arguments if key.startswith("vcs:")]
    found = {key.removeprefix("vcs:"): arguments.pop(key) for key in names}
    if not arguments:
        request.pop("args", None)
    return {key: value for key, value in found.items() if value}
