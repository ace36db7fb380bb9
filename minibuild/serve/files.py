"""The files of a result, for clients that look into what was built.

Comes in: an archive of the result's tree, as the output `tar` writes it: so owners and devices are
those of the result, whatever this account may make. Goes out: bytes of files, entries of
directories. Symlinks are resolved within the tree.
Rules: moby/buildkit `frontend/gateway/pb/gateway.proto`, containerd/continuity `fs.RootPath`.
Read next: `bridge`.
"""

import errno
import os
import stat
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from minibuild.buildkit.packets import go_mode
from minibuild.buildkit.rpc import NOT_FOUND, Failure, api_type
from minibuild.graph.ignore import compiled

if TYPE_CHECKING:
    from tarfile import TarInfo

_MAX_LINKS = 255
_NANOSECONDS = 1_000_000_000
_XATTR = "SCHILY.xattr."
_KINDS = {
    b"2": stat.S_IFLNK,
    b"3": stat.S_IFCHR,
    b"4": stat.S_IFBLK,
    b"5": stat.S_IFDIR,
    b"6": stat.S_IFIFO,
}
"""Types of files by those of tar (POSIX pax, section "ustar Interchange Format")."""


class ResultFiles:
    """The files in an archive."""

    def __init__(self, archive: str) -> None:
        import tarfile

        self._archive = tarfile.open(archive)  # noqa: SIM115 (it lives as long as this does)
        root = tarfile.TarInfo("")  # The archive has no entry of it.
        root.type, root.mode = tarfile.DIRTYPE, 0o755
        self._entries = {"": root, **{entry.name: entry for entry in self._archive}}

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes of a file, from an offset on. Raises `Failure`."""
        entry = self._entry(path, "open")
        if entry.islnk():
            entry = self._entries[entry.linkname]
        file = self._archive.extractfile(entry) if entry.isreg() else None
        if file is None:
            raise Failure(f"{path} is not a regular file")
        file.seek(max(offset, 0))
        return file.read(-1 if length is None else max(length, 0))

    def stat(self, path: str) -> Any:
        """The message `Stat` of what is at a path. Raises `Failure`."""
        return self._stat(self._resolve(path), self._entry(path, "lstat"))

    def list(self, path: str, pattern: str = "") -> Iterator[Any]:
        """A message `Stat` for each entry of a directory, by name; those that match, if there is a
        pattern. Raises `Failure`."""
        if not self._entry(path, "open").isdir():
            raise Failure(f"readdir {path}: not a directory")
        above = self._resolve(path)
        matcher = compiled((pattern.lstrip("/"),)) if pattern else None
        for name in sorted(name for name in self._entries if name):
            folder, _, last = name.rpartition("/")
            if folder == above and (matcher is None or matcher.excluded(last)):
                yield self._stat(name, self._entries[name])

    def _stat(self, name: str, entry: "TarInfo") -> Any:
        target = self._entries[entry.linkname] if entry.islnk() else entry
        made = api_type("Stat")(
            path=name.rpartition("/")[2] or "/",
            mode=go_mode(_KINDS.get(target.type, stat.S_IFREG) | target.mode),
            uid=target.uid,
            gid=target.gid,
            size=target.size,
            modTime=int(float(target.mtime) * _NANOSECONDS),
            linkname=entry.linkname if entry.issym() else "",
        )
        for key, value in target.pax_headers.items():
            if key.startswith(_XATTR):
                made.xattrs[key.removeprefix(_XATTR)] = value.encode("utf-8", "surrogateescape")
        if entry.isdev():
            made.devmajor, made.devminor = entry.devmajor, entry.devminor
        return made

    def _entry(self, path: str, call: str) -> "TarInfo":
        try:
            return self._entries[self._resolve(path)]
        except KeyError:
            raise Failure(
                f"{call} {path}: {os.strerror(errno.ENOENT).lower()}", NOT_FOUND
            ) from None

    def _resolve(self, path: str) -> str:
        """The name of an entry, with all symlinks followed; `..` leads not above the root."""
        done: list[str] = []
        rest = path.split("/")[::-1]
        for _ in range(_MAX_LINKS):
            while rest:
                part = rest.pop()
                if part == "..":
                    del done[-1:]
                elif part not in ("", "."):
                    done.append(part)
                    entry = self._entries.get("/".join(done))
                    if entry is not None and entry.issym():
                        break
            else:
                return "/".join(done)
            done = [] if entry.linkname.startswith("/") else done[:-1]
            rest += entry.linkname.split("/")[::-1]
        raise Failure(f"{path}: {os.strerror(errno.ELOOP).lower()}")
