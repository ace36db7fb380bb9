"""Which records of the cache go: by age, by the size of all, by what is free; a table."""

import pytest

from minibuild.worker.gc import UsageRecord
from minibuild.worker.prune import FOREVER_S, Limits, Room, beyond

NOW = 1000.0
# The longest unused first, as `prune` sorts them: used 900, 700, 500, 0 seconds ago.
RECORDS = [
    UsageRecord("record", name, name, size, 0.0, used)
    for name, size, used in (("a", 10, 100.0), ("b", 20, 300.0), ("c", 30, 500.0), ("d", 40, NOW))
]

CASES: dict[str, tuple[Limits, str]] = {
    "nothing is old": (Limits(901.0), ""),
    "by age": (Limits(600.0), "ab"),
    "all": (Limits(0.0), "abcd"),
    "to a size": (Limits(FOREVER_S, max_used_bytes=75), "ab"),
    "to just that size": (Limits(FOREVER_S, max_used_bytes=70), "ab"),
    "to nothing": (Limits(FOREVER_S, max_used_bytes=0), "abcd"),
    "small enough": (Limits(FOREVER_S, max_used_bytes=100), ""),
    "until the disk has room": (Limits(FOREVER_S, min_free_bytes=31), "ab"),
    "the disk has room": (Limits(FOREVER_S, min_free_bytes=5), ""),
    "not below what is reserved": (Limits(0.0, reserved_bytes=70), "ab"),
    "reserved wins over the disk": (Limits(FOREVER_S, None, 10**6, 40), "abc"),
    "by age and size": (Limits(800.0, max_used_bytes=95), "a"),
}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_goes(case: str) -> None:
    limits, gone = CASES[case]
    assert "".join(beyond(RECORDS, limits, Room(NOW, 5 if "disk" in case else 0))) == gone
