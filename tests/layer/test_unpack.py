"""A layer becomes a tree: whiteouts, parents, links, in both kinds of directories."""

import os
from pathlib import Path
from typing import Any

import pytest

from minibuild.errors import ImageError
from minibuild.oci.content import ContentStore
from minibuild.store.layout import Store
from tests.layer import trees
from tests.layer.tars import entry, folder, hardlink, layer_of, symlink, tar

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
LOWER = {
    "d": (None, 0o751),
    "d/old": b"old",
    "d/sub": None,
    "d/sub/deep": b"deep",
    "f": b"f",
    "lib": "-> d",
}

pytestmark = pytest.mark.needs("root", "trusted_xattr")


def overlay(lower: dict[str, Any], layer_dir: str) -> dict[str, Any]:
    """What a mount of the two would show: the lower table, less what the layer hides."""
    upper = trees.names(layer_dir)
    seen = dict(lower)
    for path, value in upper.items():
        opaque = os.path.isdir(f"{layer_dir}/{path}") and not os.path.islink(f"{layer_dir}/{path}")
        marked = opaque and _opaque(f"{layer_dir}/{path}") == b"y"
        if value != lower.get(path) or value is not None or marked:
            for other in list(seen):
                if other.startswith(path + "/") and (value is not None or marked):
                    del seen[other]
        if value is None and path in lower and lower[path] is not None:
            for other in list(seen):
                if other.startswith(path + "/"):
                    del seen[other]
        seen.pop(path, None)
        if value != "whiteout":
            seen[path] = value
    return seen


def _opaque(path: str) -> bytes:
    try:
        return os.getxattr(path, "trusted.overlay.opaque", follow_symlinks=False)
    except OSError:
        return b""


def apply(store: Store, tmp_path: Path, style: str, *entries: dict[str, Any]) -> dict[str, Any]:
    """The tree that LOWER and a layer add up to."""
    lower = trees.make(str(tmp_path / "lower"), LOWER)
    layer = layer_of(store, tar(*entries))
    target = str(tmp_path / "target")
    if style == "plain":
        trees.make(target, LOWER)
        trees.unpack_into(layer, target, "plain", lower)
        return trees.names(target)
    trees.unpack_into(layer, target, "trusted", lower)
    return overlay(trees.names(lower), target)


def less(*gone: str, **more: Any) -> dict[str, Any]:
    """The names of LOWER without some."""
    table = {p: v[0] if isinstance(v, tuple) else v for p, v in LOWER.items()}
    return {p: v for p, v in table.items() if p not in gone} | more


CASES: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "delete a file": ([entry(WHITEOUT + "f")], less("f")),
    "delete a directory": (
        [entry(WHITEOUT + "d")], less("d", "d/old", "d/sub", "d/sub/deep"),
    ),
    "delete what is not there": ([entry("d/" + WHITEOUT + "no")], less()),
    "delete below what is not there": ([entry("no/" + WHITEOUT + "x")], less(no=None)),
    "replace a file by a directory": (
        [folder("f"), entry("f/x", b"1")], less(f=None) | {"f/x": b"1"},
    ),
    "replace a directory by a file": (
        [entry("d", b"now")], less("d/old", "d/sub", "d/sub/deep", d=b"now"),
    ),
    "replace a directory by a symlink": (
        [symlink("d", "f")], less("d/old", "d/sub", "d/sub/deep", d="-> f"),
    ),
    "opaque before": (
        [folder("d"), entry("d/" + OPAQUE), entry("d/new", b"n")],
        less("d/old", "d/sub", "d/sub/deep") | {"d/new": b"n"},
    ),
    "opaque after": (
        [folder("d"), entry("d/new", b"n"), entry("d/" + OPAQUE)],
        less("d/old", "d/sub", "d/sub/deep") | {"d/new": b"n"},
    ),
    "opaque keeps what this layer wrote deeper": (
        [entry("d/sub/new", b"n"), entry("d/" + OPAQUE)],
        less("d/old", "d/sub/deep") | {"d/sub/new": b"n"},
    ),
    "opaque root": (
        [entry("mine", b"m"), entry(OPAQUE)], {"mine": b"m"},
    ),
    "delete and make anew": (
        [entry(WHITEOUT + "d"), folder("d"), entry("d/new", b"n")],
        less("d/old", "d/sub", "d/sub/deep") | {"d/new": b"n"},
    ),
    "make anew and delete": (
        [folder("d"), entry("d/new", b"n"), entry(WHITEOUT + "d")],
        less("d/old", "d/sub", "d/sub/deep") | {"d/new": b"n"},
    ),
    "delete and make anew without an entry for it": (
        [entry(WHITEOUT + "d"), entry("d/new", b"n")],
        less("d/old", "d/sub", "d/sub/deep") | {"d/new": b"n"},
    ),
    "a whiteout does not hide a file of its own layer": (
        [entry("f", b"new"), entry(WHITEOUT + "f")], less(f=b"new"),
    ),
    "a lower symlink on the way becomes a directory": (
        [entry("lib/x", b"1")], less(lib=None) | {"lib/x": b"1"},
    ),
    "a symlink of this layer on the way is followed": (
        [symlink("l2", "d"), entry("l2/x", b"1")], less(l2="-> d") | {"d/x": b"1"},
    ),
    "an absolute symlink stays inside": (
        [symlink("l2", "/d/sub"), entry("l2/x", b"1")], less(l2="-> /d/sub") | {"d/sub/x": b"1"},
    ),
    "a symlink with dots stays inside": (
        [symlink("l2", "../../../d"), entry("l2/x", b"1")],
        less(l2="-> ../../../d") | {"d/x": b"1"},
    ),
    "dots and slashes in names": (
        [folder("./"), entry(".//d/./x", b"1"), entry("/d/y", b"2")],
        less() | {"d/x": b"1", "d/y": b"2"},
    ),
    "notes of AUFS": ([folder(".wh..wh.plnk"), entry(".wh..wh.aufs")], less()),
    "an empty layer": ([], less()),
}  # fmt: skip


@pytest.mark.parametrize("style", ["plain", "trusted"])
@pytest.mark.parametrize("case", CASES)
def test_apply(store: Store, tmp_path: Path, case: str, style: str) -> None:
    """Both kinds of directories show the same tree."""
    entries, expected = CASES[case]
    assert apply(store, tmp_path, style, *entries) == expected


@pytest.mark.parametrize("style", ["plain", "trusted"])
def test_a_link_to_a_lower_file(store: Store, tmp_path: Path, style: str) -> None:
    """Both names share a file in the new layer, with the metadata of the lower one."""
    found = apply(store, tmp_path, style, hardlink("new", "d/old"))
    assert found["new"] == found["d/old"] == b"old"
    info = [os.stat(tmp_path / "target" / name) for name in ("new", "d/old")]
    assert info[0].st_ino == info[1].st_ino and info[0].st_mtime_ns == trees.TIME_NS
    folder = os.stat(tmp_path / "target" / "d")
    assert (folder.st_mode & 0o777, folder.st_mtime_ns) == (0o751, trees.TIME_NS)


@pytest.mark.parametrize("style", ["plain", "trusted"])
def test_parents_take_their_metadata_from_below(store: Store, tmp_path: Path, style: str) -> None:
    """Mode, owner and time; a made parent is root's, 0755."""
    apply(store, tmp_path, style, entry("d/x", b"1"), entry("made/x", b"1"))
    info = os.stat(tmp_path / "target/d")
    assert (info.st_mode & 0o7777, info.st_mtime_ns) == (0o751, trees.TIME_NS)
    info = os.stat(tmp_path / "target/made")
    assert (info.st_mode & 0o7777, info.st_uid) == (0o755, 0)


def test_whiteouts_on_disk(store: Store, tmp_path: Path) -> None:
    """A device 0:0, and only where there is something to hide."""
    apply(store, tmp_path, "trusted", entry(WHITEOUT + "f"), entry(WHITEOUT + "nothing"))
    assert trees.names(str(tmp_path / "target")) == {"f": "whiteout"}


def test_metadata(store: Store, tmp_path: Path) -> None:
    """Owners, modes with special bits, times of directories after their contents."""
    data = tar(
        folder("s", 0o3775, uid=5, gid=6, mtime=7),
        entry("s/f", b"x", mode=0o6755, uid=3_000_000, gid=4, mtime=8),
        symlink("s/l", "x") | {"uid": 9, "gid": 9, "mtime": 9},
        entry("c", kind="char", devmajor=1, devminor=3, mode=0o666),
        entry("p", kind="fifo", mode=0o622),
    )
    trees.unpack_into(layer_of(store, data), str(tmp_path / "out"))
    found = {path: os.lstat(tmp_path / "out" / path) for path in ("s", "s/f", "s/l", "c", "p")}
    assert [(s.st_mode & 0o7777, s.st_uid, s.st_gid) for s in found.values()] == [
        (0o3775, 5, 6), (0o6755, 3_000_000, 4), (0o777, 9, 9), (0o666, 0, 0), (0o622, 0, 0),
    ]  # fmt: skip
    assert [found[p].st_mtime for p in ("s", "s/f", "s/l")] == [7, 8, 9]
    assert found["c"].st_rdev == os.makedev(1, 3)


def test_later_entries_win(store: Store, tmp_path: Path) -> None:
    """The same name twice; a directory keeps its contents."""
    data = tar(entry("f", b"1"), entry("f", b"2"), folder("d"), entry("d/x"), folder("d", 0o700))
    trees.unpack_into(layer_of(store, data), str(tmp_path / "out"))
    assert trees.names(str(tmp_path / "out")) == {"f": b"2", "d": None, "d/x": b""}
    assert os.stat(tmp_path / "out/d").st_mode & 0o777 == 0o700


HOSTILE = {
    "hardlink outside": [hardlink("x", "../secret")],
    "hardlink to nothing": [hardlink("x", "nothing")],
    "hardlink to itself": [entry("x"), hardlink("x", "x")],
    "hardlink to a directory": [folder("a"), hardlink("x", "a")],
    "hardlink through a symlink outside": [symlink("l", "../.."), hardlink("x", "l/secret")],
    "below a file": [entry("a", b"x"), entry("a/b", b"y")],
    "below a circle": [symlink("a", "b"), symlink("b", "a"), entry("a/x", b"y")],
    "a whiteout of nothing": [entry("a/.wh.")],
    "a whiteout of dots": [entry("a/.wh...")],
    "a name too long": [entry("n" * 300, b"x")],
}


@pytest.mark.parametrize("style", ["plain", "trusted"])
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile(store: Store, tmp_path: Path, case: str, style: Any) -> None:
    """An ImageError, and nothing outside is touched."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    lower = trees.make(str(tmp_path / "lower"), {})
    with pytest.raises(ImageError):
        trees.unpack_into(layer_of(store, tar(*HOSTILE[case])), str(tmp_path / "out"), style, lower)
    assert sorted(os.listdir(tmp_path)) == ["lower", "out", "secret", "store"]
    assert secret.read_bytes() == b"secret" and secret.stat().st_nlink == 1


INSIDE = {
    "dots": [entry("../evil", b"x")],
    "dots inside": [entry("a/../../evil", b"x")],
    "absolute dots": [entry("/../evil", b"x")],
    "a whiteout outside": [entry("../.wh.secret")],
    "write through a symlink": [symlink("l", "../../.."), entry("l/evil", b"x")],
    "write through an absolute symlink": [symlink("l", "/tmp"), folder("tmp"), entry("l/evil")],
    "write over a symlink": [symlink("evil", "/etc/passwd"), entry("evil", b"x")],
    "chmod over a symlink": [symlink("evil", "/"), folder("evil", 0)],
    "delete through a symlink": [symlink("l", "../../.."), entry("l/.wh.secret")],
}


@pytest.mark.parametrize("style", ["plain", "trusted"])
@pytest.mark.parametrize("case", INSIDE)
def test_stays_inside(store: Store, tmp_path: Path, case: str, style: Any) -> None:
    """Odd, but it has a meaning inside the root."""
    (tmp_path / "secret").write_bytes(b"secret")
    lower = trees.make(str(tmp_path / "lower"), {"secret": b""})
    trees.unpack_into(layer_of(store, tar(*INSIDE[case])), str(tmp_path / "out"), style, lower)
    assert sorted(os.listdir(tmp_path)) == ["lower", "out", "secret", "store"]
    assert not os.path.exists("/tmp/evil")


def test_dots_in_names(store: Store, tmp_path: Path) -> None:
    """They are taken off by name, and stop at the root."""
    data = tar(
        symlink("l", "d"),
        entry("x/../c", b"c"),
        entry("d/./../e", b"e"),
        entry("l/../f", b"f"),
        entry("../g", b"g"),
        hardlink("h", "../x/../g"),
        folder(".."),
    )
    trees.unpack_into(layer_of(store, data), str(tmp_path / "out"))
    assert trees.names(str(tmp_path / "out")) == {
        "l": "-> d", "c": b"c", "e": b"e", "f": b"f", "g": b"g", "h": b"g",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["..", ".", "a/.."])
def test_the_root_stays_a_directory_with_its_mode(store: Store, tmp_path: Path, name: str) -> None:
    """Whatever an entry says that names it and is none of a directory."""
    data = tar(folder(".", 0o750), entry(name, b"x", mode=0), symlink(name, "x"), entry("f"))
    trees.unpack_into(layer_of(store, data), str(tmp_path / "out"))
    assert trees.names(str(tmp_path / "out")) == {"f": b""}
    assert os.stat(tmp_path / "out").st_mode & 0o7777 == 0o750


def test_overlay_marks_of_others_are_not_taken(store: Store, tmp_path: Path) -> None:
    """A device 0:0 or an opaque attribute in a tar would hide files of lower layers."""
    data = tar(
        entry("w", kind="char"),
        folder("d", pax_headers={"SCHILY.xattr.trusted.overlay.opaque": "y"}),
    )
    done = trees.unpack_into(layer_of(store, data), str(tmp_path / "out"), "trusted")
    assert "0:0" in done[0]
    assert trees.names(str(tmp_path / "out")) == {"d": None}
    assert _opaque(str(tmp_path / "out/d")) == b""


def bad_checksum(data: bytes) -> bytes:
    """One byte of the first name changed."""
    return b"X" + data[1:]


DAMAGED = {
    "cut in data": lambda data: data[:700],
    "cut in a header": lambda data: data[:100],
    "checksum": bad_checksum,
    "size beyond the end": lambda data: data[:124] + b"\x80" + b"\0" * 3 + b"\x7f" * 8 + data[136:],
    "not octal": lambda data: data[:124] + b"zzzzzzzzzzz\0" + data[136:],
    "unknown type": lambda data: data[:156] + b"Q" + data[157:],
}


def resum(data: bytes) -> bytes:
    """The first header with its checksum made right again."""
    blank = data[:148] + b" " * 8 + data[156:512]
    return data[:148] + b"%06o\0 " % sum(blank) + data[156:]


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged(store: Store, tmp_path: Path, case: str) -> None:
    """Nothing that does not add up is unpacked."""
    data = DAMAGED[case](tar(entry("f", b"x" * 1000)))
    if case in ("size beyond the end", "not octal", "unknown type"):
        data = resum(data)
    with pytest.raises(ImageError):
        trees.unpack_into(layer_of(store, data), str(tmp_path / "out"))


def device(major: bytes, minor: bytes) -> bytes:
    """A tar of a device with these numbers."""
    data = tar(entry("f", kind="char", devmajor=1, devminor=3))
    return resum(data[:329] + major.ljust(8, b"\0") + minor.ljust(8, b"\0") + data[345:])


def attribute(name: str, value: str = "") -> bytes:
    return tar(entry("f", pax_headers={f"SCHILY.xattr.{name}": value}))


def extensions(flag: bytes, count: int) -> bytes:
    """A tar of a file, with as many extensions before it, each of which has 60,000 bytes."""
    parts = []
    for number in range(count):
        head = attribute(f"user.{number}", "x" * 60_000)
        end = 512 + int(head[124:135], 8) + 511 & ~511
        parts.append(resum(head[:156] + flag + head[157:end]))
    return b"".join(parts) + tar(entry("f"))


IMPOSSIBLE = {
    "a device below zero": (device(b"\xff" * 8, b"3"), "device -1:3"),
    "a device beyond an int": (device(b"1", b"\x80" + b"\x7f" * 7), "no number"),
    "a device that mknod cuts off": (device(b"10000", b"0"), "device 4096:0"),
    "an attribute with a zero byte": (attribute("user.a\0b"), "zero byte"),
    "a size beyond all files": (
        tar(entry("f", pax_headers={"size": "9" * 20})), "claims 99999999999999999999 bytes"
    ),
    "extensions without end": (extensions(b"x", 20), "header extension"),
    "extensions of all entries": (extensions(b"g", 2), "header extension"),
}  # fmt: skip


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_no_system_can_make(store: Store, tmp_path: Path, case: str) -> None:
    """An error that says what it is, before the system is asked."""
    data, why = IMPOSSIBLE[case]
    with pytest.raises(ImageError, match=why):
        trees.unpack_into(layer_of(store, data), str(tmp_path / "out"))


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_damaged_compression(store: Store, tmp_path: Path, compression: str, damage: str) -> None:
    """The same for what is around the tar."""
    root = trees.make(str(tmp_path / "tree"), {"f": os.urandom(100_000)})
    good = trees.pack_tree(store, root, compression=compression)
    data = bytearray(ContentStore(store).read(good.digest))
    if damage == "cut":
        del data[-20_000:]
    else:
        data[-10] ^= 1
    bad = layer_of(store, bytes(data), good.media_type)
    with pytest.raises(ImageError):
        trees.unpack_into(bad._replace(diff_id=good.diff_id), str(tmp_path / "out"))


def test_wrong_diff_id(store: Store, tmp_path: Path) -> None:
    """A sound tar that is not the one the config speaks of."""
    layer = layer_of(store, tar(entry("f")))
    other = layer_of(store, tar(entry("g")))
    with pytest.raises(ImageError, match="diff id"):
        trees.unpack_into(layer._replace(diff_id=other.diff_id), str(tmp_path / "out"))


def test_wrong_digest(store: Store, tmp_path: Path) -> None:
    """A blob that was changed on disk."""
    layer = layer_of(store, tar(entry("f", b"1")))
    path = ContentStore(store).path(layer.digest)
    data = tar(entry("f", b"2"))
    assert len(data) == layer.size
    Path(path).write_bytes(data)
    with pytest.raises(ImageError, match="has the digest"):
        trees.unpack_into(layer, str(tmp_path / "out"))


def test_what_follows_the_end_counts(store: Store, tmp_path: Path) -> None:
    """Bytes after the last block are part of the diff id, and of nothing else."""
    layer = layer_of(store, tar(entry("f", b"1")) + b"trailing" * 100)
    trees.unpack_into(layer, str(tmp_path / "out"))
    assert trees.names(str(tmp_path / "out")) == {"f": b"1"}
