"""What a registry says when it says no, as one sentence with a hint.

Comes in: a response that is no success. Goes out: a `RegistryError`. Rules: "Error Codes" of the
distribution spec; the rate limit headers are Docker Hub's.
"""

from typing import TYPE_CHECKING

from minibuild.errors import BuildError, RegistryError
from minibuild.graph.literals import parse_uint
from minibuild.oci.document import parse_document
from minibuild.registry.transport import TEMPORARY, read_all, retry_after_s

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

_MAX_BYTES = 64 << 10
_MAX_WORDS = 200


class Refused(RegistryError):
    """A registry answered, and not with what it was asked for. `status` is that of HTTP, `code`
    the distribution spec's word for what is wrong, such as BLOB_UNKNOWN, if it said one."""

    def __init__(self, message: str, *, status: int, hint: str = "", code: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code

    @property
    def temporary(self) -> bool:
        """Whether the same request may get another answer soon.

        docker-registry on a filesystem empties a file before it writes it again. A client that puts
        a manifest while another pushes one of its blobs there may hear that a digest in it is
        wrong.
        """
        return self.status in TEMPORARY or self.code == "DIGEST_INVALID"


def refusal(response: "BaseHTTPResponse", host: str, what: str, *, logged_in: bool) -> Refused:
    """The error for an answer about `what` (`team/app:1`); reads the rest of the response."""
    status = response.status
    said, code = _said(response, host)
    hint = ""
    if status == 404:
        message, hint = f"{host} has no {what}", "check the name and the tag"
    elif status in (401, 403):
        message = f"{host} denies access to {what}"
        if not logged_in:
            hint = f"there is no login for {host}: `minibuild login {host}` keeps one"
        elif status == 401:
            hint = f"{host} does not take the login: has its password changed, or expired?"
        else:
            hint = f"the login for {host} has no right to do this"
    elif status == 429:
        message, hint = f"{host} takes no more requests for now", _wait(response)
    elif status in (405, 501):
        message = f"{host} does not do this for {what}"
    elif status >= 500:
        message, hint = f"{host} has trouble of its own with {what}", "try again later"
    else:
        message = f"{host} refuses {what}"
    sentence = f"{message} ({status}{': ' + said if said else ''})"
    return Refused(sentence, status=status, hint=hint, code=code)


def _wait(response: "BaseHTTPResponse") -> str:
    wait_s = retry_after_s(response)
    hint = f"try again in {wait_s:.0f} seconds" if wait_s else "try again later"
    limit = response.headers.get("RateLimit-Limit", "")
    count, _, window = limit.partition(";w=")
    hours = parse_uint(window) // 3600 or 1
    if parse_uint(count) >= 0 and hours > 0:
        hint += f"; its limit is {count} in {hours} hours, and more with a login"
    return hint


def _said(response: "BaseHTTPResponse", host: str) -> tuple[str, str]:
    """The registry's own words: those of the first error, in one line; and its code."""
    try:
        answer = parse_document(read_all(response, _MAX_BYTES, host), "the answer")
        error = next(answer["errors"].items(), None)
        if error is None:
            return "", ""
        code = error["code"].text()
        words = error["message"].text() or code
    except BuildError:
        return "", ""
    words = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    return words[:_MAX_WORDS], code
