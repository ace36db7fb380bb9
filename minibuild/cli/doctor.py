"""`minibuild doctor`: what this machine can do for builds, and how to mend what it cannot.

Comes in: the findings of `minibuild.linux.probe`, and what is found out here: the store, the limits
of steps that can be kept (a place for their groups is claimed and released as a build does it), and
what a RUN would have around it. Goes out: a table with advice, and the exit code: 0 if builds work,
even if slower or with fewer ids than they could; 3 if they cannot, or only those without a RUN.
Read next: `doctor_container`.
"""

import argparse
import os

from minibuild.cli.command import Command, Session
from minibuild.cli.doctor_container import container
from minibuild.cli.parser import Parser
from minibuild.cli.table import table
from minibuild.errors import HostError
from minibuild.executor.cgroup_parent import Claim, claim
from minibuild.executor.ownroot.permit import OwnRootRefused
from minibuild.executor.ownroot.root import permitted_root
from minibuild.linux import cgroup
from minibuild.linux.namespace import in_user_namespace, needs_user_namespace
from minibuild.linux.probe import HostCheck, check_host, existing_parent
from minibuild.progress.console import TextPart, painted

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


COMMANDS = {"doctor": Command(_flags, _run)}
