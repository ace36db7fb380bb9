"""Credential helpers: programs that keep logins, as Docker's config.json names them.

Comes in: the name of a helper, and a registry. Goes out: the login that it has, or one that it
keeps or drops. Rules: the protocol of docker-credential-helpers: the program
`docker-credential-NAME` with one of the words get, store and erase; what it is about comes on its
standard input. Read next: `logins`.
"""

from minibuild.errors import RegistryError
from minibuild.oci.document import parse_document
from minibuild.startup.tuples import NamedTuple

_TIMEOUT_S = 30
# What helpers print when they work well and know nothing of a registry.
_UNKNOWN = "credentials not found"


class HelperCredentials(NamedTuple):
    """What a helper has of a registry: a user's name and the password."""

    user: str
    password: str


def get(helper: str, key: str, path: str) -> HelperCredentials | None:
    """What a helper knows of the registry `key`. `path` is the file that names the helper."""
    answer = _run(helper, "get", key.encode(), path)
    if answer is None:
        return None
    what = f"the answer of the credential helper {_program(helper)}"
    document = parse_document(answer, what, error=RegistryError)
    return HelperCredentials(*(document[name].required().text() for name in ("Username", "Secret")))


def store(helper: str, key: str, secret: HelperCredentials, path: str) -> None:
    """Have a helper keep a login for the registry `key`."""
    import json

    words = {"ServerURL": key, "Username": secret.user, "Secret": secret.password}
    _run(helper, "store", json.dumps(words).encode(), path)


def erase(helper: str, key: str, path: str) -> None:
    """Have a helper drop the login for the registry `key`, if it has one."""
    _run(helper, "erase", key.encode(), path)


def _program(helper: str) -> str:
    return f"docker-credential-{helper}"


def _run(helper: str, action: str, data: bytes, path: str) -> bytes | None:
    """What a helper answers; None if it knows nothing of the registry."""
    from subprocess import TimeoutExpired, run

    program = _program(helper)
    try:
        done = run(
            [program, action], input=data, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except (FileNotFoundError, PermissionError):
        # The latter also if a folder of PATH is closed to this account.
        raise RegistryError(
            f"the credential helper {program} is not installed",
            hint=f"{path} names it: install it, or take it out there and log in again",
        ) from None
    except (OSError, TimeoutExpired) as error:
        raise RegistryError(f"the credential helper {program} failed: {error}") from None
    if not done.returncode:
        return done.stdout
    said = (done.stdout + done.stderr).decode(errors="replace").strip()
    if _UNKNOWN in said or (not said and action == "get"):
        return None
    first = said.splitlines()[0] if said else f"it ended with {done.returncode}"
    raise RegistryError(f"the credential helper {program} failed: {first}")
