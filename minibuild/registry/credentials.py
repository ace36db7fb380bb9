"""Logins for registries, as `docker login` and `podman login` leave them.

Comes in: the name of a registry and of a repository. Goes out: a name and a password, or an
identity token. Logins are in the file itself (`auths`: for a registry, and with podman for the
beginning of a path too, see containers-auth.json(5)), or with a helper program that the file names
(`credHelpers` for one registry, `credsStore` for all; protocol of docker-credential-helpers).
Read next: `auth`.
"""

import base64

from minibuild.errors import RegistryError
from minibuild.oci.document import MAX_DOCUMENT_BYTES, Member, parse_document
from minibuild.startup.tuples import NamedTuple

_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io")
_HELPER_S = 30
# What helpers print when they work well and know nothing of a registry.
_UNKNOWN = "credentials not found"
_TOKEN_USER = "<token>"


class Login(NamedTuple):
    """Who to be at a registry: a user with a password, or the owner of `identity`."""

    user: str = ""
    password: str = ""
    identity: str = ""

    @property
    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        pair = f"{self.user}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode()


class LoginsError(RegistryError):
    """A file of logins that cannot be understood."""

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="logins are kept there: mend it")


class Credentials:
    """The logins of some config files; each is read when first asked for."""

    def __init__(self, paths: tuple[str, ...] = ()) -> None:
        self._paths = paths
        self._configs: dict[str, Member] = {}

    def login(self, domain: str, repository: str = "") -> Login | None:
        """The login for a repository of a registry; the first file that has one counts."""
        for path in self._paths:
            if found := self._login(path, domain, repository):
                return found
        return None

    def _login(self, path: str, domain: str, repository: str) -> Login | None:
        config = self._read(path)
        keys = _keys(domain)
        helpers = config["credHelpers"]
        named = next((helpers[key] for key in keys if key in helpers), config["credsStore"])
        if helper := named.word():
            for key in keys:
                if found := _ask(helper, key, path):
                    return found
        auths = config["auths"]
        for key in (*_beginnings(domain, repository), *keys, *_with_paths(auths, domain)):
            if found := _from_entry(auths[key]):
                return found
        return None

    def _read(self, path: str) -> Member:
        if path not in self._configs:
            try:
                with open(path, "rb") as file:
                    data = file.read(MAX_DOCUMENT_BYTES + 1)
            except (FileNotFoundError, NotADirectoryError):
                data = b"{}"
            except OSError as error:
                raise RegistryError(f"cannot read {path}: {error.strerror}") from None
            self._configs[path] = parse_document(data, path, error=LoginsError)
        return self._configs[path]


def _keys(domain: str) -> tuple[str, ...]:
    """The names under which a registry may stand in a file."""
    if domain == "docker.io":
        return _HUB_KEYS
    return (domain, f"https://{domain}", f"https://{domain}/", f"http://{domain}")


def _beginnings(domain: str, repository: str) -> list[str]:
    """The registry with the path of a repository, then with ever less of it, but with some."""
    parts = repository.split("/") if repository else []
    return ["/".join([domain, *parts[:count]]) for count in range(len(parts), 0, -1)]


def _with_paths(auths: Member, domain: str) -> list[str]:
    """Keys that are URLs of the registry's API, as old docker clients wrote them."""
    heads = (f"https://{domain}/", f"http://{domain}/")
    return [key for key in auths.object() if key.startswith(heads)]


def _from_entry(entry: Member) -> Login | None:
    """The login that an entry of `auths` holds; `docker login` leaves empty ones, too."""
    if identity := entry["identitytoken"].text():
        return Login(identity=identity)
    if auth := entry["auth"].text():
        try:
            user, colon, password = base64.b64decode(auth).decode().partition(":")
        except ValueError:
            colon = ""
        if not colon:
            raise entry["auth"].wrong("is not base64 of NAME:PASSWORD")
        return Login(user, password.rstrip("\0"))
    if user := entry["username"].text():
        return Login(user, entry["password"].text())
    return None


def _ask(helper: str, key: str, path: str) -> Login | None:
    """What a credential helper knows of a registry."""
    from subprocess import TimeoutExpired, run

    program = f"docker-credential-{helper}"
    try:
        done = run(
            [program, "get"],
            input=key.encode(),
            capture_output=True,
            timeout=_HELPER_S,
            check=False,
        )
    except (FileNotFoundError, PermissionError):
        # The latter also if a folder of PATH is closed to this account.
        raise RegistryError(
            f"the credential helper {program} is not installed",
            hint=f"{path} names it: install it, or take it out there and log in again",
        ) from None
    except (OSError, TimeoutExpired) as error:
        raise RegistryError(f"the credential helper {program} failed: {error}") from None
    if done.returncode:
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        if _UNKNOWN in said or not said:
            return None
        raise RegistryError(f"the credential helper {program} failed: {said.splitlines()[0]}")
    answer = parse_document(
        done.stdout, f"the answer of the credential helper {program}", error=RegistryError
    )
    user, secret = (answer[key].required().text() for key in ("Username", "Secret"))
    return Login(identity=secret) if user == _TOKEN_USER else Login(user, secret)
