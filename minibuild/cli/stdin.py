"""What comes on standard input: `minibuild build - < Dockerfile`, `... - < context.tar.gz`,
`minibuild build -f - .`, or on another stream of the caller's: `minibuild build -f <(m4 d) .`.

Comes in: a request that says `-`. Goes out: one that holds the text, or names a file with the
archive. As with Docker, a Dockerfile in place of the context is built with an empty one.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from minibuild.cli.build_request import is_stream
from minibuild.errors import UsageError, os_errors_as
from minibuild.frontend.definition import MAX_BYTES, decoded
from minibuild.session.request import BuildRequest


@contextmanager
def with_definition(request: BuildRequest, stream: BinaryIO) -> Iterator[BuildRequest]:
    """The request with what `stream` brings, kept for as long as the block runs."""
    if request.file == "-" and request.context == "-":
        raise UsageError("the context and the Dockerfile cannot both be standard input")
    if is_stream(request.file):
        problem = os_errors_as(UsageError, f"cannot read the Dockerfile {request.file}")
        with problem, open(request.file, "rb") as other:
            request = request._replace(file="", dockerfile=_text(b"", other))
        if request.context != "-":
            yield request
            return
    from minibuild.session.memory import TAR_HEADER_BYTES, is_archive

    head = stream.read(TAR_HEADER_BYTES)
    if request.context != "-":
        yield request._replace(file="", dockerfile=_text(head, stream))
        return
    from minibuild.session.scratch import scratch_folder

    with scratch_folder("minibuild-context-") as folder:
        if is_archive(head):
            path = os.path.join(folder, "context.tar")
            _keep(head, stream, path)
            yield request._replace(context=path)
        elif request.file or request.dockerfile is not None:
            raise UsageError(
                "with -f standard input has to be the context, and it is no archive",
                hint="leave out -f, or send a tar",
            )
        else:
            yield request._replace(context=folder, dockerfile=_text(head, stream))


def _text(head: bytes, stream: BinaryIO) -> str:
    return decoded(head + stream.read(MAX_BYTES + 1 - len(head)), "Dockerfile")


def _keep(head: bytes, stream: BinaryIO, path: str) -> None:
    from shutil import copyfileobj

    what, hint = "cannot keep the context from standard input", "TMPDIR chooses the disk for it"
    with os_errors_as(UsageError, what, hint), open(path, "xb") as file:
        file.write(head)
        copyfileobj(stream, file, 1 << 20)
