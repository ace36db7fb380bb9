"""Why the steps of a build ran, compared with an earlier build.

Comes in: two builds, and what their keys were made of. Goes out: a `Story`: for each step that ran
its causes, or the steps that it follows from; and where a change stopped because something came out
the same. A vertex that was found in the cache may differ from the build before as well (it is that
of a third build): what follows from it is shown with its causes. A vertex is the same in both
builds if its key is; else if its instruction is, in the same stage; else the first of a stage that
is left over is the first of the other's that is, if they are of one kind. So a line that was
changed is compared with what it was.
Read next: `minibuild.cli.why`.
"""

import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

from minibuild.record.causes import Cause, KeyParts, differences, op_differences, reads
from minibuild.record.records import BuildRecord, RecordedStep
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

GetParts = Callable[[str], KeyParts | None]
"""What a key was made of, if that is known."""

_SOURCES = ("image", "http", "git")
_CACHED = "cached from another build"
_UNREACHED = "the build before did not come to it"
_UNENDED = {
    "failed": "it did not end well in the build before, so it was not kept",
    "stopped": "it was stopped in the build before, when another step failed",
}
_UNKEPT = "files of the context changed meanwhile"


class ExplainedStep(NamedTuple):
    """A step that ran: its own causes, and the steps that it follows from."""

    step: RecordedStep
    causes: tuple[Cause, ...]
    follows: tuple[RecordedStep, ...]
    before: RecordedStep | None


class StoppedChange(NamedTuple):
    """Where a change ended: `reader` reads `paths` of what `step` made, and they are the same."""

    step: RecordedStep
    reader: RecordedStep
    paths: tuple[str, ...]


class Story(NamedTuple):
    """Why steps of `build` ran; `against` is None if there is nothing to compare it with."""

    build: BuildRecord
    against: BuildRecord | None
    told: tuple[ExplainedStep, ...]
    stops: tuple[StoppedChange, ...]


def story(build: BuildRecord, against: BuildRecord | None, parts: GetParts) -> Story:
    """Compare a build with an earlier one."""
    if against is None:
        first = Cause("step", "it has no earlier build here")
        told = tuple(ExplainedStep(step, (first,), (), None) for step in build.ran)
        return Story(build, None, told, ())
    return _Comparison(build, against, parts).story()


class _Comparison:
    """Two builds side by side. `changed` are the vertices whose keys are not those of before."""

    def __init__(self, new: BuildRecord, old: BuildRecord, parts: GetParts) -> None:
        self.new, self.old = new, old
        self._parts = parts
        self._pairs = pairs(old, new)
        self._told: dict[int, ExplainedStep] = {}
        self._changed = {s.number for s in new.steps if self._is_changed(s)}

    def story(self) -> Story:
        for step in self.new.steps:  # inputs come first
            if step.number in self._changed or (step.is_step and step.ran):
                self._told[step.number] = self._tell(step)
        told = tuple(self._told[step.number] for step in self.new.ran)
        return Story(self.new, self.old, told, tuple(self._stops()))

    def before(self, step: RecordedStep) -> RecordedStep | None:
        """The vertex of the build before that is the same."""
        number = self._pairs.get(step.number)
        return None if number is None else self.old.steps[number]

    def _is_changed(self, step: RecordedStep) -> bool:
        before = self.before(step)
        if step.kind == "local":
            return False  # Its files are compared where they are read.
        return before is None or step.key is None or step.key != before.key

    # --- One vertex ---

    def _tell(self, step: RecordedStep) -> ExplainedStep:
        before = self.before(step)
        if before is not None and step.key is not None and step.key == before.key:
            return ExplainedStep(step, (self._ran_again(step),), (), before)
        own = list(self._own(step, before))
        is_new = before is None and step.is_step and own
        follows = [] if is_new else list(self._follows(step, before))
        if follows and before is not None and before.key is None:
            # That it was not reached before says less than what it follows from.
            own = [cause for cause in own if cause.kind != "request"]
        causes = [self._placed(cause, step) for cause in own]
        leaves = [number for number in follows if not self._is_told(number)]
        for number in leaves:
            causes += self._inherited(number)
        if not causes and not (set(follows) - set(leaves)):
            causes.append(self._at_a_loss(step, before))
        kept = tuple(self.new.steps[n] for n in follows if n not in leaves)
        return ExplainedStep(step, tuple(dict.fromkeys(causes)), kept, before)

    def _own(self, step: RecordedStep, before: RecordedStep | None) -> Iterator[Cause]:
        """What the vertex itself is made of that is not as before."""
        if step.kind in _SOURCES:
            yield from _moved(step, before)
        elif not step.is_step:
            return
        elif before is None:
            yield Cause("step", "a new step: the build before had none like it", line=step.line)
        elif step.key is None or before.key is None:
            yield from self._of_failed(step, before)
        else:
            old, new = self._known(before), self._known(step)
            if old is not None and new is not None:
                yield from self._made_by(step, differences(old, new))

    def _of_failed(self, step: RecordedStep, before: RecordedStep) -> Iterator[Cause]:
        """Of a step that failed nothing was kept but its operation."""
        old, new = self._operation(before), self._operation(step)
        if old and new:
            yield from op_differences(old, new)
        if before.key is None:
            yield Cause("request", _UNENDED.get(before.state, _UNREACHED))

    def _operation(self, step: RecordedStep) -> Any:
        if step.op is not None:
            return step.op
        known = self._known(step)
        return None if known is None else known["op"]

    def _known(self, step: RecordedStep) -> KeyParts | None:
        return None if step.key is None else self._parts(step.key)

    def _follows(self, step: RecordedStep, before: RecordedStep | None) -> Iterator[int]:
        """The changed vertices that it follows from: the base, and what it reads where the files
        that it read are not known. Merges stand for their inputs."""
        known = self._known(step)
        compared = before is None or before.key is not None
        for position, number in enumerate(step.inputs):
            is_base = position == 0 or step.kind in ("merge", "diff", "mount")
            if number is None or number not in self._changed:
                continue
            if is_base or not compared or not _has_files(known):
                yield from self._through(number)

    def _through(self, number: int) -> Iterator[int]:
        step = self.new.steps[number]
        if step.kind in ("merge", "mount"):
            for inner in step.inputs:
                if inner is not None and inner in self._changed:
                    yield from self._through(inner)
        else:
            yield number

    def _is_told(self, number: int) -> bool:
        step = self.new.steps[number]
        return step.is_step and step.ran

    def _inherited(self, number: int) -> Iterator[Cause]:
        """The causes of a vertex that did not run itself, for what follows from it."""
        told = self._told[number]
        for cause in told.causes:
            if cause.kind == "request" and told.step.is_step:
                continue  # It says something of that step alone.
            if told.step.is_step and told.step.line and _CACHED not in cause.note:
                note = f"{cause.note}; {_CACHED}" if cause.note else _CACHED
                text = f"line {told.step.line}: {cause.text}"
                cause = cause._replace(text=text, note=note)
            yield cause
        for step in told.follows:
            said = f"line {step.line} ran" if step.line else f"{step.text} ran"
            yield Cause("base", f"follows from {said}", line=step.line)

    # --- Words ---

    def _ran_again(self, step: RecordedStep) -> Cause:
        """Why a step ran whose key is as before."""
        if step.asked:
            return Cause("request", "it was to run in any case: --no-cache")
        if step.forced:
            return Cause("request", "its base ran on request")
        if any(i is not None and self.new.steps[i].forced for i in step.inputs):
            return Cause("request", "what it reads was made again on request")
        return Cause("unknown", "its result was pruned", perhaps=True)

    def _at_a_loss(self, step: RecordedStep, before: RecordedStep | None) -> Cause:
        if step.asked or step.forced:
            return Cause("request", "it was to run in any case: --no-cache")
        remarks = (*step.remarks, *(before.remarks if before else ()))
        if any(_UNKEPT in remark for remark in remarks):
            return Cause("file", "a file changed while it was read, so its result was not kept")
        if before is not None and (text := self._other_base(step, before)):
            return Cause("step", text)
        origin = step.origin or (before.origin if before else "")
        if origin:
            text = f"from the cache of {origin}: what its key was made of is not known here"
            return Cause("unknown", text)
        versions = [str(build.data.get("minibuild", "")) for build in (self.old, self.new)]
        if versions[0] != versions[1]:
            return Cause("request", f"minibuild {versions[0]} -> {versions[1]}", perhaps=True)
        if self.old.data.get("lab") != self.new.data.get("lab"):
            return Cause("request", "--lab is another")
        if step.key is None and any(
            i is not None and self.new.steps[i].kind == "local" for i in step.inputs
        ):
            return Cause("file", "a file of the context that it reads changed", perhaps=True)
        if step.state == "failed" and before is not None:
            return Cause("unknown", "its result was pruned", perhaps=True)
        return Cause("unknown", "what its key was made of is no longer known")

    def _other_base(self, step: RecordedStep, before: RecordedStep) -> str:
        """What to say of a step that stands on another step than before, though each of the two
        is as it was: a step between them came or went."""
        old, new = _base(self.old, before), _base(self.new, step)
        if old is None or new is None or old.key == new.key:
            return "" if old is new else "it stands on another step"
        if old.number not in self._pairs.values():
            return f"{old.text} is gone, on which it stood"
        return f"it stands on {new.text}, and stood on {old.text}"

    def _placed(self, cause: Cause, step: RecordedStep) -> Cause:
        """A cause with the place in the definition that says it."""
        if cause.kind == "environment":
            given = cause.path in self.new.data.get("build_args", {})
            line, word = setting_of(self.new.text, cause.path, step.line)
            said = [f"{word} in line {line}"] if line else []
            if given or cause.path in self.old.data.get("build_args", {}):
                said.append("from --build-arg")
            return cause._replace(line=line or step.line, note=", ".join(said))
        return cause if cause.line else cause._replace(line=step.line)

    def _made_by(self, step: RecordedStep, causes: Iterator[Cause]) -> Iterator[Cause]:
        """Files with the vertex that they were read from, where that is a stage."""
        for cause in causes:
            source = self._source_of(step, cause)
            if source is not None and source.kind not in ("local", "image"):
                where = f"line {source.line}" if source.line else source.text
                cause = cause._replace(note=f"from the result of {where}")
            elif source is not None and source.kind == "local":
                note = "" if source.context == "the context" else f"of {source.context}"
                cause = cause._replace(note=note)
            yield cause

    def _source_of(self, step: RecordedStep, cause: Cause) -> RecordedStep | None:
        known = self._known(step)
        if cause.part is None or known is None:
            return None
        found = step.inputs[reads(known)[cause.part][0]]
        return None if found is None else self.new.steps[found]

    # --- Where it stopped ---

    def _stops(self) -> Iterator[StoppedChange]:
        """Steps that read what changed, and were found in the cache all the same."""
        for step in self.new.steps:
            if not step.is_step or step.ran or step.number in self._changed:
                continue
            known = self._known(step)
            if known is None:
                continue
            for position, files in reads(known):
                number = step.inputs[position]
                if number in self._changed and number is not None and files is not None:
                    yield StoppedChange(self.new.steps[number], step, tuple(sorted(files)))


def _has_files(known: KeyParts | None) -> bool:
    """Whether the files that a step read are known; then they are causes of their own."""
    found = [] if known is None else reads(known)
    return bool(found) and all(files is not None for _, files in found)


def _base(build: BuildRecord, step: RecordedStep) -> RecordedStep | None:
    """The step on which one stands: of a merge its last input."""
    number = step.inputs[0] if step.inputs else None
    while number is not None:
        found = build.steps[number]
        if found.kind not in ("merge", "mount") or not found.inputs:
            return found
        number = found.inputs[-1]
    return None


def _moved(step: RecordedStep, before: RecordedStep | None) -> Iterator[Cause]:
    """What became of a source: another name, or another digest behind the same."""
    here = step.source
    if before is None:
        yield Cause("base", f"{_name(here)} is new", line=step.line)
        return
    there = before.source
    if _name(here) != _name(there):
        yield Cause("base", f"{_name(there)} -> {_name(here)}", line=step.line)
    elif step.kind == "image":
        old, new = str(there.get("digest", "")), str(here.get("digest", ""))
        platforms = (there.get("platform"), here.get("platform"))
        if old != new:
            text = f"{_name(here)} moved from {old[:19]} to {new[:19]}"
            yield Cause("base", text, line=step.line)
        elif platforms[0] != platforms[1]:
            yield Cause("base", f"{_name(here)}: another platform", line=step.line)
    elif step.pin != before.pin:
        old, new = before.pin or "unknown", step.pin or "unknown"
        yield Cause("pin", f"{_name(here)} moved from {old[:19]} to {new[:19]}", line=step.line)


def _name(source: Any) -> str:
    name = str(source.get("ref") or source.get("url") or source.get("name") or "a source")
    if source.get("url"):
        name = str(source["url"]) + (f"#{source['ref']}" if source.get("ref") else "")
    return name.removeprefix("docker.io/library/")


def setting_of(text: str, name: str, line: int) -> tuple[int, str]:
    """The line of an ARG or ENV that sets a variable for a step, and which of the two it is; 0 if
    it is not found: it may come from the base image."""
    said = regex(rf"(?i)^\s*(ARG|ENV)\s.*?(?<![\w$]){re.escape(name)}(?!\w)")
    lines = text.splitlines()
    for number in range(min(line - 1, len(lines)), 0, -1):
        if found := said.match(lines[number - 1]):
            return number, found[1].upper()
    return 0, ""


def newest_before(builds: Sequence[BuildRecord], build: BuildRecord) -> BuildRecord | None:
    """The build of the same place that came before; `builds` come newest first."""
    return next((b for b in builds if b.started < build.started and b.id != build.id), None)


# --- Which vertex of one build is which of another ---


def pairs(old: BuildRecord, new: BuildRecord) -> dict[int, int]:
    """The vertices of `new` that have one in `old`, by number."""
    found: dict[int, int] = {}
    for likeness in (_by_key, _by_text, _by_kind):
        left: dict[Hashable, list[RecordedStep]] = {}
        taken = set(found.values())
        for step in old.steps:
            if step.number not in taken and (mark := likeness(step)) is not None:
                left.setdefault(mark, []).append(step)
        for step in new.steps:
            if step.number in found or (mark := likeness(step)) is None:
                continue
            if alike := left.get(mark):
                found[step.number] = alike.pop(0).number
    return found


def _by_key(step: RecordedStep) -> Hashable:
    return (step.kind, step.stage, step.key, step.text) if step.key else None


def _by_text(step: RecordedStep) -> Hashable:
    return (step.kind, step.stage, step.text)


def _by_kind(step: RecordedStep) -> Hashable:
    return (step.kind, step.stage) if step.kind != "local" else None
