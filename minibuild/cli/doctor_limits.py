"""The doctor's check of cgroups: which limits of steps can be kept here.

Comes in: this machine. Goes out: a finding. A place for the groups of steps is claimed and released
as a build with limits does it.
"""

import os

from minibuild.errors import HostError
from minibuild.executor.cgroup_parent import Claim, claim
from minibuild.linux import cgroup
from minibuild.linux.namespace import in_user_namespace, needs_user_namespace
from minibuild.linux.probe import HostCheck

WANTED = ("memory", "cpu", "cpuset")


def limits() -> HostCheck:
    """What --memory, --cpus and their like can rely on."""
    root = not in_user_namespace() and not needs_user_namespace()
    versions = {tree.version for tree in cgroup.hierarchies() if tree.version == 1} or {2}
    try:
        claimed = claim(frozenset(WANTED), insist=True, root=root)
    except (OSError, HostError) as error:
        return HostCheck("cgroup", False, f"limits of steps: {error}", _advice(versions))
    return _finding(claimed, versions)


def _finding(claimed: Claim, versions: set[int]) -> HostCheck:
    has = claimed.place.controllers
    claimed.release()
    kept = ", ".join(name for name in WANTED if name in has)
    lacking = ", ".join(name for name in WANTED if name not in has)
    found = f"version {max(versions)}, limits of steps: {kept or 'none'}"
    if not lacking:
        return HostCheck("cgroup", True, found)
    return HostCheck(
        "cgroup", False, found, f"steps run without limits of {lacking}; {_advice(versions)}"
    )


def _advice(versions: set[int]) -> str:
    if not cgroup.hierarchies():
        return "no cgroups are mounted here"
    if versions == {1}:
        return "version 1 leaves them to root: boot with systemd.unified_cgroup_hierarchy=1"
    if os.path.exists("/run/systemd/system"):
        return (
            "systemd hands them over (Delegate=, systemd.resource-control(5)): run this in a "
            "session of systemd; what a session gets is set in user@.service"
        )
    return "give this process a cgroup to itself, mounted so that it may write there"
