"""Old defects of merges by name, for demonstrations: `--lab=NAME`, and the exhibits.

Comes in: a name. Goes out: the policy that brings the old behaviour back. What each switches is one
condition in `apply` or in `linux.tree_writer`, so no merge may be stacked. docs/lab.md has the
stories.
"""

from collections.abc import Mapping
from typing import get_args

from minibuild.errors import UsageError
from minibuild.graph.spelling import one_of
from minibuild.snapshot.api import Defect, MergePolicy, Strategy

DEFECTS: tuple[Defect, ...] = tuple(name for name in get_args(Defect) if name)
OLD_NAMES: Mapping[str, Defect] = {"whiteout-links": "whiteout-hardlink"}
"""Names that a defect had before, and that are still understood."""


def defect_named(name: str) -> Defect:
    """The defect called `name`, now or before; none if it is empty. Raises `UsageError`."""
    name = OLD_NAMES.get(name, name)
    if name and name not in DEFECTS:
        raise UsageError(f"there is no defect {name!r} to show", hint=one_of(name, DEFECTS))
    return name


def policy_for(name: str) -> MergePolicy:
    """The policy of builds with the defect `name`; the normal one if it is empty."""
    defect = defect_named(name)
    return MergePolicy(Strategy.HARDLINK, defect) if defect else MergePolicy()
