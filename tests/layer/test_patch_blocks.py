"""Patches of layers whose blocks are known: what is repeated is neither compressed nor named again,
and the bytes are those of a store that knows nothing."""

import os
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minibuild.layer.gzip_writer import GzipWriter
from minibuild.oci.content import ContentStore
from minibuild.store.layout import Store
from tests.layer.blocks import CHANGED, EDITS, FILES, Edits, edited, new_store, pack, patched


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all blocks of which keys are made."""
    sizes: list[int] = []
    real = GzipWriter._key

    def counted(self: GzipWriter, data: memoryview, dictionary: bytes) -> bytes:
        sizes.append(len(data))
        return real(self, data, dictionary)

    monkeypatch.setattr(GzipWriter, "_key", counted)
    return sizes


def test_keys_of_what_is_repeated_are_known(
    store: Store, tmp_path: Path, keys: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is made to see where blocks begin, if they are taken one by one."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    content = ContentStore(store)
    files = [*FILES, *((f"e/{name}", size, seed) for name, size, seed in FILES)]
    changed = [*CHANGED, *files[len(FILES) :]]
    old = pack(content, files)
    many = len(keys)
    assert many > 15
    keys.clear()
    made = patched(content, tmp_path / "p", old, files, changed)
    assert made == pack(new_store(tmp_path / "empty"), changed, known=False)
    assert 1 <= len(keys) <= 5
    Path(store.path("blocks", old.digest.partition(":")[2])).unlink()
    keys.clear()
    assert patched(content, tmp_path / "p2", old, files, changed) == made
    assert len(keys) >= many - 1, "nothing says where blocks begin"


@settings(max_examples=15, deadline=None)
@given(edit=EDITS, level=st.sampled_from([None, None, 2]))
def test_bytes_of_a_patch_are_those_of_an_empty_store(
    tmp_path_factory: pytest.TempPathFactory,
    edit: Edits,
    level: int | None,
) -> None:
    top = tmp_path_factory.mktemp("patched")
    content, before = new_store(top / "store"), FILES[:150]
    old, files = pack(content, before, level), edited(before, edit)
    with mock.patch.object(os, "cpu_count", lambda: 1):
        made = patched(content, top / "p", old, before, files)
    assert made == pack(new_store(top / "empty"), files, known=False)
