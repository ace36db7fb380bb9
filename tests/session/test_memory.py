"""Build contexts in memory become folders and archives, and are gone afterwards."""

import io
import os
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest

from minibuild.errors import UsageError
from minibuild.session.memory import FILE_TIME, contexts_on_disk


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def a_tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("a"), io.BytesIO())
    return stream.getvalue()


@pytest.mark.parametrize("context", ["a/b", Path("a/b"), "https://x/y.git", "."])
def test_paths_and_urls_stay(context: Any, temporary: Path) -> None:
    with contexts_on_disk(context, {"x": context}) as (main, named):
        assert (main, named) == (os.fspath(context), {"x": os.fspath(context)})
        assert not os.listdir(temporary)


def test_files(temporary: Path) -> None:
    """Text is UTF-8, modes and times are always the same, whatever the umask."""
    before = os.umask(0o077)
    try:
        files = {"Dockerfile": "FROM é\n", "d/e/f": b"\0\xff", "d/g": "\udcff"}
        with contexts_on_disk(files, {"more": {"x": ""}}) as (main, named):
            top = Path(main)
            assert (top / "Dockerfile").read_text() == "FROM é\n"
            assert (top / "d/e/f").read_bytes() == b"\0\xff"
            assert (top / "d/g").read_bytes() == b"\xff"
            assert os.listdir(named["more"]) == ["x"]
            for path in (top, *top.rglob("*")):
                found = path.stat()
                assert found.st_mtime == FILE_TIME
                assert stat.S_IMODE(found.st_mode) == (0o755 if path.is_dir() else 0o644)
    finally:
        os.umask(before)
    assert not os.listdir(temporary)


@pytest.mark.parametrize("tar", [a_tar(), io.BytesIO(a_tar()), io.BytesIO(b"\x1f\x8b rest")])
def test_tars(tar: Any, temporary: Path) -> None:
    """Bytes, or a file that is read from where it stands."""
    with contexts_on_disk(tar, {}) as (main, _):
        assert os.path.basename(main) == "context.tar"  # the name is part of cache keys
        data = tar if isinstance(tar, bytes) else tar.getvalue()
        assert Path(main).read_bytes() == data
    assert not os.listdir(temporary)


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"/etc/passwd": ""}, "cannot be called '/etc/passwd'"),
        ({"../x": ""}, "cannot be called '../x'"),
        ({"a/../../x": ""}, "cannot be called"),
        ({"a//b": ""}, "cannot be called"),
        ({"": ""}, "cannot be called ''"),
        ({"a\0b": ""}, "cannot be called"),
        ({"\ud800": ""}, "cannot be called"),
        ({3: ""}, "cannot be called 3"),
        ({"a": 3}, "the file 'a' must be text or bytes, and is int"),
        ({"a": "\ud800"}, "text that is not UTF-8"),
        ({"a": "", "a/b": ""}, "cannot hold 'a/b': another file is in its way"),
        ({"a/b": "", "a": ""}, "cannot hold 'a': another file is in its way"),
        ({"x" * 300: ""}, "cannot keep the build context 'context': File name too long"),
        (b"", "in memory is no tar"),
        (b"FROM scratch\n", "in memory is no tar"),
        (io.StringIO("x"), "is a file that is open as text"),
        (3, "a build context cannot be int"),
        (None, "a build context cannot be NoneType"),
        (["a"], "a build context cannot be list"),
    ],
)
def test_refused(context: Any, message: str, temporary: Path) -> None:
    """Nothing leads out of the folder, and nothing stays."""
    both: tuple[tuple[Any, dict[str, Any]], ...] = ((context, {}), (".", {"name": context}))
    for given in both:  # (".", {"name": context})):
        with pytest.raises(UsageError) as caught, contexts_on_disk(*given):
            raise AssertionError("it was taken")
        assert message.replace("'context'", "'name'") in caught.value.message.replace(
            "'context'", "'name'"
        )
    assert not os.listdir(temporary)
