"""Contexts that a client sends as bytes: what it read from standard input.

Comes in: a session, and the address that the client gave. Goes out: a file in a folder of ours.
Rules: moby/buildkit `session/upload`.
Read next: `layouts`.
"""

from minibuild.serve.session import Session

UPLOADED = "http://buildkit-session/"
"""Where a client says its standard input is."""

_PULL = "/moby.upload.v1.Upload/Pull"


def fetch_upload(session: Session, url: str, path: str) -> None:
    """Write what the client read from standard input to a file. Raises `Failure`."""
    metadata = [("urlpath", f"/{url.removeprefix(UPLOADED)}"), ("urlhost", "buildkit-session")]
    call = session.open(_PULL, "BytesMessage", metadata)
    call.finish()
    with open(path, "wb") as file:
        for message in call:
            file.write(message.data)
