"""Checksums of trees as BuildKit's caches have them: what counts of a file, and what does not.

That they are the digests that BuildKit has is tested in `test_exchange`.
"""

import os
import socket
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from minibuild.buildkit.cachekeys import Selector
from minibuild.digest import Digest
from minibuild.fileop.api import SourceTree
from minibuild.linux import device, xattr
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.recorded import Records
from minibuild.remotecache.checksums import Checksums

ALL = (Selector(),)


def digest(
    folder: Path,
    *selectors: Selector,
    local: bool = True,
    owners: Records | None = None,
    ignore: tuple[str, ...] = (),
) -> Digest:
    with opened(folder) as fd:
        tree = SourceTree(fd, ignore, local=local, owners=owners)
        return Checksums(tree).digest(selectors or ALL)


def opened(folder: Path) -> AbstractContextManager[int]:
    return closing_fd(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree that tests change."""
    top = tmp_path / "tree"
    (top / "d/e").mkdir(parents=True)
    (top / "d/f").write_text("f")
    (top / "d/e/g").write_text("g")
    (top / "d/l").symlink_to("f")
    os.mkfifo(top / "d/p")
    return top


CHANGES: dict[str, Callable[[Path], object]] = {
    "data": lambda top: (top / "d/f").write_text("x"),
    "data deep down": lambda top: (top / "d/e/g").write_text("x"),
    "an empty file": lambda top: (top / "d/f").write_text(""),
    "mode": lambda top: (top / "d/f").chmod(0o600),
    "bits beyond the mode": lambda top: (top / "d/f").chmod(0o4755),
    "mode of a directory": lambda top: (top / "d/e").chmod(0o700),
    "a name": lambda top: (top / "d/f").rename(top / "d/F"),
    "the same names in other places": lambda top: (top / "d/e/g").rename(top / "d/g"),
    "one less": lambda top: (top / "d/f").unlink(),
    "one more": lambda top: (top / "d/e/h").write_text(""),
    "an empty directory": lambda top: (top / "d/h").mkdir(),
    "a target": lambda top: (top / "d/l").unlink() or (top / "d/l").symlink_to("e"),
    "a file for a symlink": lambda top: (top / "d/l").unlink() or (top / "d/l").write_text("f"),
    "a file for a fifo": lambda top: (top / "d/p").unlink() or (top / "d/p").write_text(""),
}


@pytest.mark.parametrize("selectors", [ALL, (Selector("/d"),), (Selector("/*", wildcard=True),),
                                       (Selector("/", include=("**",)),)])  # fmt: skip
@pytest.mark.parametrize("name", CHANGES)
def test_what_counts(tree: Path, name: str, selectors: tuple[Selector, ...]) -> None:
    before = digest(tree, *selectors)
    assert digest(tree, *selectors) == before
    CHANGES[name](tree)
    assert digest(tree, *selectors) != before


def test_what_counts_not(tree: Path) -> None:
    """Times, the directory of a context itself, what is ignored, what is not selected."""
    before, part = digest(tree, ignore=("x",)), digest(tree, Selector("/d/e"))
    os.utime(tree / "d/f", (1, 1))
    tree.chmod(0o700)
    (tree / "x").write_text("ignored")
    assert digest(tree, ignore=("x",)) == before
    assert digest(tree, Selector("/d/e")) == part
    assert digest(tree) != before


def test_sockets_of_a_context_are_empty_files(tree: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(tree)  # the path of a socket is short
        listener.bind("s")
    (tree / "s").chmod(0o644)
    before = digest(tree)
    (tree / "s").unlink()
    (tree / "s").write_text("")
    (tree / "s").chmod(0o644)
    assert digest(tree) == before


def test_what_is_not_there(tree: Path) -> None:
    with pytest.raises(FileNotFoundError):
        digest(tree, Selector("/nowhere"))
    nothing = digest(tree, Selector("/no*", wildcard=True))
    assert nothing == digest(tree, Selector("/nor*", wildcard=True))


def test_symlinks_do_not_leave_the_tree(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tree / "out").symlink_to("../secret")
    (tree / "up").symlink_to("..")
    for selector in (Selector("/out"), Selector("/up/secret"), Selector("/../secret")):
        with pytest.raises(FileNotFoundError):
            digest(tree, selector)


def test_the_newest_change(tree: Path) -> None:
    """Also that of a directory, from which a file may have gone."""
    with opened(tree) as fd:
        sums = Checksums(SourceTree(fd, local=True))
        sums.digest([Selector("/d/*", wildcard=True)])
    found = [os.lstat(path).st_ctime_ns for path in (tree / "d").rglob("*")]
    assert sums.newest_ns == max(*found, os.lstat(tree / "d").st_ctime_ns)


@pytest.mark.needs("owners")
def test_owners_in_results(tree: Path) -> None:
    """Those of a context do not count: a client sends files as root's."""
    local, found = digest(tree), {digest(tree, local=False)}
    for uid, gid in ((7, -1), (-1, 7)):
        os.chown(tree / "d/l", uid, gid, follow_symlinks=False)
        found.add(digest(tree, local=False))
    assert digest(tree) == local
    assert len(found) == 3


@pytest.mark.needs("owners", "user_xattr")
def test_owners_on_record_are_owners(tree: Path, tmp_path: Path) -> None:
    owners = Records([str(tmp_path / "owners")])
    with opened(tree / "d") as fd:
        for name in ("f", "l", "e"):
            owners.write(fd, name, 7, 8)
    recorded_ones = digest(tree, local=False, owners=owners)
    for name in ("f", "l", "e"):
        os.chown(tree / "d" / name, 7, 8, follow_symlinks=False)
        if name != "l":
            os.removexattr(tree / "d" / name, xattr.OWNER)
    assert digest(tree, local=False) == recorded_ones


@pytest.mark.needs("user_xattr")
def test_devices(tree: Path) -> None:
    """Which one it is counts. A placeholder stands for what an ordinary account cannot make."""
    os.setxattr(tree, device.MARK, b"")
    found = {}
    for kind, number in ((stat.S_IFCHR, 3), (stat.S_IFCHR, 5), (stat.S_IFBLK, 5)):
        with opened(tree) as fd:
            device.make_placeholder(fd, "c", kind, os.makedev(1, number))
        found[kind, number] = digest(tree, Selector("/c"), local=False), digest(tree, local=False)
        (tree / "c").unlink()
    assert len(set(found.values())) == 3
    if can_make_devices(tree):
        os.removexattr(tree, device.MARK)
        for (kind, number), digests in found.items():
            os.mknod(tree / "c", kind | 0o600, os.makedev(1, number))
            assert digests == (digest(tree, Selector("/c"), local=False), digest(tree, local=False))
            (tree / "c").unlink()


def can_make_devices(folder: Path) -> bool:
    try:
        os.mknod(folder / "try", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        return False
    (folder / "try").unlink()
    return True
