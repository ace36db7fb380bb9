"""Images of the store: import, list, inspect, tag, save, load, remove."""

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from minibuild.cli.main import entry

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process; returns what it printed on standard output."""
    root = str(tmp_path / "root")

    def call(*words: str, code: int = 0, store: str = root) -> str:
        assert entry(["--root", store, *words]) == code, capsys.readouterr().err
        captured = capsys.readouterr()
        call.err = captured.err  # type: ignore[attr-defined]
        return captured.out

    return call


def write_tar(path: Path, entries: list[tuple[str, bytes | None]], mode: str = "w") -> str:
    """A tar of files and directories (without data) of a fixed time."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in entries:
            info = tarfile.TarInfo(name)
            info.mtime, info.size = 1_600_000_000, len(data or b"")
            info.type = tarfile.DIRTYPE if data is None else tarfile.REGTYPE
            archive.addfile(info, io.BytesIO(data or b""))
    return str(path)


@pytest.fixture
def rootfs(tmp_path: Path) -> str:
    return write_tar(tmp_path / "rootfs.tar", [("./", None), ("./etc", None), ("./etc/a", b"abc")])


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_the_same_files_are_the_same_image(
    tmp_path: Path, run: Run, rootfs: str, mode: str
) -> None:
    one = run("image", "import", "-q", rootfs, "a")
    again = write_tar(tmp_path / "rootfs.tar", [("etc", None), ("/etc/a", b"abc")], mode)
    assert run("image", "import", "-q", again, "b") == one


def test_import_list_inspect(run: Run, rootfs: str) -> None:
    assert run("image", "import", rootfs, "app:1", "-m", "hi").startswith("imported app:1  sha256:")
    assert run("image", "ls", "-q") == "app:1\n"
    (listed,) = json.loads(run("image", "ls", "--format", "json"))
    assert listed["name"] == "docker.io/library/app:1"
    (shown,) = json.loads(run("image", "inspect", "app:1", "--format=json"))
    assert shown["digest"] == listed["digest"]
    (image,) = shown["images"]
    assert image["config"]["created"] == "2020-09-13T12:26:40Z"
    (history,) = image["config"]["history"]
    assert history["created_by"] == "minibuild image import rootfs.tar"
    assert history["comment"] == "hi"
    text = run("image", "inspect", "app:1")
    assert "image     app:1" in text and image["id"] in text


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([], "holds no files"),
        ([(".", None)], "holds no files"),
    ],
)
def test_bad_tars_leave_nothing(
    tmp_path: Path, run: Run, entries: list[tuple[str, bytes | None]], words: str
) -> None:
    run("image", "import", write_tar(tmp_path / "bad.tar", entries), "bad", code=7)
    assert words in run.err  # type: ignore[attr-defined]
    assert run("image", "ls", "-q") == ""
    assert os.listdir(tmp_path / "root" / "ingest") == []


def test_names_with_dots(tmp_path: Path, run: Run) -> None:
    """They are those that are left when the dots are followed, and stop at the root."""
    digests = []
    for names in (["../a", "x/../../b", "/c/./d/../e"], ["a", "b", "c/e"]):
        tar = write_tar(tmp_path / "names.tar", [(name, b"x") for name in names])
        digests.append(run("image", "import", "-q", tar, "t").split()[-1])
    assert digests[0] == digests[1]


def test_what_is_no_tar(tmp_path: Path, run: Run, rootfs: str) -> None:
    (tmp_path / "text").write_text("no tar at all " * 100)
    run("image", "import", str(tmp_path / "text"), "x", code=7)
    cut = tmp_path / "cut.tar.gz"
    whole = Path(write_tar(tmp_path / "w.tar.gz", [("a", os.urandom(5000))], "w:gz")).read_bytes()
    cut.write_bytes(whole[:2000])
    run("image", "import", str(cut), "x", code=7)
    run("image", "import", str(tmp_path), "x", code=2)
    run("image", "import", str(tmp_path / "nowhere"), "x", code=2)
    run("image", "import", rootfs, "UPPER", code=2)


def test_names(run: Run, rootfs: str) -> None:
    run("image", "import", rootfs, "app:1")
    digest = json.loads(run("image", "ls", "--format=json"))[0]["digest"]
    run("image", "tag", "app:1", "ghcr.io/x/y", "other:2")
    assert run("image", "ls", "-q").split() == ["app:1", "other:2", "ghcr.io/x/y:latest"]
    assert run("image", "ls", "-q", "other").split() == ["other:2"]
    run("image", "tag", digest[7:19], "by-id")
    assert run("image", "rm", "other:2") == "removed other:2\n"
    out = run("image", "rm", "nothing", "by-id", code=7)
    assert out == "removed by-id:latest\n", "the others are removed all the same"
    run("image", "rm", "-f", "nothing")
    assert set(run("image", "rm", digest).split("\n")) == {
        "removed app:1",
        "removed ghcr.io/x/y:latest",
        "",
    }
    assert run("image", "ls", "-q") == ""


def test_a_wrong_name_is_answered_with_the_right_one(run: Run, rootfs: str) -> None:
    run("image", "import", rootfs, "busybox")
    run("image", "inspect", "busybos", code=7)
    assert "did you mean busybox" in run.err  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", ["docker", "oci", "dir"])
def test_save_and_load(tmp_path: Path, run: Run, rootfs: str, form: str) -> None:
    run("image", "import", rootfs, "ghcr.io/team/app:1")
    path, other = str(tmp_path / "saved"), str(tmp_path / "other")
    run("image", "save", "ghcr.io/team/app:1", "-o", path, "--format", form)
    assert "loaded ghcr.io/team/app:1" in run("image", "load", path, store=other)
    assert run("image", "load", "-q", "-t", "x:2", path, store=other) == ""
    before = json.loads(run("image", "inspect", "--format=json", "ghcr.io/team/app:1"))
    after = json.loads(run("image", "inspect", "--format=json", "x:2", store=other))
    assert after[0]["images"] == before[0]["images"]
    run("image", "load", "-i", path, path, code=2)


@pytest.mark.parametrize("form", ["docker", "oci", "dir"])
def test_save_several(tmp_path: Path, run: Run, rootfs: str, form: str) -> None:
    """In one archive, each under its name; what they share is in it once."""
    run("image", "import", rootfs, "ghcr.io/team/app:1")
    run("image", "config", "--label", "a=b", "ghcr.io/team/app:1", "other:2")
    path, store = str(tmp_path / "saved"), str(tmp_path / "second")
    run("save", "-o", path, "--format", form, "ghcr.io/team/app:1", "other:2")
    loaded = run("load", "-i", path, store=store)
    assert [line.split()[1] for line in loaded.splitlines()] == ["ghcr.io/team/app:1", "other:2"]
    for name in ("ghcr.io/team/app:1", "other:2"):
        before = json.loads(run("image", "inspect", "--format=json", name))
        assert json.loads(run("image", "inspect", "--format=json", name, store=store)) == before
    if form == "docker":
        with tarfile.open(path) as archive:
            blobs = [n for n in archive.getnames() if n.startswith("blobs/sha256/")]
            assert len(blobs) == len(set(blobs)) == 5  # a layer, two configs, two manifests
            found = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
        assert [one["RepoTags"] for one in found] == [["ghcr.io/team/app:1"], ["other:2"]]


def test_load_what_is_no_archive(tmp_path: Path, run: Run, rootfs: str) -> None:
    run("image", "load", str(tmp_path / "nowhere"), code=7)
    run("image", "load", rootfs, code=7)
    run("image", "load", str(tmp_path), code=7)
