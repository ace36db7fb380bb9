"""Values in text, as Go and Docker write them: truth values, sizes, durations, records of CSV.

Comes in: `true`, `64k`, `1m30s`, `a,"b,c"`. Goes out: values; `ValueError` with BuildKit's words
for anything else. Rules: Go's `strconv.ParseBool`, `time.ParseDuration` and `encoding/csv`, and
Docker's `units.RAMInBytes`.
"""

import re

_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_DURATION = r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+"
_PART = r"([0-9]*)\.?([0-9]*)(ns|us|µs|μs|ms|s|m|h)"
_SIZE = r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+) ?([kmgtp]?)i?b?"
_MAX_INT64 = 2**63 - 1
_FIELD = r'"((?:[^"]|"")*)"|([^",]*)'
_TRUTH = dict.fromkeys("1 t T TRUE true True".split(), True) | dict.fromkeys(
    "0 f F FALSE false False".split(), False
)


def parse_bool(text: str) -> bool:
    """The truth value of `true`, `1`, `F` and so on."""
    if text not in _TRUTH:
        raise ValueError(f"invalid syntax: '{text}'")
    return _TRUTH[text]


def parse_uint(text: str, most: int = _MAX_INT64) -> int:
    """The number that ASCII digits mean, up to `most`; -1 for any other text. Python refuses, and
    takes long for, thousands of digits."""
    number = int(text.lstrip("0")[:20] or "0") if text.isascii() and text.isdigit() else -1
    return number if number <= most else -1


def csv_record(text: str) -> list[str]:
    """The fields of one record. `"` quotes a whole field; doubled in there, it is one."""
    if not text:
        raise ValueError("EOF")
    field = re.compile(_FIELD)
    fields: list[str] = []
    position = 0
    while True:
        match = field.match(text, position)
        after = match.end() if match else position
        if match is None or text[after : after + 1] not in ("", ","):
            raise ValueError(f"stray quote in '{text}'")
        fields.append(match[2] if match[1] is None else match[1].replace('""', '"'))
        if after == len(text):
            return fields
        position = after + 1


def duration_ns(text: str) -> int:
    """Nanoseconds of a duration such as `1h5m`, `1.5s` or `0`."""
    if text.lstrip("+-") == "0" and len(text) <= 2:
        return 0
    if not re.fullmatch(_DURATION, text):
        raise ValueError(f'time: {_wrong_duration(text)} duration "{text}"')
    total = 0
    for whole, fraction, unit in re.findall(_PART, text):
        scale = _UNITS_NS[unit]
        total += int(whole[:20] or "0") * scale
        total += int(fraction[:18] or "0") * scale // 10 ** len(fraction[:18])
    if total > _MAX_INT64:
        raise ValueError(f'time: invalid duration "{text}"')
    return -total if text.startswith("-") else total


def _wrong_duration(text: str) -> str:
    """What is wrong at the first place that is no part of a duration, in Go's words."""
    left = re.sub(rf"^[+-]?(?:{_PART})*", "", text)
    found = re.match(r"(?:\d+\.?|\.\d)\d*([^.\d]*)", left)
    if found is None:
        return "invalid"
    return f'unknown unit "{found[1]}" in' if found[1] else "missing unit in"


def duration_text(nanoseconds: int) -> str:
    """A duration as Go prints it: `0s`, `1.5s`, `250ms`, `5m30s`, `1h0m0s`."""
    if not nanoseconds:
        return "0s"
    sign = "-" if nanoseconds < 0 else ""
    left = abs(nanoseconds)
    for unit in ("ns", "µs", "ms"):
        if left < 1000 * _UNITS_NS[unit]:
            return sign + _decimal(left, _UNITS_NS[unit]) + unit
    minutes, rest = divmod(left, _UNITS_NS["m"])
    seconds = _decimal(rest, _UNITS_NS["s"]) + "s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{sign}{hours}h{minutes}m{seconds}"
    return f"{sign}{minutes}m{seconds}" if minutes else sign + seconds


def _decimal(value: int, unit: int) -> str:
    """`value` in units, with as many decimals as it needs."""
    whole, fraction = divmod(value, unit)
    digits = str(fraction).rjust(len(str(unit)) - 1, "0").rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def size_bytes(text: str) -> int:
    """Bytes of a size such as `64k`, `1.5g` or `100`; k is 1024."""
    match = re.fullmatch(_SIZE, text, re.IGNORECASE)
    if not match:
        raise ValueError(f"invalid size: '{text}'")
    number, unit = match.groups()
    power: int = 1 << 10 * " kmgtp".index(unit.lower() or " ")
    whole, _, fraction = number.partition(".")
    size = int(whole[:20] or "0") * power
    size += int(fraction[:18].ljust(18, "0")) * power // 10**18
    if size > _MAX_INT64:
        raise ValueError(f"invalid size: '{text}'")
    return size
