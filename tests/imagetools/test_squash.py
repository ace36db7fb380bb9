"""Layers in one: the same files as before, whatever the layers are and wherever they are cut."""

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minibuild.digest import DiffID
from minibuild.errors import ImageError
from minibuild.image.listing import tree_of
from minibuild.imagetools.rebase import merge_config
from minibuild.imagetools.squash import squash_layers
from minibuild.layer.compress import layer_media_type
from minibuild.layer.layer import Layer
from minibuild.oci.content import ContentStore
from minibuild.oci.model import Descriptor
from minibuild.store.layout import Store
from tests.layer import trees
from tests.layer.tars import layer_of
from tests.layer.test_tar_sparse import FILES, WAYS, packed, write
from tests.support.images import File, apply_layer

Op = tuple[str, str, str]
PATHS = ("a", "b", "a/x", "a/y", "b/x", "a/x/z")


def tar_of(ops: Sequence[Op]) -> bytes:
    """A layer: `file PATH DATA`, `dir PATH`, `gone PATH`, `opaque PATH`, `link PATH TARGET`."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for kind, path, word in ops:
            folder, slash, name = path.rpartition("/")
            info = tarfile.TarInfo(path)
            if kind == "gone":
                info.name = f"{folder}{slash}.wh.{name}"
            elif kind == "opaque":
                info.name = f"{path}/.wh..wh..opq"
            elif kind == "dir":
                info.type, info.mode = tarfile.DIRTYPE, 0o750 if word else 0o755
            elif kind == "link":
                info.type, info.linkname = tarfile.LNKTYPE, word
            data = word.encode() if kind == "file" else b""
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


@st.composite
def layers_of_changes(draw: st.DrawFn) -> list[list[Op]]:
    """Layers such as builders write: directories before what is in them, whiteouts of what is."""
    files: dict[str, File] = {}
    layers = []
    for _ in range(draw(st.integers(1, 4))):
        gone = [p for p in sorted(files) if draw(st.integers(0, 4)) == 0]
        ops = [("gone", path, "") for path in gone]
        apply_layer(tar_of(ops), files)
        for path in draw(st.lists(st.sampled_from(PATHS), max_size=3, unique=True)):
            for end in (i for i, c in enumerate(path) if c == "/"):
                ops.append(("dir", path[:end], draw(st.sampled_from(("", "m")))))
            kind = draw(st.sampled_from(("file", "dir", "link")))
            before = [p for k, p, _ in ops if k == "file" and not path.startswith(p + "/")]
            if kind == "link" and before:
                ops.append(("link", path, draw(st.sampled_from(before))))
            else:
                ops.append(
                    ("dir" if kind == "dir" else "file", path, draw(st.text("pq", max_size=2)))
                )
        layers.append(_sound(ops))
        apply_layer(tar_of(layers[-1]), files)
    return layers


def _sound(ops: list[Op]) -> list[Op]:
    """Each name once, and nothing below a name that is no directory in the end."""
    last = {path: (kind, path, word) for kind, path, word in ops if kind != "gone"}

    def stands(path: str) -> bool:
        parents = [path[:i] for i, c in enumerate(path) if c == "/"]
        return all(parent not in last or last[parent][0] == "dir" for parent in parents)

    kept = [op for op in ops if op[0] == "gone"]
    for path, op in sorted(last.items()):
        target = last.get(op[2], ("",))[0] == "file" and stands(op[2])
        if stands(path):
            kept.append(op if op[0] != "link" or target else ("file", path, "was a link"))
    # A link comes after what it shares its file with.
    return sorted(kept, key=lambda op: (op[0] != "gone", op[0] == "link"))


def stored(content: ContentStore, ops: Sequence[Op]) -> Layer:
    data = tar_of(ops)
    digest = content.put(data)
    descriptor = Descriptor(layer_media_type("uncompressed"), digest, len(data))
    return Layer(DiffID(digest), descriptor, content)


def files_of(content: ContentStore, layers: Sequence[Layer]) -> dict[str, File]:
    files: dict[str, File] = {}
    for layer in layers:
        apply_layer(content.read(layer.digest), files)
    return files


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=layers_of_changes(), cut=st.integers(0, 4))
def test_the_files_stay_the_same(store: Store, changes: list[list[Op]], cut: int) -> None:
    content = ContentStore(store)
    layers = [stored(content, ops) for ops in changes]
    keep = min(cut, len(layers))
    one = squash_layers(content, layers, keep, "uncompressed")
    made = [*layers[:keep], one]
    assert files_of(content, made) == files_of(content, layers)
    assert set(tree_of(made)) == set(files_of(content, layers))
    # All of it again from what came out: nothing is left to be said.
    again = squash_layers(content, made, len(made), "uncompressed")
    assert tarfile.open(fileobj=io.BytesIO(content.read(again.digest))).getnames() == []  # noqa: SIM115


@pytest.mark.parametrize(
    ("layers", "keep", "names"),
    [
        # What came and went above the base is not mentioned.
        ([[("file", "a", "1")], [("file", "b", "2")], [("gone", "b", "")]], 1, []),
        # A directory that went is one whiteout.
        ([[("dir", "a", ""), ("file", "a/x", "")], [("gone", "a", "")]], 1, [".wh.a"]),
        # One that was made anew has whiteouts for what was in it.
        (
            [[("dir", "a", ""), ("file", "a/x", "")], [("gone", "a", "")], [("dir", "a", "")]],
            1,
            ["a/.wh.x", "a"],
        ),
        ([[("dir", "a", ""), ("file", "a/x", "")], [("opaque", "a", "")]], 1, ["a/.wh.x"]),
        # A link whose first name went gets the data.
        ([[("file", "a", "1"), ("link", "b", "a")], [("gone", "a", "")]], 0, ["b"]),
        # One to a file of the base brings the data along: a layer stands for itself.
        ([[("file", "a", "1")], [("link", "b", "a")]], 1, ["b"]),
        # A file in the place of a directory needs no whiteouts.
        ([[("dir", "a", ""), ("file", "a/x", "")], [("file", "a", "1")]], 1, ["a"]),
    ],
)
def test_what_the_layer_says(
    store: Store, layers: list[list[Op]], keep: int, names: list[str]
) -> None:
    content = ContentStore(store)
    found = [stored(content, ops) for ops in layers]
    one = squash_layers(content, found, keep, "uncompressed")
    with tarfile.open(fileobj=io.BytesIO(content.read(one.digest))) as archive:
        assert archive.getnames() == names
        assert not any(member.islnk() for member in archive)


def test_a_link_to_nothing_is_refused(store: Store) -> None:
    content = ContentStore(store)
    with pytest.raises(ImageError, match="which is not there"):
        tree_of([stored(content, [("link", "a", "b")])])


@pytest.mark.parametrize(
    ("old", "new", "own", "merged"),
    [
        ({"Cmd": ["a"]}, {"Cmd": ["b"]}, {"Cmd": ["a"]}, {"Cmd": ["b"]}),
        ({"Cmd": ["a"]}, {"Cmd": ["b"]}, {"Cmd": ["c"]}, {"Cmd": ["c"]}),
        ({}, {"User": "u"}, {}, {"User": "u"}),
        ({"User": "u"}, {}, {"User": "u"}, {}),
        (
            {"Env": ["P=1", "Q=1", "R=1"]},
            {"Env": ["P=2", "Q=2", "S=2"]},
            {"Env": ["P=1", "Q=own", "R=1", "T=own"]},
            {"Env": ["P=2", "Q=own", "S=2", "T=own"]},
        ),
        (
            {"Labels": {"a": "1"}},
            {"Labels": {"a": "2", "b": "2"}},
            {"Labels": {"a": "1", "c": "own"}},
            {"Labels": {"a": "2", "b": "2", "c": "own"}},
        ),
        ({"Volumes": None}, {}, {"Volumes": {"/v": {}}}, {"Volumes": {"/v": {}}}),
    ],
)  # fmt: skip
def test_what_a_new_base_says(old: object, new: object, own: object, merged: object) -> None:
    values = [json.loads(json.dumps(value)) for value in (old, new, own)]
    assert merge_config(*values) == merged


def test_files_of_the_same_inode_stay_links(store: Store, tmp_path: Path) -> None:
    content = ContentStore(store)
    layers = [
        stored(content, [("file", "a", "1"), ("link", "b", "a"), ("link", "c", "a")]),
        stored(content, [("gone", "a", "")]),
    ]
    one = squash_layers(content, layers, 0, "uncompressed")
    with tarfile.open(fileobj=io.BytesIO(content.read(one.digest))) as archive:
        assert [(m.name, m.linkname) for m in archive] == [("b", ""), ("c", "b")]


@pytest.mark.parametrize("way", WAYS)
def test_a_sparse_file_is_written_out(store: Store, tmp_path: Path, way: str) -> None:
    """However GNU tar says where its holes are."""
    (tmp_path / "in").mkdir()
    write(tmp_path / "in/s", *FILES["no whole blocks"])
    layer = layer_of(store, packed(tmp_path / "in", way))
    again = squash_layers(ContentStore(store), [layer])
    trees.unpack_into(again, str(tmp_path / "again"))
    assert (tmp_path / "again/s").read_bytes() == (tmp_path / "in/s").read_bytes()
