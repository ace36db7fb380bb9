"""Claims of processes: those of the dead are found, those in the making are left alone."""

import os
import time
from pathlib import Path

from minibuild.store.owner import StoreOwner, abandoned


def test_claims_of_the_dead(tmp_path: Path) -> None:
    """A claim is that of a dead process when its lock is free."""
    alive = StoreOwner(str(tmp_path))
    (tmp_path / "1-dead").touch()
    with abandoned(str(tmp_path)) as dead:
        assert dead == ["1-dead"]
    assert os.listdir(tmp_path) == [alive.name]
    alive.release()
    assert os.listdir(tmp_path) == []


def test_claims_in_the_making(tmp_path: Path) -> None:
    """A process was killed before its claim got its name; or it is just being made."""
    old = tmp_path / ".1-old"
    for path in (old, tmp_path / ".2-new"):
        path.touch()
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    with abandoned(str(tmp_path)) as dead:
        assert dead == []
    assert os.listdir(tmp_path) == [".2-new"]
