"""Filters of what the store holds: a table of texts, and what they mean of three things."""

import pytest

from minibuild.errors import UsageError
from minibuild.worker.gc import UsageRecord
from minibuild.worker.prune import FOREVER_S, Limits, Room, beyond
from minibuild.worker.usage_filter import parse_filter

THINGS = [
    UsageRecord("record", "sha256:ab1", "RUN apt-get install x, y", 10, 0.0, 1.0),
    UsageRecord("cache-mount", "f1", "/root/.cache", 20, 0.0, 2.0),
    UsageRecord("image", "docker.io/library/app:1", "", 30, 0.0, 3.0),
]

CASES = {
    "": "record cache-mount image",
    "type==regular": "record",
    "type=exec.cachemount": "cache-mount",
    "type!=exec.cachemount": "record image",
    "type!=internal,type!=frontend": "record cache-mount",
    "id~=^sha256:ab": "record",
    "id==f1": "cache-mount",
    'description~="install x, y$"': "record",
    "description": "record cache-mount",
    "mutable": "cache-mount",
    "immutable,private": "record image",
    "shared": "",
    "inuse": "",
    "mutable,type==regular": "",
    "parents~=x": "",
}


@pytest.mark.parametrize("text", CASES, ids=str)
def test_what_is_meant(text: str) -> None:
    meant = parse_filter(text)
    assert " ".join(one.kind for one in THINGS if meant(one)) == CASES[text]


@pytest.mark.parametrize("text", ["label=x", "type==", "id~=(", "type=a type=b", ",", "=x"])
def test_texts_that_mean_nothing(text: str) -> None:
    with pytest.raises(UsageError):
        parse_filter(text)


def test_what_is_not_meant_counts_and_stays() -> None:
    """The sizes of all records count, whichever may go."""
    meant = parse_filter("type==regular")
    limits = Limits(FOREVER_S, max_used_bytes=45)
    assert beyond(THINGS, limits, Room(9.0, 0), meant) == ["sha256:ab1"]
    assert beyond(THINGS, Limits(0.0), Room(9.0, 0), meant) == ["sha256:ab1"]
