"""Images made from images (append, flatten, squash, rebase), and looked at (history, diff)."""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minibuild.cli.main import entry

Run = Callable[..., str]


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "root")


@pytest.fixture
def run(root: str, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process; what it printed, with the errors if it ended with a code."""

    def call(*words: str, code: int = 0) -> str:
        ended = entry(["--root", root, *words])
        captured = capsys.readouterr()
        assert ended == code, captured.err
        return captured.out + (captured.err if code else "")

    return call


@pytest.fixture
def tar(tmp_path: Path) -> Callable[..., str]:
    """`tar("name", a="data")` writes a tar of these files."""

    def write(name: str, **files: str) -> str:
        path = tmp_path / f"{name}.tar"
        with tarfile.open(path, "w") as archive:
            for key, text in files.items():
                info = tarfile.TarInfo(key.replace("__", "/"))
                info.size, info.mtime = len(text), 1_600_000_000
                archive.addfile(info, io.BytesIO(text.encode()))
        return str(path)

    return write


@pytest.fixture
def app(run: Run, tar: Callable[..., str]) -> str:
    """`app:1`, two layers on `base:1`; there is a `base:2`."""
    run("image", "import", tar("one", etc__a="1", etc__b="1"), "base:1")
    run("image", "import", tar("two", etc__a="2"), "base:2")
    files = ("-f", tar("top", app="v1", etc__b="mine"), "-f", tar("more", app="v2"))
    run("image", "append", "base:1", "app:1", *files, "-m", "by hand")
    return "app:1"


def inspect(run: Run, name: str) -> dict[str, Any]:
    return json.loads(run("image", "inspect", "--format=json", name))[0]["images"][0]


def changes(run: Run, *words: str, code: int = 1) -> dict[str, Any]:
    text = run("image", "diff", "--format=json", *words, code=code)
    return json.loads(text[: text.rindex("}") + 1])


def test_append(run: Run, app: str) -> None:
    image = inspect(run, app)
    assert len(image["layers"]) == len(image["config"]["rootfs"]["diff_ids"]) == 3
    assert [e.get("comment", "") for e in image["config"]["history"]] == ["", "by hand", "by hand"]
    run("image", "validate", app)
    assert "nothing to append" in run("image", "append", app, "x", code=2)
    assert "cannot read /nowhere" in run("image", "append", app, "x", "-f", "/nowhere", code=2)


def test_history(run: Run, app: str) -> None:
    entries = json.loads(run("image", "history", "--format=json", app))
    layers = [layer["digest"] for layer in inspect(run, app)["layers"]]
    assert [entry["layer"] for entry in entries] == layers
    lines = run("image", "history", app).splitlines()
    assert lines[0].split() == ["CREATED", "LAYER", "SIZE", "CREATED", "BY"]
    assert "minibuild image append" in lines[1] and "minibuild image import" in lines[-1]
    assert layers[0][7:19] in lines[-1] and layers[0] not in lines[-1]
    assert layers[0] in run("image", "history", "--no-trunc", app)


def test_diff_of_files_layers_and_config(run: Run, app: str) -> None:
    found = changes(run, "base:1", app)
    assert found["layers"]["common"] == 1
    assert [(f["kind"], f["path"], f["what"]) for f in found["files"]] == [
        ("added", "app", []),
        ("changed", "etc/b", ["data"]),
    ]
    text = run("image", "diff", "base:1", "base:2", code=1)
    assert "  ~ /etc/a  (data)" in text and "  - /etc/b" in text
    assert "none differs" in run("image", "diff", app, app)


def test_a_long_diff_says_how_many_files_differ(run: Run, tar: Callable[..., str]) -> None:
    run("image", "import", tar("few", x="1"), "few")
    run("image", "import", tar("many", x="1", **{f"f{n}": "" for n in range(203)}), "many")
    text = run("image", "diff", "few", "many", code=1)
    assert "203 differ" in text and "and 3 more: see them with --all" in text
    assert " more" not in run("image", "diff", "--all", "few", "many", code=1)


def test_diff_of_times(run: Run, tar: Callable[..., str], tmp_path: Path) -> None:
    path = tar("x", a="1")
    run("image", "import", path, "one")
    with tarfile.open(path) as archive:
        (member,) = archive.getmembers()
    member.mtime += 1
    with tarfile.open(path, "w") as archive:
        archive.addfile(member, io.BytesIO(b"1"))
    run("image", "import", path, "two")
    assert changes(run, "one", "two")["files"][0]["what"] == ["time"]
    assert changes(run, "--no-times", "one", "two")["files"] == []


def test_flatten(run: Run, app: str) -> None:
    run("image", "flatten", app, "flat")
    image = inspect(run, "flat")
    assert len(image["layers"]) == 1
    assert changes(run, app, "flat")["files"] == []
    history = image["config"]["history"]
    assert [bool(entry.get("empty_layer")) for entry in history] == [True] * 3 + [False]
    once = inspect(run, "flat")["digest"]
    run("image", "flatten", app, "flat")
    assert inspect(run, "flat")["digest"] == once


@pytest.mark.parametrize("how", [("--from", "base:1"), ("--keep", "1")])
def test_squash(run: Run, app: str, how: tuple[str, str]) -> None:
    run("image", "squash", app, "squashed", *how)
    layers = [layer["digest"] for layer in inspect(run, "squashed")["layers"]]
    assert len(layers) == 2 and layers[0] == inspect(run, "base:1")["layers"][0]["digest"]
    assert changes(run, app, "squashed")["files"] == []
    run("image", "validate", "squashed")


def test_squash_above_what(run: Run, app: str) -> None:
    assert "does not say what it was made on" in run("image", "squash", app, "x", code=2)
    assert "was not made on base:2" in run("image", "squash", app, "x", "--from=base:2", code=7)
    assert "3 layers, and 4 are to stay" in run("image", "squash", app, "x", "--keep=4", code=2)


def test_rebase(run: Run, app: str) -> None:
    run("image", "rebase", app, "new", "--from", "base:1", "--onto", "base:2")
    image, old = inspect(run, "new"), inspect(run, app)
    assert image["layers"][0] == inspect(run, "base:2")["layers"][0]
    assert image["layers"][1:] == old["layers"][1:]
    assert image["config"]["history"][0]["created_by"].endswith("two.tar")
    assert image["annotations"]["org.opencontainers.image.base.name"].endswith("base:2")
    run("image", "validate", "new")
    # What it is on now, it says itself; and back again is where it came from.
    run("image", "rebase", "new", "back", "--onto", "base:1")
    assert inspect(run, "back")["id"] == old["id"]


def test_rebase_of_another_image(run: Run, app: str) -> None:
    said = run("image", "rebase", app, "x", "--from", "base:2", "--onto", "base:1", code=7)
    assert "its lowest layers are others" in said
    assert "name the old base: --from IMAGE" in run(
        "image", "rebase", app, "x", "--onto=base:2", code=2
    )


def test_validate_finds_damage(run: Run, app: str, root: str, tmp_path: Path) -> None:
    layout = str(tmp_path / "layout")
    run("image", "save", "--format=dir", "-o", layout, app)
    assert "is sound" in run("image", "validate", layout)
    layer = inspect(run, app)["layers"][1]["digest"].removeprefix("sha256:")
    path = Path(layout, "blobs/sha256", layer)
    path.chmod(0o600)
    path.write_bytes(b"x" + path.read_bytes()[1:])
    said = run("image", "validate", layout, code=7)
    assert layer in said and "one thing is wrong" in said
    path.unlink()
    assert "No such file" in run("image", "validate", layout, code=7)
    assert "is sound" in run("image", "validate", app)


def test_archives_and_layouts_are_looked_at_in_place(run: Run, app: str, tmp_path: Path) -> None:
    """An image is the same wherever it is."""
    archive, layout = str(tmp_path / "app.tar"), str(tmp_path / "layout")
    run("image", "save", "--format=docker", "-o", archive, app)
    run("image", "save", "--format=dir", "-o", layout, "base:2")
    assert "none differs" in run("image", "diff", app, archive)
    assert run("image", "history", archive) == run("image", "history", app)
    assert run("image", "diff", app, layout, code=1) == run("image", "diff", app, "base:2", code=1)
    run("image", "save", "--format=dir", "-o", layout, app)
    assert "holds 2 images" in run("image", "history", layout, code=2)


def test_squash_keeps_the_compression(run: Run, app: str) -> None:
    run("image", "squash", app, "squashed", "--keep=0")
    assert inspect(run, "squashed")["layers"][0]["mediaType"].endswith("+gzip")


@pytest.mark.parametrize(
    ("history", "fault"),
    [
        (None, ""),
        ([None, {}], ""),
        (7, "history is a number, not a list"),
        ("text", "history is a string, not a list"),
        ([{}, "x"], "history[1] is a string, not an object"),
        ([{"created_by": 5}], "history[0].created_by is a number, not a string"),
    ],
)
def test_a_config_of_somebody_else(
    run: Run, app: str, tmp_path: Path, history: Any, fault: str
) -> None:
    """It is taken, or refused by the name of what is wrong; the image can always be removed."""
    layout = str(tmp_path / "layout")
    run("image", "save", "--format=dir", "-o", layout, "base:1")
    rewrite_config(layout, history)
    run("image", "load", layout, "-t", "strange")
    code = 7 if fault else 0
    for words in (
        ("history", layout),
        ("history", "strange"),
        ("validate", layout),
        ("flatten", "strange", "flat"),
        ("rebase", "strange", "moved", "--from=base:1", "--onto=base:2"),
    ):
        if words[0] != "validate" or fault:
            assert fault in run("image", *words, code=code)
    assert fault in run("image", "inspect", "strange")
    assert ("damaged" in run("image", "ls", "strange")) is bool(fault)
    run("image", "rm", "strange")


def rewrite_config(layout: str, history: Any) -> None:
    """Another history in the one image of a layout."""
    top = Path(layout)
    index = json.loads((top / "index.json").read_text())
    manifest = json.loads(blob_path(top, index["manifests"][0]).read_text())
    config = json.loads(blob_path(top, manifest["config"]).read_text())
    config["history"] = history
    manifest["config"].update(put(top, config))
    index["manifests"][0].update(put(top, manifest))
    (top / "index.json").chmod(0o600)
    (top / "index.json").write_text(json.dumps(index))


def blob_path(top: Path, descriptor: dict[str, Any]) -> Path:
    return top / "blobs" / descriptor["digest"].replace(":", "/")


def put(top: Path, value: Any) -> dict[str, Any]:
    data = json.dumps(value).encode()
    name = hashlib.sha256(data).hexdigest()
    (top / "blobs/sha256" / name).write_bytes(data)
    return {"digest": f"sha256:{name}", "size": len(data)}
