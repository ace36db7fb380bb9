"""`minibuild doctor`: what this machine can do for builds, and how to mend what it cannot.

Comes in: the findings of `minibuild.linux.probe`, and what is found out here: the store, the limits
of steps that can be kept (a place for their groups is claimed and released as a build does it), and
what a RUN would have around it. Goes out: a table with advice, and the exit code: 0 if builds work,
even if slower or with fewer ids than they could; 3 if they cannot, or only those without a RUN. The
advice about a container are lines to write, for the kind that it is; docs/ci.md has whole files.
Rules: seccomp(2), apparmor(7), proc(5) and the manuals of the runtimes.
"""

import argparse
import os
from collections.abc import Mapping

from minibuild.cli.command import Command, Session
from minibuild.cli.parser import Parser
from minibuild.cli.table import table
from minibuild.errors import HostError
from minibuild.executor.cgroup_parent import Claim, claim
from minibuild.executor.ownroot.permit import OwnRootRefused
from minibuild.executor.ownroot.root import permitted_root
from minibuild.linux import cgroup
from minibuild.linux.container import FORMS, lines
from minibuild.linux.descriptors import read_text
from minibuild.linux.mountinfo import mounts_in
from minibuild.linux.namespace import in_user_namespace, needs_user_namespace
from minibuild.linux.probe import HostCheck, check_host, existing_parent
from minibuild.progress.console import TextPart, painted
from minibuild.startup.tuples import NamedTuple

# Without these no step runs. What else is missing makes builds slower or poorer.
_NAMESPACES = "user namespaces"
_NEEDED = frozenset(("store", "kernel", "openat2", "mount api", _NAMESPACES))
_ISOLATION = "isolation"
_GREEN, _YELLOW, _RED = "32", "33", "31"


def _flags(made: Parser) -> None:
    made.description = (
        "Check what this machine can do, and say how to mend what it cannot. "
        "The exit code is 3 if builds cannot work, or only those without a RUN."
    )
    made.format()


def _run(options: argparse.Namespace, session: Session) -> int:
    findings = [_store(session.root), *check_host(session.root), limits()]
    works = not any(f.name in ("mount api", _NAMESPACES) and not f.ok for f in findings)
    findings.append(_isolation(namespaces=works))
    isolated = findings[-1].ok
    if isolated and not works:  # It has been said what works without them.
        findings = [
            f._replace(found=f.found.partition(":")[0]) if f.name == _NAMESPACES else f
            for f in findings
        ]
    environment = session.environment
    around = container(
        environment.variables, works=works, own_root=isolated and not works, uid=environment.uid
    )
    if around:
        if "namespaces" in around.advice:  # With the lines for this kind of container.
            findings = [f._replace(advice="") if f.name == _NAMESPACES else f for f in findings]
        findings.append(around)
    needed = _NEEDED - {_NAMESPACES} if isolated else _NEEDED
    words = [verdict(finding, needed) for finding in findings]
    code = HostError.exit_code if "missing" in words else 0
    if options.format == "json":
        pairs = zip(findings, words, strict=True)
        session.say_json([{**f._asdict(), "verdict": word} for f, word in pairs])
        return code
    rows = [[f.name, word, f.found] for f, word in zip(findings, words, strict=True)]
    _, *lines = table(["CHECK", "", "FOUND"], rows)
    colours = session.coloured(session.stdout)
    for finding, word, line in zip(findings, words, lines, strict=True):
        session.say(*(_painted(line, word) if colours else (line,)))
        for said in finding.advice.splitlines():
            session.say(f"    {said}")
    if code:
        missing = {f.name for f, word in zip(findings, words, strict=True) if word == "missing"}
        what = "Builds with a RUN" if missing == {_NAMESPACES} else "Builds"
        session.say(f"\n{what} cannot work here until what is missing is mended.")
    return code


def verdict(finding: HostCheck, needed: frozenset[str] = _NEEDED) -> str:
    """`ok`, `limited` (builds work, with less), or `missing` (they do not)."""
    if finding.ok:
        return "ok"
    return "missing" if finding.name in needed else "limited"


def _isolation(*, namespaces: bool) -> HostCheck:
    """What a RUN would have around it, as `--isolation=auto` chooses it."""
    if namespaces:
        return HostCheck(_ISOLATION, True, "namespaces: each RUN has its own")
    try:
        permitted_root().close()
    except OwnRootRefused as error:
        advice = f"not own-root either: {error.message}; {error.hint}"
        return HostCheck(_ISOLATION, False, "none: no RUN can run", advice)
    return HostCheck(
        _ISOLATION, True, "own-root: each RUN gets / of this container, one after the other"
    )


def _store(root: str) -> HostCheck:
    """Whether the folder for all state can be written to, or made."""
    folder = existing_parent(root)
    if not os.access(folder, os.W_OK | os.X_OK):
        return HostCheck(
            "store", False, f"{folder} is not writable", "set MINIBUILD_ROOT to a folder of yours"
        )
    return HostCheck("store", True, root)


def _painted(line: str, word: str) -> tuple[TextPart, ...]:
    colour = {"ok": _GREEN, "limited": _YELLOW, "missing": _RED}[word]
    before, found, after = line.partition(word)
    return before, *painted(found, colour), after


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


_WITH_NAMESPACES = "with namespaces, several RUNs can run at once, and none sees this container"


COMMANDS = {"doctor": Command(_flags, _run)}


# --- The container around this process ---


class ContainerFacts(NamedTuple):
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
    around = container_facts(variables, root)
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


def container_facts(variables: Mapping[str, str], root: str = "/") -> ContainerFacts | None:
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
    return ContainerFacts(
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


def _missing(around: ContainerFacts, *, works: bool, uid: int) -> list[str]:
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
