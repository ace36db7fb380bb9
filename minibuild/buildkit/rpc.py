"""gRPC without generated code: messages by their classes, and failures of calls.

Comes in: the messages of `api.proto`. Goes out: their classes, and errors with the details that
BuildKit's clients understand.
Rules: https://grpc.io/docs/guides/status-codes/, moby/buildkit `util/grpcerrors`.
Read next: `messages`.
"""

from collections.abc import Sequence
from typing import Any

from minibuild.buildkit.proto import messages
from minibuild.errors import UsageError

CallMetadata = Sequence[tuple[str, str]]
UNKNOWN = 2
CANCELLED = 1
NOT_FOUND = 5
ALREADY_EXISTS = 6
UNIMPLEMENTED = 12
UNAVAILABLE = 14


def check_installed() -> None:
    """Raise `UsageError` if a Python package that is needed is missing."""
    try:
        import hpack  # noqa: F401
    except ImportError:
        raise UsageError(
            "this needs the Python package hpack",
            hint="install it with: pip install 'minibuild[buildkit]'",
        ) from None
    messages("ops", "api")


def api_type(name: str) -> Any:
    """The class of a message of LLB or of the services. Raises `UsageError` without the library."""
    return messages("ops", "api")[name]


class Failure(Exception):
    """A call that failed, as the other side learns of it. `details` are pairs of a type of
    BuildKit's and its JSON."""

    def __init__(
        self, message: str, code: int = UNKNOWN, details: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.details = tuple(details)

    def status(self) -> Any:
        """The failure as a message `RpcStatus`."""
        status = api_type("RpcStatus")(code=self.code, message=self.message)
        for name, data in self.details:
            status.details.add(type_url=f"github.com/moby/buildkit/{name}", value=data)
        return status
