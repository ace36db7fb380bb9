"""The packages of a tree: what package managers noted down in it about what they installed.

Comes in: a tree, open; the image is not ours, so every path is resolved inside of it. Goes out:
packages, sorted. Known are dpkg (also the folder `status.d` of distroless images), apk, and the
metadata that Python and npm packages carry. A database of rpm is not read; `unread` names it.
Formats: deb-control(5), Alpine's "Apk spec", PyPA's "Recording installed projects", and npm's
package.json.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack

from minibuild.errors import ImageError
from minibuild.linux.beneath import open_beneath, read_plain
from minibuild.linux.descriptors import closing_fd
from minibuild.oci.document import parse_document
from minibuild.startup.tuples import NamedTuple

_MAX_BYTES = 64 << 20
_RPM = ("usr/lib/sysimage/rpm", "var/lib/rpm")


class Package(NamedTuple):
    """One package; `type` and `namespace` are those of its package URL."""

    type: str
    name: str
    version: str
    namespace: str = ""
    arch: str = ""
    licence: str = ""
    supplier: str = ""
    source: str = ""


class FoundPackages(NamedTuple):
    """What is installed, and the databases that could not be read."""

    packages: tuple[Package, ...]
    unread: tuple[str, ...]
    system: str = ""


def find_packages(tree_fd: int) -> FoundPackages:
    """Everything that is installed in the tree, as far as its package managers say."""
    release = _release(tree_fd)
    system = release.get("ID", "")
    found = {
        *_dpkg(tree_fd, system or "debian"),
        *_apk(tree_fd, system or "alpine"),
        *_languages(tree_fd),
    }
    unread = tuple(f"/{path}" for path in _RPM if _names(tree_fd, path))
    return FoundPackages(tuple(sorted(found)), unread, release.get("PRETTY_NAME", ""))


def _read(tree_fd: int, path: str) -> str:
    """The text of a regular file of the tree; "" if it is none, or is missing."""
    try:
        return (read_plain(tree_fd, path, _MAX_BYTES) or b"").decode("utf-8", "replace")
    except OSError:
        return ""


def _names(tree_fd: int, path: str) -> list[str]:
    try:
        with closing_fd(open_beneath(tree_fd, path, os.O_RDONLY | os.O_DIRECTORY)) as fd:
            return sorted(os.listdir(fd))
    except OSError:
        return []


def _release(tree_fd: int) -> dict[str, str]:
    """os-release(5)."""
    text = _read(tree_fd, "etc/os-release") or _read(tree_fd, "usr/lib/os-release")
    pairs = (line.partition("=") for line in text.splitlines())
    return {key.strip(): value.strip().strip("\"'") for key, equals, value in pairs if equals}


def _paragraphs(text: str) -> Iterator[dict[str, str]]:
    """Fields of paragraphs that an empty line ends; continued lines are of no use here."""
    for paragraph in text.split("\n\n"):
        lines = (line for line in paragraph.splitlines() if line[:1] not in ("", " ", "\t"))
        fields = {
            key: value.strip()
            for key, found, value in (line.partition(":") for line in lines)
            if found
        }
        if fields:
            yield fields


def _dpkg(tree_fd: int, system: str) -> Iterator[Package]:
    folder = "var/lib/dpkg"
    texts = [_read(tree_fd, f"{folder}/status")]
    texts += [
        _read(tree_fd, f"{folder}/status.d/{name}")
        for name in _names(tree_fd, f"{folder}/status.d")
        if not name.endswith(".md5sums")
    ]
    for fields in (fields for text in texts for fields in _paragraphs(text)):
        status = fields.get("Status", "install ok installed").split()
        if "Package" in fields and "Version" in fields and status[-1:] == ["installed"]:
            yield Package(
                "deb",
                fields["Package"],
                fields["Version"],
                system,
                fields.get("Architecture", ""),
                supplier=fields.get("Maintainer", ""),
                source=fields.get("Source", "").partition(" ")[0],
            )


def _apk(tree_fd: int, system: str) -> Iterator[Package]:
    for path in ("lib/apk/db/installed", "usr/lib/apk/db/installed"):
        for fields in _paragraphs(_read(tree_fd, path)):
            if "P" in fields and "V" in fields:
                yield Package(
                    "apk",
                    fields["P"],
                    fields["V"],
                    system,
                    fields.get("A", ""),
                    fields.get("L", ""),
                    fields.get("m", ""),
                    fields.get("o", ""),
                )


def _languages(tree_fd: int) -> Iterator[Package]:
    """Packages with their metadata beside them, wherever they were put."""
    for folder, names in _folders(tree_fd):
        top = os.path.basename(folder)
        if top.endswith((".dist-info", ".egg-info")):
            name = "METADATA" if "METADATA" in names else "PKG-INFO"
            text = _read(tree_fd, f"{folder}/{name}")
            # What follows the first empty line is a description.
            for fields in _paragraphs(text.partition("\n\n")[0]):
                if "Name" in fields and "Version" in fields:
                    # Names are compared without case, and with `-` for `_` and `.` (PEP 503).
                    plain = fields["Name"].lower().replace("_", "-").replace(".", "-")
                    licence = fields.get("License-Expression") or fields.get("License", "")
                    yield Package("pypi", plain, fields["Version"], licence=licence)
        elif "package.json" in names and "node_modules" in folder.split("/")[:-1]:
            yield from _npm(_read(tree_fd, f"{folder}/package.json"))


def _npm(text: str) -> Iterator[Package]:
    try:
        package = parse_document(text.encode(), "package.json", limit=_MAX_BYTES)
        name, version = package["name"].text(), package["version"].text()
    except ImageError:
        return
    if name and version:
        scope, slash, rest = name.partition("/")
        licence = package["license"].value
        licence = licence if isinstance(licence, str) else ""
        yield Package("npm", rest if slash else name, version, scope if slash else "", "", licence)


def _folders(tree_fd: int) -> Iterator[tuple[str, Mapping[str, bool]]]:
    """Every directory of the tree by its path, with its names and whether they are directories."""
    pending = [""]
    while pending:
        path = pending.pop()
        with ExitStack() as stack:
            try:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
                fd = open_beneath(tree_fd, path or ".", flags)
                stack.callback(os.close, fd)
                entries: Iterable[os.DirEntry[str]] = stack.enter_context(os.scandir(fd))
                names = {e.name: e.is_dir(follow_symlinks=False) for e in entries}
            except OSError:
                continue
        yield path, names
        prefix = f"{path}/" if path else ""
        pending += [prefix + name for name, is_dir in names.items() if is_dir]
