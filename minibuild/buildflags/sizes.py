"""Sizes and truth values as Docker's flags write them.

Comes in: text such as `64m`, `1.5GB`, `true`. Goes out: bytes (k, m, g are powers of 1024, as for
memory everywhere in Docker) and booleans, or a `UsageError` about the flag.
"""

from collections.abc import Iterable

from minibuild.errors import UsageError
from minibuild.graph import literals
from minibuild.graph.spelling import one_of


def size_bytes(text: str, flag: str) -> int:
    """The bytes that `text` names: a number, maybe with a fraction, and k, m, g, t or p."""
    try:
        return literals.size_bytes(text.strip())
    except ValueError:
        raise UsageError(
            f"invalid size {text!r} for --{flag}", hint="write it like 64m, 1.5g or 1048576"
        ) from None


def truth(text: str, flag: str, known: Iterable[str] = ("true", "false")) -> bool:
    """The value of a flag given as `--flag=VALUE`; `known` is what else it may be."""
    try:
        return literals.parse_bool(text)
    except ValueError:
        raise UsageError(f"invalid value {text!r} for --{flag}", hint=one_of(text, known)) from None
