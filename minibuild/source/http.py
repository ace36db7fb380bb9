"""Files from the web, for `ADD https://...`: a tree of one file.

A server is asked each time, and answers "not modified" (304) where it supports ETag or
Last-Modified, so that an unchanged file is neither transferred nor written again. With a checksum
nothing has to be asked. Rules: RFC 9110, sections 13 (conditional requests) and 8.8 (validators).
"""

import hashlib
import os
import time
from email.utils import parsedate_to_datetime
from typing import Any

from minibuild.cache.records import Record
from minibuild.cache.results import VertexResult
from minibuild.digest import Digest, digest_strings
from minibuild.errors import DefinitionError, raise_if_cancelled
from minibuild.graph.address import parse_address, without_credentials
from minibuild.graph.op import HttpSource
from minibuild.graph.remote import http_filename
from minibuild.progress.writer import ProgressWriter
from minibuild.source.web import Client, body, get, is_compressed, own_authorization
from minibuild.worker.context import BuildContext


def fetch_http(
    build: BuildContext, op: HttpSource, progress: ProgressWriter, *, ignore_cache: bool
) -> VertexResult:
    """The file behind a URL as a result. Raises `RegistryError`, or `DefinitionError` if the
    checksum is another."""
    asked = digest_strings(
        ("http-url", without_credentials(op.url), op.checksum, op.filename, *map(str, op[3:5]))
    )
    cache = build.worker.cache
    known = None if ignore_cache else cache.lookup(asked)
    validators = (cache.parts(asked) or {}) if known else {}
    pin = op.checksum or validators.get("digest", "")
    if known is not None and op.checksum:
        return VertexResult(known.result, known.canonical, cached=True, resolved_digest=pin)
    response = open_url(build, op, validators)
    try:
        if response.status == 304 and known is not None:
            return VertexResult(known.result, known.canonical, cached=True, resolved_digest=pin)
        record, pin = _store(build, op, response, progress)
    finally:
        response.release_conn()
    cache.save({asked}, record, without_credentials(op.url))
    headers = response.headers
    validators = {k: headers[k] for k in ("ETag", "Last-Modified") if k in headers}
    cache.save_parts(asked, without_credentials(op.url), {**validators, "digest": pin})
    return VertexResult(record.result, record.canonical, forced=ignore_cache, resolved_digest=pin)


def open_url(client: Client, op: HttpSource, validators: dict[str, Any]) -> Any:
    """The answer to a request for a file, or that what `validators` describe is still right."""
    headers = {"Accept-Encoding": "identity", **dict(op.headers)}
    if "ETag" in validators:
        headers["If-None-Match"] = validators["ETag"]
    elif "Last-Modified" in validators:
        headers["If-Modified-Since"] = validators["Last-Modified"]
    if value := _authorization(client, op):
        headers["Authorization"] = value
    hint = "open the address in a browser; a secret HTTP_AUTH_TOKEN_<host> adds a token"
    return get(op.url, headers, client.registries, client.cancelled, hint, client.report)


def _authorization(client: Client, op: HttpSource) -> str:
    """From the secret that the source names, from those for its host (one that names the port too
    counts first), or from the address itself."""
    url = op.url
    if op.authorization and (header := client.secret(op.authorization)) is not None:
        return header.decode().strip()
    try:
        address = parse_address(without_credentials(url))
    except ValueError:
        return ""  # it is refused with a sentence when it is asked
    for host in (address.place, address.host):
        if (header := client.secret(f"HTTP_AUTH_HEADER_{host}")) is not None:
            return header.decode().strip()
        if (token := client.secret(f"HTTP_AUTH_TOKEN_{host}")) is not None:
            return "Bearer " + token.decode().strip()
    return own_authorization(url)


def _store(
    build: BuildContext, op: HttpSource, response: Any, progress: ProgressWriter
) -> tuple[Record, str]:
    """Write the body into a snapshot of its own; says the digest, too."""
    active = build.worker.snapshots.prepare(None)
    with build.worker.snapshots.removed_if_failed(active):
        with build.worker.snapshots.tree(active, readonly=False) as root:
            name, digest = download(build, op, response, root, progress)
        build.worker.snapshots.commit(active)
    key = Digest(digest_strings(("http", name, str(op.mode), digest)))
    return Record(key, (build.worker.diffs.add((), upper=active),)), digest


def download(
    client: Client, op: HttpSource, response: Any, dir_fd: int, progress: ProgressWriter
) -> tuple[str, str]:
    """Write the body into a directory, hashing on the way, and return its name and digest."""
    started, sha, size = time.time(), hashlib.sha256(), 0
    name = (
        op.filename or _named(response.headers.get("Content-Disposition")) or http_filename(op.url)
    )
    total = 0 if is_compressed(response) else response.length_remaining or 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    fd = os.open(name, flags, 0o600, dir_fd=dir_fd)
    with open(fd, "wb", buffering=0) as file:
        for chunk in body(response, op.url):
            raise_if_cancelled(client.cancelled, "downloading")
            sha.update(chunk)
            file.write(chunk)
            size += len(chunk)
            progress.status("downloading", size, total, "B", started)
        os.fchmod(fd, op.mode)
    modified = _modified(response.headers.get("Last-Modified"))
    os.utime(name, (modified, modified), dir_fd=dir_fd)
    digest = "sha256:" + sha.hexdigest()
    if op.checksum and digest != op.checksum:
        raise DefinitionError(
            f"digest mismatch {digest}: {op.checksum}",
            hint=f"if the file at {without_credentials(op.url)} changed and you trust it, "
            "change --checksum",
        )
    progress.status("downloading", size, size, "B", started, done=True)
    return name, digest


def _named(header: str | None) -> str:
    """The name in Content-Disposition (RFC 6266); empty if there is none that a file can have."""
    from email.message import Message

    message = Message()
    message["Content-Disposition"] = header or ""
    name = (message.get_filename() or "").rpartition("/")[2]
    return name if name not in (".", "..") and "\0" not in name else ""


def _modified(header: str | None) -> float:
    """Last-Modified in seconds since the epoch; 0 where the server does not say, as BuildKit."""
    try:
        return parsedate_to_datetime(header).timestamp() if header else 0.0
    except ValueError:
        return 0.0
