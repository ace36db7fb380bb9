"""What a key was made of, in a form that can be kept and compared with that of another key.

Comes in: an op and the parts of its key. Goes out: plain data, or the same as JSON in pieces. By it
a miss names the files that changed. Read next: `cache.records`, which keeps it.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from minibuild.digest import Digest
from minibuild.graph.op import Exec, File
from minibuild.graph.vertex import plain
from minibuild.solver.keys import Part, by_effect, pairs

_BATCH = 500


def explain(op: Exec | File, base: Digest | None, parts: Sequence[Part]) -> dict[str, Any]:
    """The parts of a key."""
    parsed: dict[str, Any] = json.loads("".join(explain_json(op, base, parts)))
    return parsed


def explain_json(op: Exec | File, base: Digest | None, parts: Sequence[Part]) -> Iterator[str]:
    """The same as JSON, so many files at a time: for 100,000 files the whole takes 40 MiB."""
    op_json, base_json = json.dumps(plain(by_effect(op, parts))), json.dumps(base)
    yield f'{{"op": {op_json}, "base": {base_json}, "parts": {{'
    for number, part in enumerate(parts):
        yield f"{', ' if number else ''}{json.dumps(part.name)}: "
        if part.contents is None:
            yield json.dumps(part.identity)
            continue
        yield "{"
        for at in range(0, len(part.contents), _BATCH):
            some = {path: brief(words) for path, words in pairs(part.contents[at : at + _BATCH])}
            yield (", " if at else "") + json.dumps(some)[1:-1]
        yield "}"
    yield "}}"


def brief(words: str) -> str:
    """A fingerprint with all its words, and of the digest of its data the last digits, which are
    enough to see that the data changed. Of one with several parts each is cut."""
    if "; " in words:
        return "; ".join(map(brief, words.split("; ")))
    head, _, last = words.rpartition(" ")
    return f"{head} {last[-16:]}".lstrip() if len(last) == 64 and _is_hex(last) else words


def _is_hex(text: str) -> bool:
    try:
        return bool(bytes.fromhex(text))  # For each file of a copy, and the fastest way.
    except ValueError:
        return False
