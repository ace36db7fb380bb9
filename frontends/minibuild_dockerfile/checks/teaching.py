"""Checks of our own: habits that are allowed, and cost time, space or secrecy.

Comes in: the stages of a file as written. Goes out: findings. All of these are experimental: they
are reported only to those who ask (`# check=experimental=all`, or by name), so that a file that
passes BuildKit's checks passes ours. They go by the text and can be wrong; the descriptions say why
each habit matters. Read next: `written`.
"""

import re
from collections.abc import Sequence

from minibuild.graph.reference import SCRATCH
from minibuild.startup.regex import regex
from minibuild_dockerfile.checks.report import Checks
from minibuild_dockerfile.checks.rules import Rule
from minibuild_dockerfile.instructions import (
    Arg,
    Copy,
    From,
    Instruction,
    Run,
    Shell,
    ShellForm,
    User,
    WrittenStage,
)
from minibuild_dockerfile.scope import is_predefined


def _habit(name: str, description: str) -> Rule:
    """A rule about a habit."""
    return Rule(name, description, experimental=True, page=False)


HEREDOC_WITHOUT_ERREXIT = _habit(
    "HeredocWithoutErrexit", "A shell goes on after a failed command; begin the script with set -e"
)
UPDATE_WITHOUT_INSTALL = _habit(
    "UpdateWithoutInstall",
    "The package list is cached as a layer and grows old; update and install in one RUN",
)
COPY_ALL_BEFORE_INSTALL = _habit(
    "CopyAllBeforeInstall",
    "Any changed file makes the install run again; copy the list of dependencies first",
)
REMOVE_IN_LATER_LAYER = _habit(
    "RemoveInLaterLayer",
    "What an earlier layer holds stays in the image; remove it in the RUN that made it",
)
LINK_WITH_CHMOD = _habit("LinkWithChmod", "A copy that changes modes is not linked, as in BuildKit")
LINK_INTO_SYMLINK = _habit(
    "LinkIntoSymlink", "A linked copy follows no symlinks: it puts a directory in the place of one"
)
ARG_BEFORE_USE = _habit(
    "ArgBeforeUse",
    "Every RUN below an ARG runs again when its value changes; declare it right above its use",
)
CACHE_MOUNT_OWNER = _habit(
    "CacheMountOwner",
    "A cache belongs to root unless the mount names a uid, and another USER cannot write to it",
)
UNPINNED_BASE = _habit(
    "UnpinnedBase", "Without a version the base changes under you; name a tag, or better a digest"
)
SECRET_FILE_COPIED = _habit(
    "SecretFileCopied", "A file stays in its layer for all to read; use RUN --mount=type=secret"
)

TEACHING_RULES = (
    HEREDOC_WITHOUT_ERREXIT,
    UPDATE_WITHOUT_INSTALL,
    COPY_ALL_BEFORE_INSTALL,
    REMOVE_IN_LATER_LAYER,
    LINK_WITH_CHMOD,
    LINK_INTO_SYMLINK,
    ARG_BEFORE_USE,
    CACHE_MOUNT_OWNER,
    UNPINNED_BASE,
    SECRET_FILE_COPIED,
)

_ERREXIT = regex(r"^\s*set\s+-[a-zA-Z]*e|^\s*set\s+-o\s+errexit", re.MULTILINE)
_UPDATE = regex(r"\bapt(?:-get)?\s+(?:-\S+\s+)*update\b|\bapk\s+update\b")
_INSTALL = regex(
    r"\b(?:apt(?:-get)?|apk|dnf|yum|pip3?|npm|yarn|pnpm|bundle|go\s+mod|cargo|poetry|uv|composer)\s+"
    r"(?:\S+\s+)*?(?:add|install|upgrade|ci|download|fetch|sync)\b"
)
_ONLY_REMOVES = regex(r"\s*rm\s+-\S*r\S*\s+[^&;|]+")
_SECRET_FILE = regex(
    r"(?:^|/)(?:\.env(?:\..+)?|id_(?:rsa|dsa|ecdsa|ed25519)|.+\.(?:pem|key|p12|pfx)|\.netrc|\.npmrc"
    r"|\.pypirc|credentials)$"
)
_OFTEN_SYMLINK = regex(r"(/(?:bin|sbin|lib|lib32|lib64|var/run|var/lock))/")
_ROOT = ("", "root", "0")


def check_habits(stages: Sequence[WrittenStage], checks: Checks) -> None:
    """Check all stages, if anybody asked for it."""
    if not any(checks.config.wants(rule) for rule in TEACHING_RULES):
        return
    names: set[str] = set()
    for source, instructions in stages:
        _base(source, names, checks)
        _stage(instructions, checks)
        _arguments(instructions, checks)
        names.add(source.name)


def _base(source: From, names: set[str], checks: Checks) -> None:
    image = source.image
    known = image in names or image == SCRATCH or "$" in image or "@" in image
    tag = image.rpartition("/")[2].partition(":")[2]
    if not known and tag in ("", "latest"):
        checks.report(
            UNPINNED_BASE, f"Base image '{image}' is not pinned to a version", source.head
        )


def _stage(instructions: Sequence[Instruction], checks: Checks) -> None:
    user, shell_stops, copied_all = "", False, False
    for item in instructions:
        match item:
            case User():
                user = item.user.partition(":")[0]
            case Shell():
                shell_stops = any(re.fullmatch("-[a-zA-Z]*e[a-zA-Z]*", word) for word in item.argv)
            case Copy():
                _copy(item, checks)
                copied_all = copied_all or ("." in item.sources and not item.from_)
            case Run():
                _run(item, checks, shell_stops=shell_stops, copied_all=copied_all)
                _caches(item, user, checks)


def _copy(item: Copy, checks: Checks) -> None:
    if item.link and item.chmod:
        checks.report(LINK_WITH_CHMOD, "--link has no effect beside --chmod", item.head)
    elif item.link and (found := _OFTEN_SYMLINK.match(item.dest)):
        message = f"'{found[1]}' is a symlink in many images, and would become a directory"
        checks.report(LINK_INTO_SYMLINK, message, item.head)
    for source in item.sources:
        if _SECRET_FILE.search(source):
            checks.report(SECRET_FILE_COPIED, f"'{source}' may hold a secret", item.head)


def _run(item: Run, checks: Checks, *, shell_stops: bool, copied_all: bool) -> None:
    if not isinstance(item.command, ShellForm):
        return
    text = item.shell_text
    script = item.script and not text.startswith("#!") and len(text.strip().split("\n")) > 1
    if script and not shell_stops and not _ERREXIT.search(text):
        message = "A command of this script may fail without failing the build"
        checks.report(HEREDOC_WITHOUT_ERREXIT, message, item.head)
    installs = _INSTALL.search(text)
    if _UPDATE.search(text) and not installs:
        message = "Package lists are updated here, but nothing is installed"
        checks.report(UPDATE_WITHOUT_INSTALL, message, item.head)
    if installs and copied_all:
        message = f"'{installs[0]}' runs again whenever any file of the context changes"
        checks.report(COPY_ALL_BEFORE_INSTALL, message, item.head)
    if _ONLY_REMOVES.fullmatch(text):
        message = "This hides files of earlier layers, and makes the image no smaller"
        checks.report(REMOVE_IN_LATER_LAYER, message, item.head)


def _caches(item: Run, user: str, checks: Checks) -> None:
    for spec in item.mounts:
        keys = {field.key for field in spec.fields}
        is_cache = any((field.key, field.value) == ("type", "cache") for field in spec.fields)
        if is_cache and user not in _ROOT and not keys & {"uid", "mode"}:
            message = f"User '{user}' cannot write to this cache"
            checks.report(CACHE_MOUNT_OWNER, message, item.head, spec.span)


def _arguments(instructions: Sequence[Instruction], checks: Checks) -> None:
    """ARGs with a RUN between them and the first instruction that names them."""
    for at, item in enumerate(instructions):
        for declared in item.names if isinstance(item, Arg) else ():
            name = declared.name
            use = re.compile(rf"\$(?:{re.escape(name)}\b|\{{{re.escape(name)}\b)")
            runs = 0
            for later in instructions[at:]:
                if use.search(_text(later)):
                    break
                runs += isinstance(later, Run)
            if runs and not is_predefined(name):
                message = f"{runs} RUN{'s' if runs > 1 else ''} below do not use '{name}'"
                checks.report(ARG_BEFORE_USE, message, item.head, declared.span)


def _text(item: Instruction) -> str:
    """All that is written of an instruction, inline files included."""
    heredocs = item.heredocs if isinstance(item, Run | Copy) else ()
    return item.head.original + "".join(heredoc.content for heredoc in heredocs)
