"""What frontends note, and how much of it is kept."""

import pytest

from minibuild.digest import Digest
from minibuild.frontend import bridge
from minibuild.frontend.bridge import StoredNotes
from minibuild.store.layout import Store


def test_notes_stay_in_the_store(store: Store) -> None:
    notes = StoredNotes(store.db)
    assert notes.find(Digest("a")) is None
    for note in ("first", ""):
        notes.keep(Digest("a"), note)
        assert StoredNotes(store.db).find(Digest("a")) == note


def test_oldest_notes_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "_MOST_NOTES", 3)
    notes = StoredNotes(store.db)
    for name in "abcde":
        notes.keep(Digest(name), name)
    assert [notes.find(Digest(name)) for name in "abcde"] == [None, None, "c", "d", "e"]
