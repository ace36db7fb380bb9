"""The `created_by` texts of an image's history, letter for letter as BuildKit writes them.

Comes in: what an instruction did. Goes out: one history entry. Tools compare these texts, so the
odd ones are kept: BuildKit prints values with Go's `fmt` package, hence `["a" "b"]` for CMD,
`[a b]` for VOLUME and a struct for HEALTHCHECK.
Read next: `state`, where the entries are collected.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from minibuild.graph.image import Healthcheck, History
from minibuild.graph.literals import duration_text

COMMENT = "buildkit.dockerfile.v0"
"""The program that wrote an entry; some tools look for it."""

_TIMES = ("Interval", "Timeout", "StartPeriod", "StartInterval")
_LAYER_MARK = " # buildkit"
_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}


def entry(created_by: str, *, layer: bool = False, mark: bool = False) -> History:
    """An entry; `layer` if the instruction made one, `mark` for the sign of RUN, COPY and ADD."""
    item = History(created_by=created_by + (_LAYER_MARK if mark else ""), comment=COMMENT)
    if not layer:
        item["empty_layer"] = True
    return item


def run_text(args: Sequence[str], build_args: Mapping[str, str]) -> str:
    """A RUN: the build arguments in scope, counted, before the command line."""
    declared = [f"{name}={value}" for name, value in build_args.items()]
    counted = [f"|{len(declared)}", *declared] if declared else []
    return "RUN " + " ".join([*counted, *args])


def healthcheck_text(check: Healthcheck) -> str:
    """A HEALTHCHECK, as Go prints the struct."""
    given: Mapping[str, Any] = {**check}
    times = " ".join(f"{name}:{duration_text(given.get(name, 0))}" for name in _TIMES)
    test = " ".join(check["Test"])
    return f"HEALTHCHECK {{Test:[{test}] {times} Retries:{check.get('Retries', 0)}}}"


def quoted_list(words: Iterable[str]) -> str:
    """Go's `%q` of a list of strings."""
    return f"[{' '.join(quoted(word) for word in words)}]"


def plain_list(words: Iterable[str]) -> str:
    """Go's `%v` of a list of strings."""
    return f"[{' '.join(words)}]"


def quoted(text: str) -> str:
    """Go's `%q` of a string."""
    return '"' + "".join(_quoted_char(char) for char in text) + '"'


def _quoted_char(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8 (surrogateescape)
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
