"""Truth values as Go writes them: `strconv.ParseBool`, which Docker uses for flags and arguments.

Comes in: text. Goes out: a bool, or `ValueError` with Go's words.
"""

_VALUES = dict.fromkeys("1 t T TRUE true True".split(), True) | dict.fromkeys(
    "0 f F FALSE false False".split(), False
)


def parse_bool(text: str) -> bool:
    """The truth value of `true`, `1`, `F` and so on."""
    if text not in _VALUES:
        raise ValueError(f"invalid syntax: '{text}'")
    return _VALUES[text]
