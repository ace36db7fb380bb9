"""Times as people write them: `90m`, `1.5h`, `7d`, `2h30m`.

Comes in: text of a flag or of a variable. Goes out: seconds.
"""

from minibuild.errors import UsageError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def duration(text: str) -> float:
    """The seconds that a time such as `90m`, `1.5h`, `7d` or `2h30m` means."""
    seconds, number = 0.0, ""
    for character in text:
        if character.isdecimal() or character == ".":
            number += character
        elif character in _UNITS and number.strip(".").replace(".", "", 1).isdecimal():
            seconds, number = seconds + float(number) * _UNITS[character], ""
        else:
            break
    else:
        if text and not number:
            return seconds
    raise UsageError(f"invalid time {text!r}", hint="write it like 12h, 7d or 2h30m")
