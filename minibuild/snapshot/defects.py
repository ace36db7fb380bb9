"""Old defects of merges by name, for demonstrations: `--lab=NAME`, and the exhibits.

Comes in: a name. Goes out: the policy that brings the old behaviour back. What each policy switches
is one condition in `apply`, so that no merge may be stacked. docs/lab.md has the stories.
"""

from collections.abc import Mapping

from minibuild.errors import UsageError
from minibuild.snapshot.api import MergePolicy, Strategy

DEFECTS: Mapping[str, MergePolicy] = {
    "whiteout-links": MergePolicy(Strategy.HARDLINK, whiteout_links=True),
    "type-mask": MergePolicy(Strategy.HARDLINK, type_mask=True),
}


def policy_for(name: str) -> MergePolicy:
    """The policy of builds with the defect `name`; the normal one if it is empty."""
    if not name:
        return MergePolicy()
    if name not in DEFECTS:
        raise UsageError(
            f"there is no defect {name!r} to show", hint="one of " + ", ".join(DEFECTS)
        )
    return DEFECTS[name]
