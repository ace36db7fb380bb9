"""The Dockerfile as the index of the page: what became of each line, and why.

Comes in: `Facts`. Goes out: a table, a row for each instruction. What a step said and wrote, and
what its key is made of beside the instruction, is folded away under it. A graph that had no
definition is listed step by step. Read next: `timeline`; `minibuild.solver.keys`.
"""

from collections.abc import Iterator, Sequence

from minibuild.graph.svg import shown
from minibuild.page.facts import Facts, WrittenPath
from minibuild.page.markup import Html, details, line_link, plural, seconds, state, text, words
from minibuild.record.causes import KeyParts, reads
from minibuild.record.changes import as_tree
from minibuild.record.records import BuildRecord, RecordedStep
from minibuild.record.story import ExplainedStep

_LOG_BYTES = 4 << 10
_FAILED_LOG_BYTES = 16 << 10
_CAUSES = 6
_PATHS = 25
_SOURCES = ("image", "http", "git")
_MOST_ROWS = 1500


def source(found: Facts) -> Html:
    """The body of the section."""
    return _SourceTable(found).table()


class _SourceTable:
    """The table in the making."""

    def __init__(self, found: Facts) -> None:
        self._facts = found
        self._told = {told.step.number: told for told in found.story.told}

    def table(self) -> Html:
        build = self._facts.build
        lines = build.text.split("\n")
        while lines and not lines[-1].strip():
            lines.pop()
        rows = list(self._of_lines(lines) if lines else self._of_steps())
        more = len(rows) - _MOST_ROWS
        note = f'<p class="dim">and {plural(more, "more row")}</p>' if more > 0 else ""
        return (
            '<table class="src"><colgroup><col class="c1"><col><col class="c3"></colgroup>'
            '<thead><tr><th scope="col" class="n">line</th><th scope="col">instruction</th>'
            '<th scope="col">what happened</th></tr></thead>'
            f"<tbody>{''.join(rows[:_MOST_ROWS])}</tbody></table>{note}"
        )

    def _of_lines(self, lines: Sequence[str]) -> Iterator[Html]:
        steps = [
            s for s in self._facts.build.steps if s.lines and (s.is_step or s.kind in _SOURCES)
        ]
        for first, last in _blocks(steps, len(lines)):
            here = [step for step in steps if first <= step.line <= last]
            numbers = "<br>".join(map(str, range(first, last + 1)))
            written = "".join(
                f'<span id="L{n}">{_instruction(lines[n - 1])}</span>'
                for n in range(first, last + 1)
            )
            yield self._row(numbers, written, here)

    def _of_steps(self) -> Iterator[Html]:
        for step in self._facts.build.steps:
            if step.is_step:
                yield self._row("", f"<span>{_instruction(step.text)}</span>", [step])

    def _row(self, numbers: Html, written: Html, steps: Sequence[RecordedStep]) -> Html:
        folded = "".join(self._folded(step) for step in steps)
        happened = "".join(self._happened(step, several=len(steps) > 1) for step in steps)
        return (
            f'<tr><td class="n">{numbers}</td><td><pre>{written}</pre>{folded}</td>'
            f'<td class="h">{happened}</td></tr>'
        )

    # --- What happened ---

    def _happened(self, step: RecordedStep, *, several: bool) -> Html:
        if not step.is_step:
            pin = str(step.source.get("digest") or step.pin)
            return f'<div class="dim">{words(pin[:19])}</div>' if pin else ""
        which = f'<span class="dim">{words(_bracket(step))}</span> ' if several else ""
        took = f" {seconds(step.seconds)}" if step.ran else ""
        said = f"<div>{which}{state(step)}{took} {self._earlier(step)}</div>"
        told = self._told.get(step.number)
        compared = self._facts.story.against is not None
        return said + (_why(told) if told is not None and compared else "")

    def _earlier(self, step: RecordedStep) -> Html:
        found = self._facts.where(step) if step.state == "cached" else None
        if found is None:
            return ""
        build, ran = found
        return f'<span class="dim">took {seconds(ran.seconds)} in build {words(build.id)}</span>'

    # --- What is folded away ---

    def _folded(self, step: RecordedStep) -> Html:
        found = self._facts.where(step) if step.is_step else None
        log = "" if found is None else _log(*found)
        wrote = _paths(self._facts.written.get(step.number, ()))
        made_of = key(step, self._facts.parts(step.key or "")) if step.is_step else ""
        parts = {"log": log, "files": wrote, "key": made_of}
        names = [name for name, part in parts.items() if part]
        if not names:
            return ""
        return details(", ".join(names), log + wrote + made_of, is_open=step.state == "failed")


def _why(told: ExplainedStep) -> Html:
    causes = [words(str(cause)) for cause in told.causes[:_CAUSES]]
    if len(told.causes) > _CAUSES:
        causes.append(f"and {len(told.causes) - _CAUSES} more")
    if told.follows:
        causes.append("follows " + ", ".join(line_link(step) for step in told.follows[:_CAUSES]))
    return '<ul class="c">' + "".join(f"<li>{cause}</li>" for cause in causes) + "</ul>"


def _log(build: BuildRecord, step: RecordedStep) -> Html:
    """The end of a log."""
    pieces = build.data.get("logs", {}).get(str(step.number), ())
    whole = "".join(str(said) for _, _, said in pieces)
    limit = _FAILED_LOG_BYTES if step.state == "failed" else _LOG_BYTES
    shown_part = whole[-limit:]
    if len(shown_part) < len(whole):
        shown_part = shown_part.partition("\n")[2]
    lines = [text(line.rpartition("\r")[2]) for line in shown_part.rstrip("\n").split("\n")]
    cut = '<span class="dim">…</span>\n' if len(shown_part) < len(whole) else ""
    return f"<pre>{cut}{chr(10).join(lines)}</pre>" if whole else ""


def _paths(paths: Sequence[WrittenPath]) -> Html:
    """A tree of files: names below their directories."""
    if not paths:
        return ""
    lines: list[str] = []
    for depth, name, note in as_tree(paths[:_PATHS]):
        said = "/" if note is None else f'  <span class="dim">{shown(note)}</span>'
        lines.append("  " * depth + text(name) + said)
    if len(paths) > _PATHS:
        lines.append(f'<span class="dim">and {len(paths) - _PATHS:,} more</span>')
    return f"<pre>{chr(10).join(lines)}</pre>"


# --- Lines ---


def _blocks(steps: Sequence[RecordedStep], count: int) -> Iterator[tuple[int, int]]:
    """The lines in groups: those of an instruction together, all others alone."""
    ends = {n: n for n in range(1, count + 1)}
    for step in steps:
        first = min(step.line, count)
        ends[first] = max(ends[first], min(step.lines[-1], count))
    line = 1
    while line <= count:
        last = ends[line]
        inner = line
        while inner <= last:
            last = max(last, ends[inner])
            inner += 1
        yield line, last
        line = last + 1


def _instruction(line: str) -> Html:
    """A line, with the word that it begins with, if it is in capitals, in bold."""
    word, blank, rest = line.partition(" ")
    if word.isupper() and word.isalpha():
        return f"<b>{text(word)}</b>{blank}{text(rest)}"
    return text(line)


def _bracket(step: RecordedStep) -> str:
    """The stage and platform, as progress shows them."""
    head, closed, _ = step.name.partition("] ")
    return head.removeprefix("[") if closed else step.stage


_DIGITS = len("sha256:") + 12
_VARIABLES = 8
_FILES = 12


def key(step: RecordedStep, known: KeyParts | None) -> Html:
    """The lines, or nothing if the step has no key."""
    if step.key is None:
        return ""
    lines = [f"key   {words(step.key[:_DIGITS])}"]
    if known is not None:
        lines += _parts(known)
    return f"<pre>{chr(10).join(lines)}</pre>"


def _parts(known: KeyParts) -> Iterator[Html]:
    base = known.get("base")
    yield f"base  {words(str(base)[:_DIGITS]) if base else 'nothing'}"
    pairs = [pair for pair in known["op"].get("env") or () if pair[0] != "PATH"]
    for name, value in pairs[:_VARIABLES]:
        yield f"env   {words(f'{name}={value}')}"
    if len(pairs) > _VARIABLES:
        yield f"env   and {len(pairs) - _VARIABLES} more"
    found = [
        f"read  {words(path)}  {words(said)}"
        for _, files in reads(known)
        for path, said in (files or {}).items()
    ]
    yield from found[:_FILES]
    if len(found) > _FILES:
        yield f"read  and {len(found) - _FILES:,} more"
