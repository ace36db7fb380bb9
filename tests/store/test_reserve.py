"""The room that a store keeps for pruning."""

import os
from pathlib import Path

import pytest

from minibuild.store.layout import Store
from minibuild.store.reserve import keep_reserve, reserve_on_the_disk


def sizes(root: Path) -> list[int]:
    """Those of the files of the reserve."""
    return sorted(path.stat().st_size for path in (root / "reserve").iterdir())


WHOLE = [256 << 10] * 4


def test_the_disk_has_it_for_the_time_of_a_prune(tmp_path: Path) -> None:
    Store(str(tmp_path / "store")).close()
    assert sizes(tmp_path / "store") == WHOLE
    with reserve_on_the_disk(str(tmp_path / "store")):
        assert sizes(tmp_path / "store") == []
    assert sizes(tmp_path / "store") == WHOLE


def test_a_prune_that_was_killed(tmp_path: Path) -> None:
    """The next start makes it again, however far the prune came."""
    for left in (["0", "1"], []):
        Store(str(tmp_path)).close()
        with reserve_on_the_disk(str(tmp_path)):
            for name in left:
                (tmp_path / "reserve" / name).touch()
            Store(str(tmp_path)).close()
            assert sizes(tmp_path) == WHOLE


def test_the_last_file_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a prune that is killed on the way is seen by the lack of one file."""
    Store(str(tmp_path)).close()
    gone: list[str] = []
    monkeypatch.setattr("os.unlink", gone.append)
    with reserve_on_the_disk(str(tmp_path)):
        assert [os.path.basename(path) for path in gone] == ["3", "2", "1", "0"]


def test_a_folder_of_others_stays_as_it_is(tmp_path: Path) -> None:
    """MINIBUILD_ROOT may name any folder: its `reserve` is not that of a store."""
    (tmp_path / "reserve/0").mkdir(parents=True)
    (tmp_path / "reserve/1").write_text("mine")
    with reserve_on_the_disk(str(tmp_path)):
        pass
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["0", "1", "reserve"]
    assert (tmp_path / "reserve/1").read_text() == "mine"


def test_only_what_is_its_own_goes(tmp_path: Path) -> None:
    Store(str(tmp_path)).close()
    (tmp_path / "reserve/notes").write_text("mine")
    (tmp_path / "reserve/0").unlink()
    (tmp_path / "reserve/0").mkdir()  # It cannot go, and that is no error.
    with reserve_on_the_disk(str(tmp_path)):
        assert sorted(os.listdir(tmp_path / "reserve")) == ["0", "notes"]


def test_none_in_the_store_of_another_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: tmp_path.stat().st_uid + 1)
    keep_reserve(str(tmp_path))
    assert not (tmp_path / "reserve").exists()
