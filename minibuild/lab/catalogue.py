"""All exhibits by name. A new one is a module with its data, and a line here."""

from collections.abc import Mapping

from minibuild.errors import UsageError
from minibuild.graph.spelling import one_of
from minibuild.lab import (
    early_times,
    link_followed,
    opaque_copied,
    owner_last,
    type_mask,
    whiteout_hardlink,
)
from minibuild.lab.exhibit import Exhibit
from minibuild.snapshot.defects import OLD_NAMES

EXHIBITS: Mapping[str, Exhibit] = {
    made.name: made
    for made in (
        whiteout_hardlink.EXHIBIT,
        type_mask.EXHIBIT,
        opaque_copied.EXHIBIT,
        link_followed.EXHIBIT,
        early_times.EXHIBIT,
        owner_last.EXHIBIT,
    )
}


def exhibit(name: str) -> Exhibit:
    """The exhibit called `name`, now or before. Raises `UsageError`."""
    found = EXHIBITS.get(OLD_NAMES.get(name, name))
    if found is None:
        raise UsageError(f"there is no exhibit {name!r}", hint=one_of(name, EXHIBITS))
    return found
