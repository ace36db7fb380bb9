"""The pictures of docs/ are what the script makes of this program's output."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import CHECKOUT

PICTURES = CHECKOUT / "docs" / "pictures"


def script() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("make_pictures", PICTURES / "make.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.integration
@pytest.mark.linters  # one account is enough
@pytest.mark.needs("overlay", "busybox")
def test_pictures_are_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise: python docs/pictures/make.py."""
    made = script()
    monkeypatch.setattr(made, "HERE", tmp_path)
    made.main()
    names = {path.name for path in PICTURES.glob("*.svg")}
    assert {path.name for path in tmp_path.iterdir()} == names
    for name in names:
        assert (tmp_path / name).read_text() == (PICTURES / name).read_text(), name
