"""What a copy makes of each kind of file: links, sockets, devices, long names, holes."""

import os
import socket
import stat
import subprocess
from pathlib import Path

import pytest

from minibuild.errors import DefinitionError
from minibuild.graph.op import Copy
from tests.fileop.trees import Bench, make, modes, tell


def test_hardlinks_within_one_source(bench: Bench) -> None:
    make(bench.source, {"d/a": "l", "d/e/c": "= d/a", "d/z": "= d/a", "d/o": "o"})
    bench.copy("d", "/copy")
    bench.copy("d/a", "d/z", "/pair/")
    inode = {n: os.stat(os.path.join(bench.dest, n)).st_ino for n in tell(bench.dest)}
    assert inode["copy/a"] == inode["copy/e/c"] == inode["copy/z"] != inode["copy/o"]
    assert inode["pair/a"] != inode["pair/z"]


def test_hardlinks_over_existing_files(bench: Bench) -> None:
    make(bench.source, {"d/a": "new", "d/b": "= d/a"})
    make(bench.dest, {"a": "old", "b": "old"})
    assert bench.copy("d", "/") == {"a": "new", "b": "new"}
    assert os.stat(os.path.join(bench.dest, "a")).st_nlink == 2


def test_a_hardlink_whose_partner_is_not_copied_is_a_file(bench: Bench) -> None:
    make(bench.source, {"outside": "x", "d/in": "= outside", "d/e/deep": "= outside"})
    bench.copy("d", "/", exclude=("in",))
    assert os.stat(os.path.join(bench.dest, "e/deep")).st_nlink == 1


def test_sockets_of_this_machine_are_empty_files(bench: Bench) -> None:
    """So BuildKit sends them (tonistiigi/fsutil pull request 67). Those of images are left out."""
    make(bench.source, {"d/f": "f"})
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.join(bench.source, "d/sock"))
    os.chmod(os.path.join(bench.source, "d/sock"), 0o640)
    bench.local = True
    assert bench.copy("d", "/o") == {"o": "/", "o/f": "f", "o/sock": ""}
    assert modes(bench.dest, "o/sock") == {"o/sock": "640"}
    assert bench.copy("d/sock", "/sock") == {"o": "/", "o/f": "f", "o/sock": "", "sock": ""}


def test_fifos_are_copied_and_sockets_are_not(bench: Bench) -> None:
    make(bench.source, {"d/pipe": "|", "d/f": "f"})
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.join(bench.source, "d/sock"))
    os.chmod(os.path.join(bench.source, "d/pipe"), 0o620)
    assert bench.copy("d", "/o") == {"o": "/", "o/f": "f", "o/pipe": "|"}
    assert modes(bench.dest, "o/pipe") == {"o/pipe": "620"}
    assert bench.copy("d/sock", "/sock") == {"o": "/", "o/f": "f", "o/pipe": "|"}


@pytest.mark.usefixtures("devices")
def test_devices(bench: Bench) -> None:
    os.mknod(os.path.join(bench.source, "null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
    bench.copy("null", "/x")
    status = os.lstat(os.path.join(bench.dest, "x"))
    assert stat.S_ISCHR(status.st_mode)
    assert status.st_rdev == os.makedev(1, 3)
    os.mknod(os.path.join(bench.source, "whiteout"), stat.S_IFCHR, 0)
    with pytest.raises(DefinitionError, match="device 0:0"):
        bench.copy("whiteout", "/w")


def test_odd_and_long_names(bench: Bench) -> None:
    long = "x" * 200
    names = {"bad\udcff\udcfename": "1", "new\nline": "2", "-rf": "3", f"{long}/{long}/{long}": "4"}
    make(bench.source, {f"d/{name}": text for name, text in names.items()})
    copied = bench.copy("d", "/o")
    assert {f"o/{name}": text for name, text in names.items()}.items() <= copied.items()
    assert bench.copy("d/bad*", "/glob")["glob"] == "1"


def test_deeper_than_path_max_and_open_files(bench: Bench) -> None:
    here = os.open(bench.source, os.O_RDONLY)
    for _ in range(150):
        os.mkdir("d" * 60, 0o711, dir_fd=here)
        here, above = os.open("d" * 60, os.O_RDONLY, dir_fd=here), here
        os.close(above)
    for name in ("f", "g"):
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    bench.run(Copy(0, (".",), "/"))
    script = "find . -type d -perm 0711 | wc -l; find . -name '[fg]' | wc -l"
    shell = subprocess.run(
        ["sh", "-c", script], cwd=bench.dest, capture_output=True, text=True, check=True
    )
    assert shell.stdout.split() == ["150", "2"]


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 1_000_000])
def test_sizes(bench: Bench, size: int) -> None:
    data = os.urandom(size)
    Path(bench.source, "f").write_bytes(data)
    bench.copy("f", "/f")
    assert Path(bench.dest, "f").read_bytes() == data


def test_holes_stay_holes(bench: Bench) -> None:
    with open(os.path.join(bench.source, "f"), "wb") as file:
        file.seek(5 << 20)
        file.write(b"middle" * 30_000)
        file.truncate(64 << 20)
    bench.copy("f", "/f")
    before, after = (Path(top, "f") for top in (bench.source, bench.dest))
    assert after.read_bytes() == before.read_bytes()
    assert after.stat().st_blocks <= before.stat().st_blocks + 64
