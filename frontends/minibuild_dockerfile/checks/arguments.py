"""Build arguments that nothing in the file takes: mostly a slip of the finger.

Comes in: the arguments that were given, and the names that ARGs declare, in any stage. Goes out: a
warning in Docker's words, which is no finding of a rule: no directive makes an error of it.
"""

from collections.abc import Iterable

from minibuild.graph.frontend import Finding
from minibuild.graph.spelling import did_you_mean
from minibuild_dockerfile.scope import is_predefined


def unused(given: Iterable[str], declared: Iterable[str]) -> tuple[Finding, ...]:
    """The warning about those of `given` that are not `declared`, if there are any."""
    known = set(declared)
    left = sorted(name for name in given if name not in known and not is_predefined(name))
    if not left:
        return ()
    near = next(filter(None, (did_you_mean(name, sorted(known)) for name in left)), "")
    message = f"[Warning] One or more build-args [{' '.join(left)}] were not consumed{near}"
    return (Finding("", message, None, "No ARG declares them: add one, or leave them out"),)
