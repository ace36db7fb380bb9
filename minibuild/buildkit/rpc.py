"""gRPC without generated code: calls by their names, messages by their classes.

Comes in: the messages of `api.proto`. Goes out: handlers for the services of a client (those of a
server are in `serve.callserver`), and errors with the details that BuildKit's clients understand.
Rules: https://grpc.io/docs/guides/status-codes/, moby/buildkit `util/grpcerrors`.
Read next: `messages`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from minibuild.buildkit.proto import messages
from minibuild.errors import UsageError

Types = Mapping[str, Any]
Metadata = Sequence[tuple[str, str]]
OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
"""Definitions and blobs are larger than the 4 MiB that gRPC takes by itself."""
_DISTRIBUTIONS = {"grpc": "grpcio"}
UNKNOWN = 2
CANCELLED = 1
NOT_FOUND = 5
ALREADY_EXISTS = 6
UNIMPLEMENTED = 12
UNAVAILABLE = 14


def check_installed(*packages: str) -> None:
    """Raise `UsageError` if a Python package of the extra is missing."""
    from importlib import import_module

    for name in packages:
        try:
            import_module(name)
        except ImportError:
            raise UsageError(
                f"this needs the Python package {_DISTRIBUTIONS.get(name, name)}",
                hint="install it with: pip install 'minibuild[buildkit]'",
            ) from None


def api_types() -> Types:
    """The messages of LLB and of the services. Raises `UsageError` without the library."""
    return messages("ops", "api")


def unary(function: Callable[..., Any], request: Any, response: Any) -> Any:
    """A handler: one message in, one out."""
    import grpc

    return grpc.unary_unary_rpc_method_handler(
        function, request.FromString, response.SerializeToString
    )


def streaming(function: Callable[..., Any], request: Any, response: Any) -> Any:
    """A handler: one message in, many out."""
    import grpc

    return grpc.unary_stream_rpc_method_handler(
        function, request.FromString, response.SerializeToString
    )


def two_way(function: Callable[..., Any], request: Any, response: Any) -> Any:
    """A handler: many messages in, many out."""
    import grpc

    return grpc.stream_stream_rpc_method_handler(
        function, request.FromString, response.SerializeToString
    )


class Failure(Exception):
    """A call that failed: what the client is told. `details` are pairs of a type of BuildKit's
    and its JSON."""

    def __init__(
        self, message: str, code: int = UNKNOWN, details: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.details = tuple(details)

    def status(self, types: Types) -> Any:
        """The failure as a message `RpcStatus`."""
        status = types["RpcStatus"](code=self.code, message=self.message)
        for name, data in self.details:
            status.details.add(type_url=f"github.com/moby/buildkit/{name}", value=data)
        return status


def abort(context: Any, types: Types, failure: Failure) -> NoReturn:
    """End the call of a client with a failure."""
    import grpc

    code = next(known for known in grpc.StatusCode if known.value[0] == failure.code)
    details = failure.status(types).SerializeToString()
    context.set_trailing_metadata((("grpc-status-details-bin", details),))
    context.abort(code, failure.message)
    raise AssertionError("abort returned")
