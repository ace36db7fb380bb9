"""Edits of a project at random, as people make them between two builds.

Comes in: a context, its Dockerfile, arguments, and names of images. Goes out: one or two edits, and
what they were. Many change what a step makes, some only seem to.
"""

import os
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path


def edit(
    rng: random.Random, context: Path, dockerfile: Path, args: dict[str, str], images: Sequence[str]
) -> str:
    """Edit a project; returns what was done."""
    said = []
    for _ in range(rng.choice((1, 1, 2))):
        subject = rng.choice(("file", "file", "instruction", "instruction", "argument", "base"))
        if subject == "argument" and args:
            name = rng.choice(sorted(args))
            args[name] += "1"
            said.append(f"argument {name}")
        elif subject == "base":
            said.append(_edit_text(rng, dockerfile, lambda lines: _base(rng, lines, images)))
        elif subject == "instruction" or not _paths(context):
            said.append(_edit_text(rng, dockerfile, lambda lines: _instruction(rng, lines)))
        else:
            said.append(_file(rng, context))
    return ", ".join(said)


# --- Files ----------------------------------------------------------------------------------------


def _paths(context: Path) -> list[Path]:
    """What can be edited: no sockets and pipes."""
    found = sorted(context.rglob("*"))
    return [path for path in found if path.is_symlink() or path.is_dir() or path.is_file()]


def _file(rng: random.Random, context: Path) -> str:
    path = rng.choice(_paths(context))
    name = path.relative_to(context)
    kinds = _OF_LINKS if path.is_symlink() else _OF_DIRECTORIES if path.is_dir() else _OF_FILES
    what = rng.choice(sorted(kinds))
    kinds[what](path)
    return f"{what} {name}"


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more\n")


def _in_place(path: Path) -> None:
    """Other data of the same size, with the same time."""
    status, data = path.stat(), path.read_bytes()
    path.write_bytes(bytes(byte ^ 1 for byte in data))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _retarget(path: Path) -> None:
    target = os.readlink(path)
    path.unlink()
    path.symlink_to(f"./{target}")


def _file_for_link(path: Path) -> None:
    path.unlink()
    path.write_text("no link\n")


def _link_for_file(path: Path) -> None:
    path.rename(path.with_name(f"{path.name}.moved"))
    path.symlink_to(f"{path.name}.moved")


def _hardlink(path: Path) -> None:
    path.with_name(f"{path.name}.linked").hardlink_to(path)


Change = Callable[[Path], object]
_OF_FILES: dict[str, Change] = {
    "append to": _append,
    "other bytes in": _in_place,
    "empty": lambda path: path.write_bytes(b""),
    "mode 0600 of": lambda path: path.chmod(0o600),
    "mode 0755 of": lambda path: path.chmod(0o755),
    "mode 04755 of": lambda path: path.chmod(0o4755),
    "owner of": lambda path: os.chown(path, 7, 8),
    "attribute of": lambda path: os.setxattr(path, "user.note", b"x"),
    "time of": lambda path: os.utime(path, (1, 1)),
    "remove": lambda path: path.unlink(),
    "rename": lambda path: path.rename(path.with_name(f"{path.name}2")),
    "a symlink in place of": _link_for_file,
    "another name of": _hardlink,
}
_OF_DIRECTORIES: dict[str, Change] = {
    "mode 0700 of": lambda path: path.chmod(0o700),
    "owner of": lambda path: os.chown(path, 7, 8),
    "a file in": lambda path: (path / "another").write_text("more\n"),
    "a directory in": lambda path: (path / "more").mkdir(exist_ok=True),
    "rename": lambda path: path.rename(path.with_name(f"{path.name}2")),
}
_OF_LINKS: dict[str, Change] = {
    "another target of": _retarget,
    "a file in place of": _file_for_link,
    "remove": lambda path: path.unlink(),
}


# --- The Dockerfile -------------------------------------------------------------------------------


def _edit_text(rng: random.Random, dockerfile: Path, change: Callable[[list[str]], str]) -> str:
    lines = dockerfile.read_bytes().decode("utf-8", "surrogateescape").splitlines(keepends=True)
    said = change(lines)
    dockerfile.write_bytes("".join(lines).encode("utf-8", "surrogateescape"))
    return said


def _base(rng: random.Random, lines: list[str], images: Sequence[str]) -> str:
    """Another image in a FROM."""
    found = [n for n, line in enumerate(lines) if re.match(r"FROM \S", line)]
    if not found:
        return "nothing"
    number, image = rng.choice(found), rng.choice(images)
    lines[number] = re.sub(r"(FROM (?:--\S+ )*)\S+", rf"\g<1>{image}", lines[number])
    return f"line {number + 1}: FROM {image}"


_NEW = (
    "ENV ADDED=1", "ARG ADDED=1", "USER 7:8", "USER 0", "WORKDIR /added", "RUN true",
    "RUN echo added > /added.txt", "LABEL added=1", 'SHELL ["/bin/sh", "-ec"]', "COPY . /added/",
    "COPY --link . /added/", "COPY --chmod=0700 . /added/", "COPY --chown=7:8 . /added/",
)  # fmt: skip


def _instruction(rng: random.Random, lines: list[str]) -> str:
    """An instruction more or less, or another word in one."""
    first = next((n for n, line in enumerate(lines) if line.upper().startswith("FROM")), 0)
    number = rng.randint(first, max(first, len(lines) - 1))
    match rng.choice(("insert", "insert", "remove", "swap", "letter", "flag")):
        case "insert":
            added = rng.choice(_NEW)
            if lines and not lines[number].endswith("\n"):
                lines[number] += "\n"
            lines.insert(number + 1, f"{added}\n")
            return f"line {number + 2}: new {added}"
        case "remove" if number > first:
            del lines[number]
            return f"line {number + 1}: removed"
        case "swap" if first < number < len(lines) - 1:
            lines[number], lines[number + 1] = lines[number + 1], lines[number]
            return f"line {number + 1}: swapped with the next"
        case "flag" if re.match(r"(COPY|ADD) ", lines[number]):
            flag = rng.choice(("--chmod=0711", "--chown=7:8", "--link", "--exclude=*.txt"))
            lines[number] = re.sub(r"^(COPY|ADD) ", rf"\1 {flag} ", lines[number])
            return f"line {number + 1}: {flag}"
    return _letter(rng, lines, number)


def _letter(rng: random.Random, lines: list[str], number: int) -> str:
    """Another letter in an argument of an instruction."""
    line = lines[number]
    places = [m.start() for m in re.finditer(r"[a-z0-9]", line)]
    places = [place for place in places if place > line.find(" ") >= 0]
    if not places:
        return "nothing"
    place = rng.choice(places)
    lines[number] = f"{line[:place]}{rng.choice('abz019')}{line[place + 1 :]}"
    return f"line {number + 1}: another letter, {lines[number].strip()!r}"
