"""What the key of a step is made of: its base, its environment, the files that it read.

Comes in: a step, and what its key was made of, without secrets. Goes out: a few lines. The
instruction, which is the rest of a key, stands beside them. Read next: `minibuild.solver.keys`.
"""

from collections.abc import Iterator

from minibuild.page.markup import Html, words
from minibuild.record.causes import Parts, read_files
from minibuild.record.records import RecordedStep

_DIGITS = len("sha256:") + 12
_VARIABLES = 8
_FILES = 12


def key(step: RecordedStep, known: Parts | None) -> Html:
    """The lines, or nothing if the step has no key."""
    if step.key is None:
        return ""
    lines = [f"key   {words(step.key[:_DIGITS])}"]
    if known is not None:
        lines += _parts(known)
    return f"<pre>{chr(10).join(lines)}</pre>"


def _parts(known: Parts) -> Iterator[Html]:
    base = known.get("base")
    yield f"base  {words(str(base)[:_DIGITS]) if base else 'nothing'}"
    pairs = [pair for pair in known["op"].get("env") or () if pair[0] != "PATH"]
    for name, value in pairs[:_VARIABLES]:
        yield f"env   {words(f'{name}={value}')}"
    if len(pairs) > _VARIABLES:
        yield f"env   and {len(pairs) - _VARIABLES} more"
    found = [
        f"read  {words(path)}  {words(said)}"
        for number in range(len(known["parts"]))
        for path, said in (read_files(known, number) or {}).items()
    ]
    yield from found[:_FILES]
    if len(found) > _FILES:
        yield f"read  and {len(found) - _FILES:,} more"
