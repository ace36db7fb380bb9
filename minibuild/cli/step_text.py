"""The words of `build --step`: a stop, the end of a step, a diff as a tree, a key; or JSON.

Comes in: what `step` found out. Goes out: lines for people, or one line for programs.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minibuild.cache.results import VertexResult
from minibuild.cli import why_text
from minibuild.digest import Digest
from minibuild.progress.console import visible
from minibuild.record.changes import ChangedPath, as_tree
from minibuild.record.records import BuildRecord, RecordedStep
from minibuild.record.story import ExplainedStep
from minibuild.solver.lookup import Answer
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from minibuild.record.causes import KeyParts

_MOST = 40
_CAUSES = 10
_DIGITS = 19
"""Of a key, with the name of its algorithm."""


class NextStep(NamedTuple):
    """The next step: what a look-up found, and why it runs or where it ran."""

    step: RecordedStep
    answer: Answer
    told: ExplainedStep | None
    earlier: tuple[BuildRecord, RecordedStep] | None

    def lines(self) -> Iterator[str]:
        """What to show of it."""
        result, key = self.answer.result, self._key
        shown = f", key {key[:_DIGITS]}" if key else ""
        yield from ("", title(self.step))
        if result is not None and self.answer.whole:
            yield f"      in the cache{shown}"
            if result.origin:
                yield f"      found in {visible(result.origin)}"
            elif self.earlier is not None:
                yield f"      {why_text.ran_in(*self.earlier)}"
            return
        yield f"      not in the cache{shown}"
        if self.told is None:
            yield "      there is no earlier build to compare with"
        else:
            yield from why_text.told_of(self.told, _CAUSES)

    def data(self) -> dict[str, Any]:
        """The same for programs."""
        result, told = self.answer.result, self.told
        return {
            "event": "before",
            **_step(self.step),
            "cached": result is not None and self.answer.whole,
            "key": self._key,
            "causes": [why_text.cause_data(cause) for cause in told.causes] if told else [],
            "follows": [other.line for other in told.follows] if told else [],
            "ran_in": self.earlier and self.earlier[0].id,
        }

    @property
    def _key(self) -> Digest | None:
        result, early = self.answer.result, self.answer.precomputed
        return result.key if result is not None else early.key if early is not None else None


class Ended(NamedTuple):
    """A step that is over, and what it changed."""

    step: RecordedStep
    found: VertexResult
    changed: Sequence[ChangedPath]

    def lines(self) -> Iterator[str]:
        """What to show of it."""
        how = "found in the cache" if self.found.cached else "ran"
        yield f"      {how}; {_count(self.changed)}"
        yield from _tree(self.changed, _MOST)

    def data(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "event": "after",
            **_step(self.step),
            "cached": self.found.cached,
            "key": self.found.key,
            "changes": [_change(one) for one in self.changed],
        }


class ChangedTree(NamedTuple):
    """What a step changed."""

    changed: Sequence[ChangedPath]

    def lines(self) -> Iterator[str]:
        """What to show of it."""
        yield from _tree(self.changed, len(self.changed)) if self.changed else ["      nothing"]

    def data(self) -> dict[str, Any]:
        """The same for programs."""
        return {"event": "diff", "changes": [_change(one) for one in self.changed]}


class Key(NamedTuple):
    """A key, and what it is made of, if that is known."""

    key: Digest | None
    parts: "KeyParts | None"

    def lines(self) -> Iterator[str]:
        """What to show of it."""
        yield f"      {self.key or 'not known before its files are read'}"
        if self.parts is None:
            return
        yield f"      base    {self.parts.get('base') or 'nothing'}"
        for name, value in dict(self.parts.get("op", {})).items():
            if name == "env":
                yield from (f"      env     {why_text.short('='.join(pair))}" for pair in value)
            elif value and name != "type":
                yield f"      {name:<7} {why_text.short(json.dumps(value))}"
        for name, part in dict(self.parts.get("parts", {})).items():
            yield from _reads(name, part)

    def data(self) -> dict[str, Any]:
        """The same for programs."""
        return {"event": "key", "key": self.key, "parts": self.parts}


Said = NextStep | Ended | ChangedTree | Key


def title(step: RecordedStep) -> str:
    """A step in a line."""
    stage = f"[{step.stage}] " if step.stage else ""
    return f"{why_text.place(step):<9} {visible(stage)}{why_text.short(step.text)}"


def _count(changed: Sequence[ChangedPath]) -> str:
    count = sum(one.sort != "dir" or bool(one.new) for one in changed)
    return "it changed nothing" if not count else f"{count} path{'s' if count != 1 else ''}:"


def _tree(changed: Sequence[ChangedPath], most: int) -> Iterator[str]:
    """Paths as a tree; folders that only lead to others are lines of their own, too."""
    for depth, name, one in as_tree((one.path, one) for one in changed[:most]):
        yield f"      {'  ' * depth}{_item(one, name) if one else visible(name) + '/'}"
    if len(changed) > most:
        yield f"      and {len(changed) - most} more (d shows all)"


def _item(one: ChangedPath, name: str) -> str:
    shown = visible(name)
    if one.sort == "gone":
        return f"{shown}  deleted"
    if one.sort == "dir":
        return f"{shown}/"
    size = f"  {one.size:,} B" if one.sort == "file" else f"  {one.sort}"
    return f"{shown}{size}{'  changed' if one.new is False else ''}"


def _reads(name: str, part: Any) -> Iterator[str]:
    """What a step reads of an input: files, or all of it."""
    if not isinstance(part, Mapping):
        yield f"      reads   {visible(name)}  {part}"
        return
    yield f"      reads   {visible(name)}"
    for path, words in list(part.items())[:_MOST]:
        yield f"        {visible(path)}  {visible(words)}"
    if len(part) > _MOST:
        yield f"        and {len(part) - _MOST} more"


def _step(step: RecordedStep) -> dict[str, Any]:
    return {"line": step.line, "stage": step.stage, "instruction": step.text}


def _change(one: ChangedPath) -> dict[str, Any]:
    return {"path": f"/{one.path}", "sort": one.sort, "size": one.size, "new": one.new}
