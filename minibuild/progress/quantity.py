"""Amounts as people read them: bytes in powers of 1000 with their unit, as BuildKit shows them.

Comes in: numbers. Goes out: text such as `1.53kB`, `12 files`. Read next: `plain`.
"""

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def bytes_text(count: float) -> str:
    """`count` bytes with at most two decimals and the largest unit that keeps it above 1."""
    for unit in _UNITS[:-1]:
        if abs(count) < 999.995:
            return _trimmed(count) + unit
        count /= 1000
    return _trimmed(count) + _UNITS[-1]


def amount(current: int, total: int, unit: str) -> str:
    """How far a part is: `1.2MB / 3MB`, `12 / 40 files`, or less where less is known."""
    if unit == "B":
        now, all_ = bytes_text(current), bytes_text(total)
        return f"{now} / {all_}" if total else now if current else ""
    if not total and not current:
        return ""
    return f"{current} / {total} {unit}" if total else f"{current} {unit}"


def _trimmed(number: float) -> str:
    text = f"{number:.2f}"
    return text.rstrip("0").rstrip(".")
