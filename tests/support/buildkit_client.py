"""A client of BuildKit in Python: its calls in the order of `buildctl build`, and its session.

The services of the session are a gRPC server of this process; the bytes between it and the builder
go through the call `Control/Session`.
"""

import os
import queue
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from minibuild.buildkit.proto import messages
from tests.support.waiting import PATIENCE_S

TYPES = messages("ops", "api")
_CONTROL = "/moby.buildkit.v1.Control"
_BRIDGE = "/moby.buildkit.v1.frontend.LLBBridge"
_DIRECTORY, _LINK = 1 << 31, 1 << 27
_STAT, _REQ, _DATA, _FIN = range(4)


def unary(function: Callable[..., Any], request: Any, response: Any) -> Any:
    """A handler: one message in, one out."""
    return grpc.unary_unary_rpc_method_handler(
        function, request.FromString, response.SerializeToString
    )


def two_way(function: Callable[..., Any], request: Any, response: Any) -> Any:
    """A handler: many messages in, many out."""
    return grpc.stream_stream_rpc_method_handler(
        function, request.FromString, response.SerializeToString
    )


class Client:
    """One connection, and what it lends: folders by name, secrets by id. Outputs go to `received`:
    an archive is a file `output-N`, a folder `output-N/`. `services` are further ones of
    the session: handlers by the names of their methods."""

    def __init__(
        self,
        path: str,
        place: Path,
        folders: Mapping[str, Path],
        secrets: Mapping[str, bytes] = {},
        services: Mapping[str, Mapping[str, Any]] = {},
    ) -> None:
        self.channel = grpc.insecure_channel(f"unix:{path}")
        self.received = place / "received"
        self.sent: list[str] = []
        self.statuses: list[Any] = []
        self._folders = folders
        self._secrets = secrets
        self._services = services
        self.received.mkdir(exist_ok=True)

    def call(self, method: str, request: Any, answer: str, metadata: Any = ()) -> Any:
        made = self.channel.unary_unary(
            method, type(request).SerializeToString, TYPES[answer].FromString
        )
        return made(request, metadata=metadata, timeout=PATIENCE_S)

    def build(
        self,
        attributes: Mapping[str, str],
        outputs: Sequence[tuple[str, Mapping[str, str]]] = (),
        definition: bytes | None = None,
        *,
        gateway: bool = True,
        metadata: Mapping[str, bytes] = {},
        inputs: Mapping[str, bytes] = {},
        fields: Mapping[str, Any] = {},
        look: Callable[[Callable[..., Any], str], None] = lambda call, ref: None,
        change: Callable[[Any], None] = lambda result: None,
    ) -> Mapping[str, Any]:
        """Build as `buildctl build` does: a Dockerfile, or a definition of LLB. Without the gateway
        all is said in one call, as programs in Go can. Raises `grpc.RpcError`. Returns the answer.
        `inputs` are definitions that contexts name, `metadata` is what the client says of the
        result, `fields` are further ones of the request. `look` can ask about the result before
        the outputs are made: it gets a function that calls the gateway, and the result's id.
        `change` can change the result before it is handed back.
        """
        ref, session = os.urandom(8).hex(), os.urandom(8).hex()
        hand = ThreadPoolExecutor(4)
        server, listener = self._serve_session(session)
        try:
            hand.submit(self._watch, ref)
            asked = TYPES["SolveRequest"](
                Ref=ref, Session=session, FrontendAttrs=attributes, **fields
            )
            if any("policysession" in name for name in self._services):
                asked.SourcePolicySession = session
            for kind, attrs in outputs:
                asked.Exporters.add(Type=kind, Attrs=attrs)
            if not gateway:
                asked.Frontend = "dockerfile.v0" if definition is None else ""
                asked.Definition.SetInParent()
                asked.Definition.ParseFromString(definition or b"")
                return dict(self.call(f"{_CONTROL}/Solve", asked, "SolveResponse").ExporterResponse)
            solved = hand.submit(self.call, f"{_CONTROL}/Solve", asked, "SolveResponse")
            belongs = (("buildkit-controlapi-buildid", ref),)
            question = TYPES["GatewaySolveRequest"](allowResultReturn=True, FrontendOpt=attributes)
            question.Frontend = "dockerfile.v0" if definition is None else ""
            question.Definition.ParseFromString(definition or b"")
            for key, data in inputs.items():
                question.FrontendInputs[key].ParseFromString(data)
            returned = TYPES["ReturnRequest"]()
            try:
                answer = self.call(f"{_BRIDGE}/Solve", question, "GatewaySolveResponse", belongs)
                returned.result.CopyFrom(answer.result)
                for key, value in metadata.items():
                    returned.result.metadata[key] = value
                change(returned.result)
                look(
                    lambda name, message, kind: self.call(
                        f"{_BRIDGE}/{name}", message, kind, belongs
                    ),
                    answer.result.ref.id,
                )
            except grpc.RpcError as error:
                details = dict(error.trailing_metadata() or ())
                returned.error.ParseFromString(details["grpc-status-details-bin"])
            self.call(f"{_BRIDGE}/Return", returned, "Empty", belongs)
            return dict(solved.result().ExporterResponse) | dict(returned.result.metadata)
        finally:
            listener.close()
            server.stop(None).wait()
            listener.remove()
            hand.shutdown()

    def _watch(self, ref: str) -> None:
        made = self.channel.unary_stream(
            f"{_CONTROL}/Status",
            TYPES["StatusRequest"].SerializeToString,
            TYPES["StatusResponse"].FromString,
        )
        self.statuses += list(made(TYPES["StatusRequest"](Ref=ref)))

    # --- the session ---

    def _serve_session(self, session: str) -> tuple[Any, "_Pump"]:
        packet, secret = TYPES["Packet"], TYPES["GetSecretRequest"]
        services: dict[str, Mapping[str, Any]] = {
            "moby.filesync.v1.FileSync": {"DiffCopy": two_way(self._diff_copy, packet, packet)},
            "moby.filesync.v1.FileSend": {
                "DiffCopy": grpc.stream_stream_rpc_method_handler(self._take, bytes, bytes)
            },
            "moby.buildkit.secrets.v1.Secrets": {
                "GetSecret": unary(self._secret, secret, TYPES["GetSecretResponse"])
            },
        }
        services.update(self._services)
        server = grpc.server(ThreadPoolExecutor(8))
        for name, handlers in services.items():
            server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(name, handlers)])
        # A socket has a short name: pytest's folders are too deep for it.
        path = Path(tempfile.mkdtemp(prefix="mb-", dir="/tmp")) / "s"
        server.add_insecure_port(f"unix:{path}")
        server.start()
        methods = [f"/{name}/{method}" for name, found in services.items() for method in found]
        return server, _Pump(self.channel, path, session, methods)

    def _secret(self, request: Any, context: Any) -> Any:
        if request.ID not in self._secrets:
            context.abort(grpc.StatusCode.NOT_FOUND, "not found")
        return TYPES["GetSecretResponse"](data=self._secrets[request.ID])

    def _diff_copy(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        """Send a folder."""
        asked: dict[str, list[str]] = {}
        for key, value in context.invocation_metadata():
            asked.setdefault(key, []).append(value)
        name = asked["dir-name"][0]
        if name not in self._folders:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no access allowed to dir {name}")
        folder = self._folders[name]
        packet = TYPES["Packet"]
        paths = list(_entries(folder, asked.get("followpaths", [])))
        for path in paths:
            yield packet(stat=_stat(folder, path))
        yield packet()
        for request in requests:
            if request.type == _FIN:
                yield packet(type=_FIN)
                return
            self.sent.append(paths[request.ID])
            yield packet(type=_DATA, ID=request.ID, data=(folder / paths[request.ID]).read_bytes())
            yield packet(type=_DATA, ID=request.ID)

    def _take(self, messages: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """Take an output: an archive in messages of bytes, or a folder in packets."""
        number = dict(context.invocation_metadata())["buildkit-attachable-exporter-id"]
        target = self.received / f"output-{number}"
        first = next(messages, b"")
        if first[:1] == b"\x0a":
            with target.open("wb") as file:
                for data in (first, *messages):
                    file.write(TYPES["BytesMessage"].FromString(data).data)
            return
        yield from self._take_folder(target, first, messages)

    def _take_folder(self, target: Path, first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
        packet = TYPES["Packet"]
        target.mkdir()
        entries: list[Any] = []
        wanted: set[int] = set()
        for data in (first, *_until_end(first, rest)):
            message = packet.FromString(data)
            if not message.HasField("stat"):
                break
            entry = message.stat
            if entry.mode & _DIRECTORY:
                (target / entry.path).mkdir()
            elif entry.mode & _LINK:
                (target / entry.path).symlink_to(entry.linkname)
            elif not entry.linkname:
                wanted.add(len(entries))
                (target / entry.path).write_bytes(b"")
            entries.append(entry)
        for number in sorted(wanted):
            yield packet(type=_REQ, ID=number).SerializeToString()
        while wanted:
            message = packet.FromString(next(rest))
            if not message.data:
                wanted.discard(message.ID)
                continue
            with (target / entries[message.ID].path).open("ab") as file:
                file.write(message.data)
        yield packet(type=_FIN).SerializeToString()


def _until_end(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    """The list of entries, which ends with an empty packet."""
    while first:
        first = next(rest)
        yield first


def _entries(folder: Path, wanted: list[str]) -> Iterator[str]:
    found = [str(path.relative_to(folder)) for path in folder.rglob("*")]
    for path in sorted(found, key=lambda path: path.split("/")):
        if not wanted or any(_leads(path, name) or _leads(name, path) for name in wanted):
            yield path


def _leads(path: str, below: str) -> bool:
    """Whether a path is another one, or a folder above it."""
    return f"{below}/".startswith(f"{path}/")


def _stat(folder: Path, path: str) -> Any:
    found = (folder / path).lstat()
    entry = TYPES["Stat"](path=path, modTime=found.st_mtime_ns, mode=found.st_mode & 0o777)
    if (folder / path).is_symlink():
        entry.mode |= _LINK
        entry.linkname = os.readlink(folder / path)
    elif (folder / path).is_dir():
        entry.mode |= _DIRECTORY
    else:
        entry.size = found.st_size
    return entry


class _Pump:
    """The call `Control/Session`: carries bytes between the builder and a socket of ours."""

    def __init__(self, channel: Any, path: Path, session: str, methods: list[str]) -> None:
        self._path = path
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(str(path))
        self._outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()
        kind = TYPES["BytesMessage"]
        metadata = [("x-docker-expose-session-uuid", session)]
        metadata += [("x-docker-expose-session-sharedkey", "tests")]
        metadata += [("x-docker-expose-session-grpc-method", method) for method in methods]
        self._call = channel.stream_stream(
            f"{_CONTROL}/Session", kind.SerializeToString, kind.FromString
        )(iter(self._outgoing.get, None), metadata=metadata)
        threading.Thread(target=self._down, daemon=True).start()
        threading.Thread(target=self._up, daemon=True).start()

    def _down(self) -> None:
        try:
            for message in self._call:
                self._connection.sendall(message.data)
        except (grpc.RpcError, OSError):
            pass

    def _up(self) -> None:
        try:
            while data := self._connection.recv(32768):
                self._outgoing.put(TYPES["BytesMessage"](data=data))
        except OSError:
            pass
        self._outgoing.put(None)

    def close(self) -> None:
        self._outgoing.put(None)
        self._connection.close()

    def remove(self) -> None:
        """Remove the socket, when nothing listens there any more."""
        self._path.unlink(missing_ok=True)
        self._path.parent.rmdir()
