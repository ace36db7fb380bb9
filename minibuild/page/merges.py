"""Merges: which lists of layers had to become one tree, and whether they were stacked or linked.

Comes in: `Facts`. Goes out: for each step that needed a merge a row of boxes and the reason; then
the merges that needed no tree. Read next: `minibuild.snapshot.merge`; `layers`.
"""

from collections.abc import Iterator, Mapping, Sequence

from minibuild.graph.lanes import familiar
from minibuild.page.facts import Facts
from minibuild.page.markup import Html, line_link, plural, words
from minibuild.record.records import BuildRecord, RecordedStep
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

_MERGED = regex(r"merging (\d{1,9}) layers: (.*)")
_MOST_BOXES = 60


class MergeRow(NamedTuple):
    """A step that needed several diffs as one tree: the first `below` are a chain, and its
    parent; `how` is what progress said."""

    step: RecordedStep
    makers: tuple[RecordedStep | None, ...]
    below: int
    how: str

    @property
    def strategy(self) -> str:
        """How the diffs above the parent were put there."""
        return "stacked" if self.how == "stacked" else "linked"


def merges(found: Facts) -> Html:
    """The body of the section; empty if nothing was merged."""
    all_merges = [step for step in found.build.steps if step.kind == "merge"]
    done = list(made(found))
    if not (done or all_merges):
        return ""
    parts = [_shown(merge) for merge in done]
    idle = len(all_merges) - len(done)
    if idle > 0:
        parts.append(
            f'<p class="dim">{plural(idle, "merge")} not shown: a merge is a list of layers, and '
            "costs nothing until a step reads its files; or it was made in a build of which there "
            "is no record.</p>"
        )
    return "".join(parts)


def made(found: Facts) -> Iterator[MergeRow]:
    """The merges that were put on disk, in this build or in that in which a cached step ran."""
    for step in found.build.steps:
        where = found.where(step) if step.is_step else None
        if where is None:
            continue
        for remark in where[1].remarks:
            said = _MERGED.fullmatch(remark)
            if said is not None and (result := _input(found.build, step, int(said[1]))):
                makers = tuple(found.makers.get(diff) for diff in result)
                below = _chain(found.build, result, found.makers)
                yield MergeRow(step, makers, below, str(said[2]))


def _input(build: BuildRecord, step: RecordedStep, count: int) -> Sequence[int]:
    """The result of so many diffs that a step read."""
    results = (build.steps[number].result for number in step.inputs if number is not None)
    return next((result for result in results if len(result) == count), ())


def _chain(build: BuildRecord, result: Sequence[int], makers: Mapping[int, RecordedStep]) -> int:
    """How many diffs at the start were each made on those before."""
    for place, diff in enumerate(result):
        maker = makers.get(diff)
        if maker is None:
            return place
        first = maker.inputs[0] if maker.inputs else None
        below = () if first is None else build.steps[first].result
        if maker.kind != "image" and below != tuple(result[:place]):
            return place
    return len(result)


def _shown(merge: MergeRow) -> Html:
    boxes = []
    for number, maker in enumerate(merge.makers[:_MOST_BOXES]):
        kind = "parent" if number < merge.below else merge.strategy
        name = "" if maker is None else familiar(maker.text)
        where = line_link(maker) if maker is not None and maker.line else ""
        boxes.append(f'<li class="{kind}"><b>{kind}</b>{where} {words(name[:40])}</li>')
    more = len(merge.makers) - _MOST_BOXES
    note = f"<p>and {more} more</p>" if more > 0 else ""
    count = len(merge.makers)
    return (
        f"<p>{line_link(merge.step)} needed {plural(count, 'layer')} as one tree: "
        f"<strong>{words(merge.how)}</strong>. {_explained(merge)}</p>"
        f'<ol class="boxes">{"".join(boxes)}</ol>{note}'
    )


def _explained(merge: MergeRow) -> Html:
    if merge.below >= len(merge.makers):
        return "All of them were made one on the other, so nothing had to be done."
    if merge.strategy == "stacked":
        return (
            "No layer hides a file of those below it, so they were listed, and no file was touched."
        )
    return "Their changes were replayed as hardlinks, one layer after the other."
