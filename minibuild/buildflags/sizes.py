"""Sizes and truth values as Docker's flags write them.

Comes in: text such as `64m`, `1.5GB`, `true`. Goes out: bytes (k, m, g are powers of 1024, as for
memory everywhere in Docker) and booleans (the words of Go's `strconv.ParseBool`).
"""

from minibuild.errors import UsageError
from minibuild.graph.boolean import parse_bool

_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def size_bytes(text: str, flag: str) -> int:
    """The bytes that `text` names: a number, maybe with a fraction, and k, m, g, t or p."""
    number = text.strip().lower().removesuffix("b")
    if number[-1:] == "i" and number[-2:-1] in _POWERS:
        number = number[:-1]
    unit = number[-1:] if number[-1:].isalpha() else ""
    digits = number.removesuffix(unit).strip()
    if unit in _POWERS and digits.replace(".", "", 1).isdecimal() and digits.isascii():
        return int(float(digits) * 1024 ** _POWERS[unit])
    raise UsageError(
        f"invalid size {text!r} for --{flag}", hint="write it like 64m, 1.5g or 1048576"
    )


def truth(text: str, flag: str) -> bool:
    """The value of a flag given as `--flag=VALUE`."""
    try:
        return parse_bool(text)
    except ValueError:
        raise UsageError(
            f"invalid value {text!r} for --{flag}", hint="it is true or false"
        ) from None
