"""Resource limits of a step, by the names of Docker's `--ulimit`. See setrlimit(2)."""

import resource

from minibuild.errors import DefinitionError
from minibuild.graph.op import Ulimit
from minibuild.graph.spelling import one_of

NAMES = {
    name.removeprefix("RLIMIT_").lower(): getattr(resource, name)
    for name in dir(resource)
    if name.startswith("RLIMIT_")
}


def apply(limits: tuple[Ulimit, ...]) -> None:
    """Set the limits on this process, as far as it may: root in a container may be unable to
    raise a hard limit, and a build does not fail for that."""
    for limit in limits:
        number = NAMES.get(limit.name)
        if number is None:
            hint = one_of(limit.name, NAMES)
            raise DefinitionError(f"unknown resource limit {limit.name}", hint=hint)
        soft, hard = limit.soft, limit.hard
        try:
            resource.setrlimit(number, (soft, hard))
        except (ValueError, PermissionError):
            _, most = resource.getrlimit(number)
            hard = lower(hard, most)
            resource.setrlimit(number, (lower(soft, hard), hard))


def lower(first: int, second: int) -> int:
    """The smaller of two limits; -1 is unlimited."""
    if -1 in (first, second):
        return max(first, second)
    return min(first, second)
