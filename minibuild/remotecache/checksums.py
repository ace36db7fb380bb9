"""Checksums of files as BuildKit's caches have them: what a step reads of an input, in one digest.

Comes in: an open tree and selectors. Goes out: the digest that BuildKit has for the same files.
A file counts by its metadata without times, in the form of an old Docker format, and its data; a
directory by its own metadata and the names and digests in it. Where patterns select, each path that
they leave counts by itself. These digests are not those of `minibuild.fileop.checksum`, which say
less of a file, so that fewer changes matter.
Rules: moby/buildkit `cache/contenthash`, `solver/llbsolver/ops/opsutils`.
Read next: `keys`.
"""

import hashlib
import os
import posixpath
import stat
import threading
from collections.abc import Iterator, Sequence

from minibuild.buildkit.cachekeys import Selector
from minibuild.digest import Digest, digest_bytes
from minibuild.fileop.api import SourceTree, unreadable
from minibuild.fileop.walk import Filter, FoundFile, place, walk
from minibuild.graph.ignore import IgnorePatterns, compiled
from minibuild.graph.pattern import has_wildcard, match_glob
from minibuild.linux import device, owner, xattr
from minibuild.linux.beneath import join, lstat, open_beneath, real_path
from minibuild.linux.contents import READ, Copier
from minibuild.linux.descriptors import closing_fd

_TYPES = {
    stat.S_IFREG: "0",
    stat.S_IFSOCK: "0",
    stat.S_IFLNK: "2",
    stat.S_IFCHR: "3",
    stat.S_IFBLK: "4",
    stat.S_IFDIR: "5",
    stat.S_IFIFO: "6",
}
_NOTHING = digest_bytes(b"")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


class _WalkedDirectory:
    """A directory on the way of a walk, with its digest. It counts once something in it does."""

    __slots__ = ("_counted", "digest", "path")

    def __init__(self, path: str, digest: Digest, counted: bool) -> None:
        self.path = path
        self.digest = digest
        self._counted = counted

    def take(self) -> bool:
        """Count it, unless it does already."""
        taken, self._counted = not self._counted, True
        return taken


class Checksums:
    """Checksums of one open tree. `newest_ns` is the latest time at which anything that was read
    had changed."""

    def __init__(self, tree: SourceTree, cancelled: threading.Event | None = None) -> None:
        self.newest_ns = 0
        self._tree = tree
        self._ignore = compiled(tree.ignore)
        self._copier = Copier(cancelled)

    def digest(self, selectors: Sequence[Selector]) -> Digest:
        """What all of the selectors read. Raises `OSError` for a path that is not there."""
        parts = [self._selected(selector) for selector in selectors]
        return digest_bytes("\0".join(parts).encode())

    def _selected(self, selector: Selector) -> Digest:
        if not selector.filters:
            return self._whole(real_path(self._tree.fd, selector.path))
        prefix = _fixed_part(selector)
        counted = list(self._counted(selector, prefix))
        if not counted:
            return _NOTHING
        if len(counted) == 1 and _base(selector.path) == _base(counted[0][0]):
            return counted[0][1]
        made = hashlib.sha256()
        for path, digest in counted:
            made.update(place(path.removeprefix(prefix)) or b"\0")
            made.update(digest.encode())
        return Digest(f"sha256:{made.hexdigest()}")

    # --- Whole paths ---

    def _whole(self, real: str) -> Digest:
        """All of a path. The digests of directories are made from the inside out."""
        below = self._walk(real)
        top = next(below, None)
        if top is None:
            raise FileNotFoundError(real)
        own = self._entry(top)
        if not top.is_dir:
            return own
        open_ones: list[tuple[str, hashlib._Hash]] = [("", _directory(own))]
        for found in below:
            while open_ones[-1][0] and not found.path.startswith(f"{open_ones[-1][0]}/"):
                _close(open_ones)
            digest = self._entry(found)
            if found.is_dir:
                open_ones.append((found.path, _directory(digest)))
            else:
                _add(open_ones[-1][1], found.path, digest)
        while len(open_ones) > 1:
            _close(open_ones)
        return Digest(f"sha256:{open_ones[0][1].hexdigest()}")

    # --- Patterns ---

    def _counted(self, selector: Selector, prefix: str) -> Iterator[tuple[str, Digest]]:
        """The paths that count, in order, and their digests."""
        include, exclude = IgnorePatterns(selector.include), IgnorePatterns(selector.exclude)
        above: list[_WalkedDirectory] = []
        for here, inside, found in self._candidates(selector, prefix):
            while above and not here.startswith(f"{above[-1].path}/"):
                above.pop()
            counts = (not include or include.excluded(inside)) and not exclude.excluded(inside)
            if not counts and not found.is_dir:
                continue
            if counts and not above and stat.S_ISLNK(found.stat.st_mode):
                digest = self._whole(real_path(self._tree.fd, here))
            else:
                digest = self._entry(found)
            if counts:
                yield from ((d.path, d.digest) for d in above if d.take())
                yield here, digest
            if found.is_dir:
                above.append(_WalkedDirectory(here, digest, counts))

    def _candidates(self, selector: Selector, prefix: str) -> Iterator[tuple[str, str, FoundFile]]:
        """What patterns are to be tried on: a path of the tree, the part of it that they see."""
        top = None if selector.wildcard else prefix
        for found in self._walk(self._start(selector, prefix), missing_ok=selector.wildcard):
            here = f"{prefix}/{found.path}" if found.path else prefix
            if selector.wildcard:
                if found.is_dir:
                    self._note(found.stat)  # or a file that is gone would not be noticed
                if top is None or not here.startswith(f"{top}/"):
                    if not match_glob(selector.path, here):
                        continue
                    top = here
            if here:  # the root counts by what is in it
                yield here, here[len(top or "") + 1 :], found

    def _start(self, selector: Selector, prefix: str) -> str:
        """Where the walk for patterns begins. The last part of a path is followed if a pattern is
        behind it."""
        if selector.wildcard:
            return real_path(self._tree.fd, prefix)
        head, _, name = prefix.lstrip("/").rpartition("/")
        return join(real_path(self._tree.fd, head), name)

    # --- Entries ---

    def _walk(self, real: str, *, missing_ok: bool = False) -> Iterator[FoundFile]:
        """A path and all below it that the ignore patterns leave."""
        head, _, name = real.rpartition("/")
        status = lstat(self._tree.fd, real)
        if status is None:
            if missing_ok:
                return
            raise FileNotFoundError(real)
        status = owner.seen(status, xattr.at(self._tree.fd, real), self._tree.owners)
        with closing_fd(open_beneath(self._tree.fd, head, _DIRECTORY)) as fd:
            yield FoundFile("", fd, name or ".", status)
        if not stat.S_ISDIR(status.st_mode):
            return
        with closing_fd(open_beneath(self._tree.fd, real, _DIRECTORY)) as fd:
            filters = [Filter(self._ignore, real)]
            local, owners = self._tree.local, self._tree.owners
            yield from walk(fd, filters, sockets=local, top=real, owners=owners)

    def _entry(self, found: FoundFile) -> Digest:
        """One entry, without what is in it if it is a directory."""
        self._note(found.stat)
        kind = stat.S_IFMT(found.stat.st_mode)
        if self._tree.local and kind == stat.S_IFDIR and found.name == ".":
            return _NOTHING  # a client does not send the directory itself
        made = hashlib.sha256(self._header(found, kind))
        if kind == stat.S_IFREG and found.stat.st_size:
            try:
                fd = os.open(found.name, READ, dir_fd=found.dir_fd)
            except PermissionError as error:
                raise unreadable(found.path, error) from error
            with closing_fd(fd):
                self._copier.read(fd, found.stat.st_size, made)
                self._note(os.fstat(fd))
        return Digest(f"sha256:{made.hexdigest()}")

    def _header(self, found: FoundFile, kind: int) -> bytes:
        status, link = found.stat, kind == stat.S_IFLNK
        number = status.st_rdev if kind in (stat.S_IFCHR, stat.S_IFBLK) else 0
        fields: dict[str, str | int] = {
            "name": "",
            "mode": 0o777 if link else stat.S_IMODE(status.st_mode),
            "uid": 0 if self._tree.local else status.st_uid,
            "gid": 0 if self._tree.local else status.st_gid,
            "size": status.st_size if kind == stat.S_IFREG else 0,
            "typeflag": _TYPES[kind],
            "linkname": os.readlink(found.name, dir_fd=found.dir_fd) if link else "",
            "uname": "",
            "gname": "",
            "devmajor": os.major(number),
            "devminor": os.minor(number),
        }
        said = "".join(f"{name}{value}" for name, value in fields.items())
        made = said.encode("utf-8", "surrogateescape")
        attributes = xattr.get_all(xattr.at(found.dir_fd, found.name))
        if self._tree.owners is not None:
            attributes.pop(xattr.OWNER, None)
        if not self._tree.local:  # notes of the store, which stand for what a file is here
            attributes.pop(device.MARK if found.name == "." else device.PLACEHOLDER, None)
        for name in sorted(attributes, key=os.fsencode):
            if name == xattr.CAPABILITY or not name.startswith(("security.", "system.")):
                made += os.fsencode(name) + attributes[name]
        return made

    def _note(self, status: os.stat_result) -> None:
        self.newest_ns = max(self.newest_ns, status.st_ctime_ns)


def _directory(own: Digest) -> "hashlib._Hash":
    return hashlib.sha256(b"\0" + own.encode())


def _add(directory: "hashlib._Hash", path: str, digest: str) -> None:
    directory.update(b"\0" + os.fsencode(path.rpartition("/")[2]) + digest.encode())


def _close(open_ones: "list[tuple[str, hashlib._Hash]]") -> None:
    """The innermost directory is complete."""
    path, made = open_ones.pop()
    _add(open_ones[-1][1], path, f"sha256:{made.hexdigest()}")


def _fixed_part(selector: Selector) -> str:
    """The part of a path that is no pattern. That of the root is empty."""
    if not selector.wildcard:
        return "" if selector.path == "/" else selector.path
    parts = selector.path.split("/")
    first = next(i for i, part in enumerate(parts) if has_wildcard(part))
    return "/".join(parts[:first])


def _base(path: str) -> str:
    """The last part of a path, as Go names it."""
    return posixpath.basename(path) or ("/" if path else ".")
