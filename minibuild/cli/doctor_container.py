"""The doctor's check of containers: what the one around this process forbids, and what allows it.

Comes in: /proc, a few variables and marks that runtimes leave, and whether namespaces work here.
Goes out: a finding whose advice are lines to write, for the kind of container that it is. Rules:
seccomp(2), apparmor(7), proc(5) and the manuals of the runtimes. docs/ci.md has whole files.
"""

import os
from collections.abc import Mapping

from minibuild.linux.container import FORMS, lines
from minibuild.linux.descriptors import read_text
from minibuild.linux.mountinfo import mounts_in
from minibuild.linux.probe import HostCheck
from minibuild.startup.tuples import NamedTuple


class Around(NamedTuple):
    """What is around this process: the kind of container (a key of `FORMS`, or "" if nothing tells
    it), and what forbids things."""

    kind: str
    filtered: bool
    profile: str
    masked: bool
    no_new_privs: bool


def container(
    variables: Mapping[str, str], *, works: bool, own_root: bool = False, uid: int, root: str = "/"
) -> HostCheck | None:
    """What the container forbids; None if there is none. `works`: whether namespaces do;
    `own_root`: whether steps can do without."""
    around = look_around(variables, root)
    if around is None:
        return None
    kinds = [around.kind] if around.kind else [*FORMS]
    said = {name for kind in kinds for name in (*FORMS[kind].parts, *FORMS[kind].beside)}
    missing = [name for name in _missing(around, works=works, uid=uid) if name in said]
    if own_root:
        # Its steps see /proc of this container, masked or not.
        missing = [name for name in missing if name != "proc"]
    facts = [
        "a filter of system calls (seccomp)" if around.filtered else "",
        f"the security profile {around.profile}" if around.profile else "",
        "masked parts of /proc" if around.masked else "",
        "no_new_privs" if around.no_new_privs else "",
    ]
    found = f"{around.kind or 'of an unknown kind'}: {', '.join(filter(None, facts)) or 'open'}"
    if not missing:
        return HostCheck("container", True, found)
    why = "; ".join(dict.fromkeys(_REASONS[name] for name in missing))
    why = _WITH_NAMESPACES if own_root else why
    advice = [f"{why}. Write"]
    advice += [line for kind in kinds for line in lines(kind, missing)]
    return HostCheck("container", False, found, "\n".join(advice))


def look_around(variables: Mapping[str, str], root: str = "/") -> Around | None:
    """What is around this process; None if nothing is."""
    status = dict(
        line.split(":\t", 1)
        for line in read_text(os.path.join(root, "proc/self/status")).splitlines()
        if ":\t" in line
    )
    filtered = status.get("Seccomp") == "2"
    kind = _kind(variables, root)
    if not (kind or filtered):
        return None
    profile = read_text(os.path.join(root, "proc/self/attr/current")).strip("\0")
    mounts = mounts_in(read_text(os.path.join(root, "proc/self/mountinfo")))
    masked = any(mount.point.startswith("/proc/") for mount in mounts)
    return Around(
        kind,
        filtered,
        "" if profile.startswith("unconfined") else profile,
        masked,
        status.get("NoNewPrivs") == "1",
    )


def _kind(variables: Mapping[str, str], root: str) -> str:
    if "KUBERNETES_SERVICE_HOST" in variables:
        return "GitLab on Kubernetes" if variables.get("GITLAB_CI") else "Kubernetes"
    if os.path.exists(os.path.join(root, "run/.containerenv")):
        return "podman"
    if not os.path.exists(os.path.join(root, ".dockerenv")):
        return ""
    if variables.get("GITLAB_CI"):
        return "GitLab on docker"
    return "GitHub Actions" if variables.get("GITHUB_ACTIONS") else "docker"


def _missing(around: Around, *, works: bool, uid: int) -> list[str]:
    """What would have to be allowed, by the names that forms have for it."""
    selinux = around.profile.count(":") > 2
    return [
        name
        for name, lacks in (
            ("seccomp", not works and around.filtered),
            ("apparmor", not works and bool(around.profile) and not selinux),
            ("selinux", not works and selinux),
            ("proc", around.masked),
            ("ids", uid != 0 and around.no_new_privs),
        )
        if lacks
    ]


_REASONS = {
    "seccomp": "RUN needs namespaces, which are refused",
    "apparmor": "RUN needs namespaces, which are refused",
    "selinux": "RUN needs namespaces, which are refused",
    "proc": "steps see the processes of this container, since its /proc is masked",
    "ids": "this account can have one id only, since no program may become root",
}


_WITH_NAMESPACES = "with namespaces, several RUNs can run at once, and none sees this container"
