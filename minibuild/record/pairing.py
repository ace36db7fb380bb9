"""Which vertex of one build is which of another.

Comes in: two builds. Goes out: pairs. A vertex is the same if its key is; else if its instruction
is, in the same stage; else the first of a stage that is left over is the first of the other's that
is, if they are of one kind. So a line that was changed is compared with what it was.
"""

from collections.abc import Hashable

from minibuild.record.records import BuildRecord, RecordedStep


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
