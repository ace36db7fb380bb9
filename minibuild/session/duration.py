"""Times as people write them: `90m`, `1.5h`, `7d`, `2h30m`.

Comes in: text of a flag or of a variable. Goes out: seconds.
"""

from minibuild.errors import UsageError
from minibuild.startup.regex import regex

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_PART = r"(\d+\.?\d*|\.\d+)([smhdw])"
_PARTS, _ALL = regex(_PART), regex(f"(?:{_PART})+")


def duration(text: str, what: str) -> float:
    """The seconds that a time such as `90m`, `1.5h`, `7d` or `2h30m` means; `what` is a flag or a
    variable."""
    if not _ALL.fullmatch(text):
        raise UsageError(f"invalid time {text!r} for {what}", hint="write it like 12h, 7d or 2h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in _PARTS.findall(text))
