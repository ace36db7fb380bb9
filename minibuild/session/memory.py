"""Build contexts that are in memory: files by their paths, or a tar.

Comes in: the contexts of a caller. Goes out: paths, for as long as the block runs: contexts in
memory are put into a temporary folder. Files have one fixed time, so that the same files make the
same layers; a tar has its own times. Read next: `scratch`, `frontend.definition`.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from minibuild.errors import UsageError, os_errors_as
from minibuild.session.scratch import scratch_folder

FILE_TIME = 315_532_800
"""1980-01-01: the first time that a zip can say, which is what some programs make of files."""

_PREFIX = "minibuild-context-"
_ARCHIVES = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")
TAR_HEADER_BYTES = 512
_CHUNK_BYTES = 1 << 20


@contextmanager
def contexts_on_disk(
    context: Any, contexts: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, str]]]:
    """The main context and the named ones as paths and URLs. Raises `UsageError`."""
    with ExitStack() as stack:
        named = {name: _placed(stack, name, value) for name, value in contexts.items()}
        yield _placed(stack, "context", context), named


def _placed(stack: ExitStack, name: str, context: Any) -> str:
    if isinstance(context, str | os.PathLike):
        return os.fsdecode(context)
    if not isinstance(context, bytes | Mapping) and not hasattr(context, "read"):
        raise UsageError(
            f"a build context cannot be {type(context).__name__}",
            hint="give a path, a URL, a mapping of paths to contents, or a tar",
        )
    folder = stack.enter_context(scratch_folder(_PREFIX))
    what = f"cannot keep the build context {name!r}"
    with os_errors_as(UsageError, what, "TMPDIR chooses the disk for it"):
        if isinstance(context, Mapping):
            write_files(folder, context)
            return folder
        path = os.path.join(folder, "context.tar")
        _write_tar(path, name, context)
        return path


def write_files(folder: str, files: Mapping[str, Any]) -> None:
    """Write files into an empty folder, each beneath it and of a time that is always the same."""
    for name, content in files.items():
        parts, data = _parts(name), _data(name, content)
        try:
            os.makedirs(os.path.join(folder, *parts[:-1]), exist_ok=True)
            with open(os.path.join(folder, *parts), "xb") as file:
                file.write(data)
        except (FileExistsError, IsADirectoryError, NotADirectoryError):
            raise UsageError(
                f"the build context cannot hold {name!r}: another file is in its way"
            ) from None
    for path, _, names in os.walk(folder, topdown=False):
        for name in names:
            _settle(os.path.join(path, name), 0o644)
        _settle(path, 0o755)


def _data(name: str, content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    if not isinstance(content, str):
        kind = type(content).__name__
        raise UsageError(f"the file {name!r} must be text or bytes, and is {kind}")
    try:
        return content.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise UsageError(f"the file {name!r} has text that is not UTF-8") from None


def _settle(path: str, mode: int) -> None:
    os.chmod(path, mode)
    os.utime(path, (FILE_TIME, FILE_TIME))


def _parts(name: Any) -> list[str]:
    """The parts of the path of a file: none that leads out of the context. Raises `UsageError`."""
    parts = name.split("/") if isinstance(name, str) and _is_name(name) else [""]
    if any(part in ("", ".", "..") for part in parts):
        raise UsageError(
            f"a file of a build context cannot be called {name!r}",
            hint="write its path below the context, such as src/main.c",
        )
    return parts


def _is_name(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _write_tar(path: str, name: str, tar: Any) -> None:
    with open(path, "x+b") as file:
        for chunk in [tar] if isinstance(tar, bytes) else iter(lambda: tar.read(_CHUNK_BYTES), b""):
            if not isinstance(chunk, bytes):
                raise UsageError(f"the build context {name!r} is a file that is open as text")
            file.write(chunk)
        file.seek(0)
        head = file.read(TAR_HEADER_BYTES)
    if not is_archive(head):
        raise UsageError(
            f"the build context {name!r} in memory is no tar",
            hint="a single Dockerfile is dockerfile=TEXT; files are a mapping of paths to contents",
        )


def is_archive(head: bytes) -> bool:
    """Whether bytes begin an archive: compressed, or a tar header whose checksum is right."""
    if head.startswith(_ARCHIVES):
        return True
    if len(head) < TAR_HEADER_BYTES:
        return False
    try:
        stated = int(head[148:156].strip(b" \0") or b"-", 8)
    except ValueError:
        return False
    # The field counts as spaces in its own sum (POSIX.1-2017, pax, ustar format).
    return stated == sum(head[:148]) + sum(head[156:512]) + 8 * 0x20
