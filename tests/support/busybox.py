"""A small userland from one static binary: the base image of the demo and of the tests.

Comes in: the path of a statically linked busybox. Goes out: a root filesystem, as a tar whose
bytes depend on nothing but that binary, or as a directory.

    python -m tests.support.busybox find          the path of a static busybox, or status 1
    python -m tests.support.busybox tar OUT.tar   the root filesystem made from it
"""

import io
import os
import shutil
import subprocess
import sys
import tarfile
from typing import Literal, NamedTuple

PT_INTERP = 3  # elf(5): the program header that names the dynamic linker

DIRECTORIES = {
    "bin": 0o755,
    "dev": 0o755,
    "etc": 0o755,
    "home": 0o755,
    "proc": 0o755,
    "root": 0o700,
    "sys": 0o755,
    "tmp": 0o1777,
    "usr": 0o755,
    "usr/bin": 0o755,
    "var": 0o755,
    "var/tmp": 0o1777,
}
FILES = {
    "etc/passwd": (
        "root:x:0:0:root:/root:/bin/sh\n"
        "daemon:x:1:1:daemon:/usr/sbin:/bin/false\n"
        "nobody:x:65534:65534:nobody:/home:/bin/false\n"
    ),
    "etc/group": (
        "root:x:0:\ndaemon:x:1:\ntty:x:5:\nstaff:x:50:\nusers:x:100:\nnogroup:x:65534:\n"
    ),
}


def is_static(path: str) -> bool:
    """Whether the 64-bit ELF program at `path` runs without a dynamic linker."""
    with open(path, "rb") as file:
        header = file.read(64)
        if header[:5] != b"\x7fELF\x02":
            return False
        order: Literal["little", "big"] = "little" if header[5] == 1 else "big"
        offset = int.from_bytes(header[32:40], order)
        size = int.from_bytes(header[54:56], order)
        count = int.from_bytes(header[56:58], order)
        file.seek(offset)
        table = file.read(size * count)
    types = (int.from_bytes(table[i : i + 4], order) for i in range(0, size * count, size))
    return PT_INTERP not in types


def find() -> str | None:
    """A statically linked busybox of this machine."""
    for candidate in ("/bin/busybox", "/usr/bin/busybox", shutil.which("busybox")):
        if candidate and os.access(candidate, os.R_OK | os.X_OK) and is_static(candidate):
            return os.path.realpath(candidate)
    return None


def applets(binary: str) -> list[str]:
    """The commands that this busybox can be called as."""
    listed = subprocess.run([binary, "--list"], check=True, capture_output=True, text=True)
    return sorted(set(listed.stdout.split()) - {"busybox"})


class Entry(NamedTuple):
    """One path of the root filesystem: a directory, a file with `data`, or a link to `target`."""

    name: str
    mode: int
    data: bytes | None = None
    target: str = ""


def entries(binary: str) -> list[Entry]:
    """The root filesystem made from this binary, sorted: parents before what is in them."""
    with open(binary, "rb") as file:
        program = file.read()
    found = [Entry(name, mode) for name, mode in DIRECTORIES.items()]
    found += [Entry(name, 0o644, text.encode()) for name, text in FILES.items()]
    found += [Entry("bin/busybox", 0o755, program)]
    found += [Entry(f"bin/{name}", 0o777, target="busybox") for name in applets(binary)]
    found += [Entry("usr/bin/env", 0o777, target="../../bin/env")]
    return sorted(found)


def write_tar(binary: str, out: str) -> None:
    """The root filesystem as a tar, owned by 0:0, at the time 0."""
    with tarfile.open(out, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, mode, data, target in entries(binary):
            info = tarfile.TarInfo(name)
            info.mode, info.linkname = mode, target
            info.type = tarfile.SYMTYPE if target else tarfile.DIRTYPE
            if data is not None:
                info.type, info.size = tarfile.REGTYPE, len(data)
            archive.addfile(info, io.BytesIO(data or b""))


def write_tree(binary: str, out: str) -> None:
    """The root filesystem as the directory `out`, owned by whoever calls."""
    os.makedirs(out, exist_ok=True)
    for name, mode, data, target in entries(binary):
        path = os.path.join(out, name)
        if target:
            os.symlink(target, path)
            continue
        if data is None:
            os.mkdir(path)
        else:
            with open(path, "wb") as file:
                file.write(data)
        os.chmod(path, mode)


def main(arguments: list[str]) -> int:
    """The two commands of the module's docstring."""
    binary = find()
    match arguments:
        case ["find"] if binary:
            sys.stdout.write(binary + "\n")
        case ["tar", out] if binary:
            write_tar(binary, out)
        case ["find"] | ["tar", _]:
            return 1
        case _:
            sys.stderr.write(__doc__ or "")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
