"""Clients of a server, and what they were told."""

from pathlib import Path
from typing import Any

from tests.support.buildkit_client import Client


def client_of(server: str, place: Path, context: Path, **lent: Any) -> Client:
    """A client with a context, whose outputs go below a place."""
    place.mkdir(exist_ok=True)
    return Client(server, place, {"context": context, "dockerfile": context}, **lent)


def transferred(client: Client) -> int:
    """How many bytes of its context a client reads that it sent."""
    found = [status for message in client.statuses for status in message.statuses]
    return max(status.current for status in found if status.ID == "transferring context:")
