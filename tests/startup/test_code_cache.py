"""The code of many modules in one file: what is found there, and what is not."""

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module, invalidate_caches
from pathlib import Path
from types import ModuleType

import pytest

from minibuild.startup import code_cache
from minibuild.startup.code_cache import CodeCache, _Loader

MODULES = {
    "__init__.py": "",
    "one.py": "def number() -> int:\n    return 1\n",
    "inner/__init__.py": "NAME = __name__\n",
    "inner/two.py": "from sample.one import number\nnumber = number() + 1\n",
}


@pytest.fixture(autouse=True)
def writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package `sample` on the path."""
    for name, text in MODULES.items():
        path = tmp_path / "sample" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "sample"
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "sample"]:
        del sys.modules[name]
    invalidate_caches()


def loaded(package: Path) -> dict[str, ModuleType]:
    """A start of a program that loads the package, from the file as far as it can."""
    forget()
    cache = CodeCache(str(package / "modules"), "sample")
    sys.meta_path.insert(0, cache)
    try:
        names = ("sample.one", "sample.inner", "sample.inner.two")
        modules = {name: import_module(name) for name in names}
        cache.keep()
    finally:
        sys.meta_path.remove(cache)
    return modules


def from_file(modules: dict[str, ModuleType]) -> list[str]:
    return [name for name, module in modules.items() if isinstance(module.__loader__, _Loader)]


def test_second_start_finds_all_in_the_file(package: Path) -> None:
    assert from_file(loaded(package)) == []
    written = os.stat(package / "modules").st_ino
    modules = loaded(package)
    assert from_file(modules) == list(modules)
    assert modules["sample.one"].number() == 1
    assert modules["sample.inner.two"].number == 2
    assert os.stat(package / "modules").st_ino == written, "it was written again for nothing"


def test_modules_are_what_python_makes_of_them(package: Path) -> None:
    """Their attributes are the same, and they can be inspected."""
    first, second = loaded(package), loaded(package)
    for name, module in first.items():
        for attribute in ("__name__", "__package__", "__file__", "__cached__", "__path__"):
            expected = getattr(module, attribute, None)
            assert getattr(second[name], attribute, None) == expected, (name, attribute)
    assert inspect.getsource(second["sample.one"].number) == MODULES["one.py"]


def test_change_of_a_source_counts(package: Path) -> None:
    """Also one of the same length, and the file has it afterwards."""
    loaded(package)
    (package / "one.py").write_text(MODULES["one.py"].replace("1", "5"))
    os.utime(package / "one.py", ns=(10**18, 10**18))
    modules = loaded(package)
    assert modules["sample.inner.two"].number == 6
    assert from_file(modules) == ["sample.inner", "sample.inner.two"]
    again = loaded(package)
    assert again["sample.inner.two"].number == 6
    assert from_file(again) == list(again)


def test_module_that_is_gone(package: Path) -> None:
    loaded(package)
    (package / "inner" / "two.py").unlink()
    with pytest.raises(ModuleNotFoundError):
        loaded(package)


def damaged(data: bytes) -> list[bytes]:
    return [b"", data[:8], data[:40], b"x" * 16 + data[16:], data[:16] + b"\xff" * 32]


@pytest.mark.parametrize("number", range(len(damaged(b""))))
def test_damaged_file_is_none(package: Path, number: int) -> None:
    loaded(package)
    path = package / "modules"
    path.write_bytes(damaged(path.read_bytes())[number])
    modules = loaded(package)
    assert modules["sample.inner.two"].number == 2
    assert from_file(modules) == []
    assert from_file(loaded(package)) == list(modules), "it was not mended"


def test_code_of_another_interpreter_is_left_alone(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded(package)
    monkeypatch.setattr(code_cache, "_PYTHON", "another")
    assert from_file(loaded(package)) == []


def no_bytecode(package: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sys, "dont_write_bytecode", True)


def not_writable(package: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(os, "access", lambda path, mode: False)


def full(package: Path, patch: pytest.MonkeyPatch) -> None:
    def replace(source: str, target: str) -> None:
        raise OSError("no space")

    patch.setattr(os, "replace", replace)


@pytest.mark.parametrize("hinder", [no_bytecode, not_writable, full])
def test_nothing_is_left_where_it_cannot_be_written(
    package: Path,
    monkeypatch: pytest.MonkeyPatch,
    hinder: Callable[[Path, pytest.MonkeyPatch], None],
) -> None:
    hinder(package, monkeypatch)
    assert loaded(package)["sample.inner.two"].number == 2
    assert [path.name for path in package.glob("modules*")] == []
