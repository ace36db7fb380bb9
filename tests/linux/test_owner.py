"""Owners that there are not: what a person is told."""

import errno

import pytest

from minibuild.errors import HostError
from minibuild.linux import owner


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ((65536, 5), "user ids go up to 65535 here"),
        ((5, 70000), "group ids go up to 999 here"),
        ((70000, 70000), "user ids go up to 65535 here"),
        ((5, 5), "they are not mapped here: have more mapped"),
    ],
)
def test_ids_beyond_the_map(
    monkeypatch: pytest.MonkeyPatch, ids: tuple[int, int], said: str
) -> None:
    monkeypatch.setattr(owner, "mapped_ids", lambda: (65536, 1000))
    monkeypatch.setattr(owner, "maps_single_id", lambda: False)
    with pytest.raises(HostError) as caught:
        owner.refused(OSError(errno.EINVAL, "Invalid argument"), "f", *ids)
    assert said in caught.value.hint


def test_a_single_id_has_no_owners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "maps_single_id", lambda: True)
    owner.refused(OSError(errno.EINVAL, "Invalid argument"), "f", 5, 5)
    with pytest.raises(OSError, match="full"):
        owner.refused(OSError(errno.ENOSPC, "full"), "f", 5, 5)
