"""Paths of the system that an image is for, as the Linux that builds it has them.

Comes in: a path of a Dockerfile or of a config, and the operating system. Goes out: the same with
slashes and without a drive. The rules are BuildKit's: the system drive of Windows (`C:`) is the
root of the image, there is no other one, and a path without a drive letter may be relative.
Read next: `config`, whose WORKDIR writes paths back as the system has them.
"""

from minibuild.graph.pattern import clean
from minibuild.graph.platform import WINDOWS

_SYSTEM_DRIVE = "c"


def to_slashes(path: str, os: str, *, keep_end: bool = False) -> str:
    """The path below the root of the image; that of a system with slashes is left as it is.

    With `keep_end` a path that says that it is a directory still says so. Raises `ValueError` for
    what is on no drive that an image has.
    """
    if os != WINDOWS:
        return path
    slashed = path.replace("\\", "/")
    if slashed.startswith("//"):
        raise ValueError("UNC paths are not supported")
    drive, colon, rest = slashed.partition(":")
    if colon and drive.lower() != _SYSTEM_DRIVE:
        raise ValueError("the specified path is not on the system drive (C:)")
    if colon and not rest:
        raise ValueError(f'no relative path specified in "{path}"')
    below = rest if colon else slashed
    made = clean(below) if below else ""
    is_directory = below.endswith(("/", "/.")) and made != "/"
    return f"{made}/" if keep_end and is_directory else made


def from_slashes(path: str, os: str) -> str:
    """A path below the root of the image as programs of its system write it."""
    return path.replace("/", "\\") if os == WINDOWS else path
