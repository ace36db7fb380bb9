"""For which COPY `--link` would give the same tree, and what it would have spared.

Comes in: the last build, the earlier ones, and a store to read. Goes out: a `LinkAdvice` for each
COPY and ADD without `--link`. A linked copy is made on nothing and laid over the stage: it makes
the folders that lead to its destination itself, follows no symlink of the stage, and knows none of
its users. So it gives the same tree if there is nothing on the way but folders that look as it
would make them. That is tried with the tree that is there.
Read next: `result_tree`; `minibuild_dockerfile.copy`, for what a linked copy is.
"""

import posixpath
import stat
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from minibuild.graph.literals import parse_uint
from minibuild.record.blame import destination
from minibuild.record.causes import reads
from minibuild.record.records import BuildRecord, RecordedStep
from minibuild.record.result_tree import Look, NodeStat
from minibuild.record.story import ExplainedStep, GetParts, story
from minibuild.startup.tuples import NamedTuple

_FROM_BELOW = ("base", "step")
"""Causes of a copy that a linked one does not have: what it stands on is another."""


class LinkAdvice(NamedTuple):
    """A copy that is not linked. `obstacle` says why a link would give another tree; where that is
    not known, `unknown` says why. `spared` are the runs that a link would have made needless, and
    `seconds` what these took."""

    step: RecordedStep
    obstacle: str = ""
    unknown: str = ""
    spared: int = 0
    seconds: float = 0.0


def advice(
    build: BuildRecord, builds: Sequence[BuildRecord], parts: GetParts, look: Look
) -> Iterator[LinkAdvice]:
    """What to say of each copy of a build; `builds` are those of the same place, newest first."""
    told = list(_stories(builds, parts))
    for step in build.steps:
        known = None if step.key is None else parts(step.key)
        actions = () if known is None else known["op"].get("actions") or ()
        if not step.line or step.inputs[:1] in ((), (None,)) or known is None:
            continue
        if not actions or any(action["type"] != "Copy" for action in actions):
            continue
        base = step.inputs[0]
        assert base is not None
        obstacle, unknown = "", ""
        for copy, (_, files) in zip(actions, reads(known), strict=True):
            if files is None:
                unknown = "which files it read is not known"
                continue
            try:
                obstacle = obstacle or _obstacle(copy, files, look, build.steps[base].result)
            except LookupError as error:
                unknown = str(error.args[0])
        runs = [] if obstacle else [one for one in told if _is_spared(one, step)]
        took = sum(one.step.seconds for one in runs)
        yield LinkAdvice(step, obstacle, "" if obstacle else unknown, len(runs), took)


# --- What it would have spared ---


def _stories(builds: Sequence[BuildRecord], parts: GetParts) -> Iterator[ExplainedStep]:
    for new, old in pairwise(builds):
        yield from story(new, old, parts).told


def _is_spared(told: ExplainedStep, step: RecordedStep) -> bool:
    """Whether a copy ran for nothing but what it stands on."""
    same = (told.step.stage, told.step.text) == (step.stage, step.text)
    return same and all(cause.kind in _FROM_BELOW for cause in told.causes)


# --- Whether the tree would be the same ---


def _obstacle(
    copy: Mapping[str, Any], files: Mapping[str, str], look: Look, result: Sequence[int]
) -> str:
    """Why a linked copy would give another tree; empty if it would not. Raises `LookupError` if
    that cannot be known."""
    if copy.get("chmod"):
        return "a copy with --chmod is not linked"
    owner = (0, 0)
    if copy.get("chown"):
        ids = str(copy["chown"]).split(":")
        owner = parse_uint(ids[0]), parse_uint(ids[-1])
        if min(owner) < 0:
            return f"--chown={copy['chown']} is looked up in the stage, and a link has no users"
    if copy.get("unpack") and any(words.startswith("file ") for words in files.values()):
        raise LookupError("what ADD unpacks is not looked at")
    for source, words in sorted(files.items()):
        path = destination(copy, source, folder=words.startswith("dir"))
        if not path:
            continue
        if problem := _on_the_way(path, owner, look, result):
            return problem
        if problem := _at_the_end(path, copy, words, look(result, path)):
            return problem
    return ""


def _on_the_way(path: str, owner: tuple[int, int], look: Look, result: Sequence[int]) -> str:
    """What is wrong with the folders that lead to a path."""
    above = path
    while above := posixpath.dirname(above):
        found = look(result, above)
        if found is None:
            continue
        if found.type == stat.S_IFLNK:
            return f"/{above} is a symlink in the stage; a link would put a folder in its place"
        if found.type == stat.S_IFDIR and (found.mode, found.owner) != (0o755, owner):
            there = f"{found.mode:04o} of {found.owner[0]}:{found.owner[1]}"
            return f"/{above} is {there}; a link would make it 0755 of {owner[0]}:{owner[1]}"
    return ""


def _at_the_end(path: str, copy: Mapping[str, Any], words: str, found: NodeStat | None) -> str:
    """What is wrong with what is at the destination now."""
    if found is None:
        return ""
    if words.startswith("dir"):
        if found.type != stat.S_IFDIR:
            return f"/{path} is no folder in the stage; a link would put one in its place"
        if copy.get("parents") and found.mode != 0o755:
            return f"/{path} is {found.mode:04o}; a link would change that"
        return ""
    if found.type == stat.S_IFDIR:
        return f"/{path} is a folder in the stage; a link would put a file in its place"
    if found.type == stat.S_IFLNK and path == str(copy["dest"]).strip("/"):
        return f"/{path} is a symlink in the stage, which a link would not follow"
    return ""
