"""`minibuild build --plan`: what would run, why, and how long it took the last time.

Comes in: a plan. Goes out: lines for people, or JSON.
Read next: `minibuild.record.planning`.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from minibuild.cli import why_text
from minibuild.cli.table import ago
from minibuild.progress.console import visible
from minibuild.record.links import LinkAdvice
from minibuild.record.planning import Plan, PlannedStep
from minibuild.record.records import RecordedStep

_MOST = 10


def lines_of(made: Plan, form: str) -> list[str]:
    """A plan as lines to print: as text, or as JSON."""
    return [json.dumps(_data(made), indent=2)] if form == "json" else list(_lines(made))


# --- As text ---


def _lines(made: Plan) -> Iterator[str]:
    against = made.story.against
    if against is not None:
        yield f"compared with build {against.id}, {ago(against.started)}"
    elif made.to_run:
        yield "there is no earlier build of it to compare with"
    blank = True
    for one in made.to_run:
        reasons = list(_reasons(made, one))
        if blank or reasons:
            yield ""
        yield from (_head(one), *reasons)
        blank = bool(reasons)
    yield ""
    for path in made.unread:
        yield f"no step reads {visible(path)}"
    if made.elsewhere:
        yield "caches of other machines are not asked: what they have would not run"
    yield _summary(made)
    if made.links is not None:
        yield ""
        yield from _links(made.links)


def _links(found: Sequence[LinkAdvice]) -> Iterator[str]:
    if not found:
        yield "no COPY or ADD of the last build is without --link"
        return
    yield "the COPY and ADD of the last build that have no --link:"
    for one in found:
        yield f"{why_text.place(one.step):<9} {_verdict(one):<14} {why_text.short(one.step.text)}"
        if reason := one.obstacle or one.unknown:
            yield f"      {visible(reason)}"
        elif one.spared:
            runs = "a run" if one.spared == 1 else f"{one.spared} runs"
            yield f"      --link would have spared {runs} of it ({one.seconds:.1f} s)"


def _verdict(one: LinkAdvice) -> str:
    return "another tree" if one.obstacle else "not known" if one.unknown else "the same tree"


def _head(one: PlannedStep) -> str:
    took = "-" if one.seconds is None else f"{one.seconds:.1f} s"
    return why_text.head(one.step, took, f"{_state(one):<8} ")


def _state(one: PlannedStep) -> str:
    return "may run" if not one.certain else "cached" if one.cached else "runs"


def _reasons(made: Plan, one: PlannedStep) -> Iterator[str]:
    if one.unless:
        said, many = _listed([_place(step) for step in one.unless]), len(one.unless) > 1
        end = "as before" if one.cached else "out the same"
        verb = ("are" if many else "is") if one.cached else "come" if many else "comes"
        yield f"      unless {said} {verb} {end}"
    elif made.story.against is not None:
        yield from why_text.reasons(made.story, one.step, _MOST)


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _place(step: RecordedStep) -> str:
    address = step.source.get("url")
    return visible(str(address)) if address else why_text.place(step)


def _summary(made: Plan) -> str:
    total = len(made.steps)
    steps = f"{total} steps" if total != 1 else "the step"
    sure = sum(one.certain and not one.cached for one in made.steps)
    perhaps = sum(not one.certain for one in made.steps)
    if not total:
        return "the build has no steps"
    if not made.to_run:
        return f"all {steps} are cached" if total > 1 else f"{steps} is cached"
    counts = [f"{sure} of {steps} would run" if total > 1 else "the step would run"] if sure else []
    if perhaps:
        counts.append(f"{perhaps} may run" if sure else f"{perhaps} of {steps} may run")
    if sure + perhaps < total:
        counts.append(f"{total - sure - perhaps} cached")
    known = [one for one in made.to_run if one.seconds is not None]
    if not known:
        return ", ".join(counts)
    upto = "up to " if perhaps else ""
    time = f"{upto}{made.seconds:.1f} s by the last times"
    if len(known) > 1:
        time += f", {made.chain_seconds:.1f} s on the longest chain"
    if new := len(made.to_run) - len(known):
        time += f"; {new} {'has' if new == 1 else 'have'} not run before"
    return f"{', '.join(counts)}: {time}"


# --- As data ---


def _data(made: Plan) -> dict[str, Any]:
    against = made.story.against
    return {
        "against": against and against.id,
        "steps": [_step_data(made, one) for one in made.steps],
        "seconds": round(made.seconds, 3),
        "chain_seconds": round(made.chain_seconds, 3),
        "unread": list(made.unread),
        "caches_not_asked": made.elsewhere,
        **({} if made.links is None else {"links": [_link_data(one) for one in made.links]}),
    }


def _link_data(one: LinkAdvice) -> dict[str, Any]:
    return {
        "line": one.step.line,
        "instruction": one.step.text,
        "same_tree": None if one.unknown else not one.obstacle,
        "reason": one.obstacle or one.unknown,
        "spared": one.spared,
        "seconds": round(one.seconds, 3),
    }


def _step_data(made: Plan, one: PlannedStep) -> dict[str, Any]:
    told = why_text.step_data(made.story, one.step, None)
    if one.unless:
        told |= {"causes": [], "follows": []}
    return {
        **told,
        "state": _state(one),
        "seconds": one.seconds,
        "unless": [{"line": s.line, "instruction": s.text} for s in one.unless],
    }
