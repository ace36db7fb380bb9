"""What an SBOM is to say something of besides the image: the context, and stages on the way.

A Dockerfile asks for it with two arguments, before the first FROM or in a stage. Their value is
true or false, or the names of stages. They speak to the builder alone and are no variables of a
RUN.
Rules: BuildKit's docs/attestations/sbom.md.
"""

from collections.abc import Iterable, Mapping

from minibuild.graph.literals import parse_bool
from minibuild.graph.vertex import Vertex
from minibuild_dockerfile.state import StageState

_CONTEXT = "BUILDKIT_SBOM_SCAN_CONTEXT"
_STAGE = "BUILDKIT_SBOM_SCAN_STAGE"


def scanned_trees(target: StageState, stages: Iterable[StageState]) -> Mapping[str, Vertex | None]:
    """The trees by the names that the SBOM gives them."""
    found: dict[str, Vertex | None] = {}
    if _asks(target, _CONTEXT):
        span = target.plan.stage.source.head.span
        found["context"] = target.conversion.sources.main_context(span)
    for state in stages:
        if state is not target and _asks(state, _STAGE):
            found[state.plan.stage.label] = state.vertex
    return found


def _asks(state: StageState, argument: str) -> bool:
    value = state.build_args.get(argument)
    if value is None:
        value = state.conversion.globals.get(argument, "")
    try:
        return bool(value) and parse_bool(value)
    except ValueError:
        return state.plan.stage.label in value.split(",")
