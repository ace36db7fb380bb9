"""Builds of the past, for `docker buildx history`.

Comes in: builds of clients, when they begin and when they end. Goes out: a record of each by the id
that its client gave it, its progress again, and news for those who follow. Records are files in the
store's folder `history`, the oldest of which are removed. Builds of the command line have no such
id: they are listed from minibuild's own records.
The service `Content` has the logs and other blobs that records name: nothing can be written there.
Rules: moby/buildkit `solver/llbsolver/history`.
Read next: `records`.
"""

import os
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from minibuild.buildkit.content import reading
from minibuild.buildkit.dispatch import CallHandler, ServerCall
from minibuild.buildkit.rpc import NOT_FOUND, Failure, api_type
from minibuild.digest import (
    Digest,
    digest_bytes,
    digest_hex,
    digest_strings,
)
from minibuild.linux.descriptors import replacing
from minibuild.serve.records import StoredHistory, add_results, results_of
from minibuild.serve.status import StatusStream, messages_in
from minibuild.session.request import BuildResult

BLOBS = "history/blobs"
"""Where logs, and whatever else is kept beside records, are in a store."""

_MAX_KEPT = 50
_MORE_KEPT = 10
STARTED, COMPLETE, DELETED = range(3)
"""What happened to a build."""

_LOGS = "application/vnd.buildkit.status.v0"
_ERROR = "application/vnd.googeapis.google.rpc.status+proto"  # spelt so by BuildKit
_TURN_S = 1.0


class BuildHistory:
    """The builds of one store."""

    def __init__(self, root: str) -> None:
        self._folder = os.path.join(root, "history")
        self._blobs = os.path.join(root, BLOBS)
        self._stored = StoredHistory(root)
        self._active: dict[str, Any] = {}
        self._answered = set[str]()
        self._followers: set[queue.SimpleQueue[Any]] = set()
        self._lock = threading.Condition()

    # --- a build ---

    def begin(self, record: Any) -> None:
        """A build has begun."""
        self._settle(record.Ref)
        with self._lock:
            self._active[record.Ref] = record
        self._tell(STARTED, record)

    def answered(self, ref: str) -> None:
        """The client of a build is about to hear how it ended. If it asks for the build's record
        next, it waits for that."""
        with self._lock:
            self._answered.add(ref)

    def _settle(self, ref: str = "") -> None:
        """Wait for the record of a build that was answered, or for those of all of them."""
        with self._lock:
            waited = {ref} if ref else set(self._answered)
            self._lock.wait_for(lambda: waited.isdisjoint(self._answered))

    def end(self, record: Any, status: StatusStream, made: BuildResult | None) -> None:
        """A build has ended; `record` says how, and `made` what it gave. History is not worth a
        build: what cannot be written is not kept."""
        try:
            self._keep_record(record, status, made)
        except OSError:
            pass
        finally:
            with self._lock:
                self._active.pop(record.Ref, None)
                self._answered.discard(record.Ref)
                self._lock.notify_all()
        self._tell(COMPLETE, record)

    def _keep_record(self, record: Any, status: StatusStream, made: BuildResult | None) -> None:
        os.makedirs(self._blobs, 0o700, exist_ok=True)
        digest, size = status.keep_as(self._blobs)
        record.logs.media_type, record.logs.digest, record.logs.size = _LOGS, digest, size
        if record.error.details:  # They have the Dockerfile in them.
            self._keep(record.externalError, _ERROR, record.error.SerializeToString())
            del record.error.details[:]
        if made is not None:
            add_results(record, made, self._keep)
        self._write(record)
        self._sweep()

    def _keep(self, descriptor: Any, media_type: str, data: bytes) -> None:
        """Keep something beside a record, and describe it."""
        digest = digest_bytes(data)
        with open(self._blob(digest), "wb") as file:
            file.write(data)
        descriptor.media_type, descriptor.digest, descriptor.size = media_type, digest, len(data)

    def _tell(self, kind: int, record: Any) -> None:
        event = api_type("BuildHistoryEvent")(type=kind, record=record)
        with self._lock:
            for follower in self._followers:
                follower.put(event)

    def _path(self, ref: str) -> str:
        # An id is what a client says: any text.
        return os.path.join(self._folder, digest_hex(digest_strings([ref])))

    def _write(self, record: Any) -> None:
        making = os.path.join(self._blobs, f".{os.urandom(6).hex()}")
        with replacing(self._path(record.Ref), making) as file:
            file.write(record.SerializeToString())

    def _sweep(self) -> None:
        """Remove the oldest records, but for those that are pinned, and logs that none names. That
        reads all of them, so it is not done for each build."""
        if len(os.listdir(self._folder)) <= _MAX_KEPT + _MORE_KEPT:
            return
        kept = sorted(self._kept(), key=lambda record: record.CreatedAt.seconds, reverse=True)
        for record in [record for record in kept if not record.pinned][_MAX_KEPT:]:
            self._remove(record)

    def _remove(self, record: Any) -> None:
        os.unlink(self._path(record.Ref))
        named = {digest for other in self._kept() for digest in _blobs_of(other)}
        for digest in _blobs_of(record) - named:
            with suppress(FileNotFoundError):
                os.unlink(self._blob(digest))

    # --- what is asked ---

    def events(self, request: Any, active: Callable[[], bool]) -> Iterator[Any]:
        """The builds that a message `BuildHistoryRequest` asks for; then, unless it asks for an
        early end, what happens to others, for as long as the client listens."""
        self._settle(request.Ref)
        follower: queue.SimpleQueue[Any] = queue.SimpleQueue()
        with self._lock:
            running = list(self._active.values())
            if not request.EarlyExit:
                self._followers.add(follower)
        try:
            event = api_type("BuildHistoryEvent")
            found = [event(type=STARTED, record=record) for record in running]
            if not request.ActiveOnly:
                kept = list(self._kept())
                kept += self._stored.records(kept)
                found += [event(type=COMPLETE, record=record) for record in kept]
            wanted = [e for e in found if request.Ref in ("", e.record.Ref)]
            wanted.sort(
                key=lambda e: (e.record.CreatedAt.seconds, e.record.CreatedAt.nanos), reverse=True
            )
            # A client that sends a filter applies it again by itself: it gets all.
            yield from wanted[: request.Limit] if request.Limit and not request.Filter else wanted
            while not request.EarlyExit and active():
                with suppress(queue.Empty):
                    news = follower.get(timeout=_TURN_S)
                    if request.Ref in ("", news.record.Ref):
                        yield news
        finally:
            with self._lock:
                self._followers.discard(follower)

    def _kept(self) -> Iterator[Any]:
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return
        for name in names:
            found = self._read(os.path.join(self._folder, name))
            if found is not None:
                yield found

    def _read(self, path: str) -> Any:
        from google.protobuf.message import DecodeError

        try:
            with open(path, "rb") as file:
                return api_type("BuildHistoryRecord").FromString(file.read())
        except (OSError, DecodeError):
            return None  # the folder of blobs, or a file that was removed or torn

    def messages(self, ref: str) -> Iterator[bytes] | None:
        """The progress of a build of the past, as serialised messages; None if there is none."""
        self._settle(ref)
        record = self._read(self._path(ref))
        if record is None:
            return self._stored.messages(ref)
        return self._replay(record)

    def _replay(self, record: Any) -> Iterator[bytes]:
        with suppress(FileNotFoundError), open(self._blob(record.logs.digest), "rb") as file:
            yield from messages_in(file)

    def update(self, request: Any) -> None:
        """Pin a record, or remove it. Raises `Failure`."""
        self._settle(request.Ref)
        record = self._read(self._path(request.Ref))
        if request.Finalize:
            if record is not None:
                self._add_trace(record)
            return
        if record is None:
            if not (request.Delete and self._stored.remove(request.Ref)):
                raise Failure(f"failed to retrieve bucket for {request.Ref}: not found", NOT_FOUND)
            return
        if request.Delete:
            self._remove(record)
            self._tell(DELETED, record)
            return
        record.pinned = request.Pinned
        record.Generation += 1
        self._write(record)
        self._tell(COMPLETE, record)

    def _add_trace(self, record: Any) -> None:
        """Keep the trace of a build, which clients ask for by their wish to have all of it."""
        from minibuild.serve.records import TRACE_TYPE, trace_of

        parse = api_type("StatusResponse").FromString
        self._keep(record.trace, TRACE_TYPE, trace_of(record, map(parse, self._replay(record))))
        self._write(record)

    def _blob(self, digest: str) -> str:
        """The path of a blob that is kept beside records."""
        return os.path.join(self._blobs, digest_hex(Digest(digest)))


def _blobs_of(record: Any) -> set[str]:
    """The blobs that are kept for a record. Its images are the store's."""
    said = [blob for info in results_of(record) for blob in info.Attestations]
    return {one.digest for one in (record.logs, record.externalError, record.trace, *said)} - {""}


# --- The service Content ---


class Blobs:
    """The calls of the service. A blob is beside a record, or of an image, as long as the store has
    that."""

    def __init__(self, root: str) -> None:
        self._kept = os.path.join(root, BLOBS)
        self._images = os.path.join(root, "blobs", "sha256")

    def methods(self) -> dict[str, CallHandler]:
        """The calls by their names."""
        listing = CallHandler(self.list, "ContentListRequest", streams=True)
        return {**reading(self._place), "List": listing}

    def _place(self, call: ServerCall, name: str) -> str:
        kept = os.path.join(self._kept, name)
        return kept if os.path.isfile(kept) else os.path.join(self._images, name)

    def list(self, request: Any, call: ServerCall) -> Iterator[Any]:
        """All that is kept. A client that sends a filter gets those of which it knows nothing
        else."""
        answer = api_type("ContentListResponse")()
        if os.path.isdir(self._kept):
            for entry in os.scandir(self._kept):
                if not entry.name.startswith("."):
                    answer.info.add(digest=f"sha256:{entry.name}", size=entry.stat().st_size)
        yield answer
