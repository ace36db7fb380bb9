"""A definition on standard input: `minibuild build - < Dockerfile`, `minibuild build -f - .`.

Comes in: a request that says `-`. Goes out: one that holds the text. As with Docker, a Dockerfile
in place of the context is built with an empty one.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from minibuild.errors import DefinitionError, UsageError
from minibuild.request import BuildRequest

MAX_BYTES = 16 * 1024 * 1024
_ARCHIVES = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")


@contextmanager
def with_definition(request: BuildRequest, stream: BinaryIO) -> Iterator[BuildRequest]:
    """The request with the definition read from `stream`."""
    if request.file == "-" and request.context == "-":
        raise UsageError("the context and the Dockerfile cannot both be standard input")
    data = stream.read(MAX_BYTES + 1)
    if data.startswith(_ARCHIVES) or data[257:262] == b"ustar":
        raise UsageError(
            "a context as an archive on standard input is not supported yet",
            hint="unpack it and give the directory",
        )
    if len(data) > MAX_BYTES:
        raise DefinitionError(f"the Dockerfile is larger than {MAX_BYTES >> 20} MiB")
    text = data.decode("utf-8", "surrogateescape")
    if request.context != "-":
        yield request._replace(file="", dockerfile=text)
        return
    from tempfile import mkdtemp

    folder = mkdtemp(prefix="minibuild-context-")
    try:
        yield request._replace(context=folder, dockerfile=text)
    finally:
        os.rmdir(folder)
