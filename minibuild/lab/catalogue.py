"""All exhibits by name. A new one is a module with its data, and a line here."""

from collections.abc import Mapping

from minibuild.errors import UsageError
from minibuild.lab import type_mask, whiteout_hardlink
from minibuild.lab.exhibit import Exhibit

EXHIBITS: Mapping[str, Exhibit] = {
    made.name: made for made in (whiteout_hardlink.EXHIBIT, type_mask.EXHIBIT)
}


def exhibit(name: str) -> Exhibit:
    """The exhibit called `name`. Raises `UsageError`."""
    found = EXHIBITS.get(name)
    if found is None:
        raise UsageError(f"there is no exhibit {name!r}", hint="one of " + ", ".join(EXHIBITS))
    return found
