"""Claims of processes: those of the dead are found, and a claim in the making is never lost."""

import fcntl
import os
from pathlib import Path

import pytest

from minibuild.store.claim import StoreClaim, abandoned


def test_claims_of_the_dead(tmp_path: Path) -> None:
    """A claim is that of a dead process when its lock is free."""
    alive = StoreClaim(str(tmp_path))
    (tmp_path / "1-dead").touch()
    with abandoned(str(tmp_path)) as dead:
        assert dead == ["1-dead"]
    assert os.listdir(tmp_path) == [alive.name]
    alive.release()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("ended", [False, True], ids=["sweep goes on", "sweep has ended"])
def test_swept_before_it_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    """Another process sweeps after the file is made, and before its lock is taken."""
    flock = fcntl.flock
    swept: list[str] = []
    sweeps: list[object] = []

    def sweep_first(fd: int, how: int) -> None:
        if not swept:
            monkeypatch.setattr(fcntl, "flock", flock)
            sweep = abandoned(str(tmp_path))
            swept.extend(sweep.__enter__())
            if ended:
                sweep.__exit__(None, None, None)
            else:
                sweeps.append(sweep)
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    owner = StoreClaim(str(tmp_path))
    assert len(swept) == 1 and owner.name not in swept
    with abandoned(str(tmp_path)) as dead:
        assert dead == [], "the second claim is locked; the first is of the sweep, or gone"
    assert (set(os.listdir(tmp_path)) == {owner.name}) is ended
