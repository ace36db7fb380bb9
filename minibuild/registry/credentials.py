"""Logins for registries, as `docker login` and `podman login` leave them.

Comes in: the name of a registry and of a repository. Goes out: a name and a password, or an
identity token. Logins are in the file itself (`auths`: for a registry, and with podman for the
beginning of a path too, see containers-auth.json(5)), or with a helper program that the file names
(`credHelpers` for one registry, `credsStore` for all). Read next: `auth`, `logins`.
"""

import base64
from collections.abc import Mapping

from minibuild.errors import RegistryError
from minibuild.oci.document import MAX_DOCUMENT_BYTES, Member, parse_document
from minibuild.startup.tuples import NamedTuple

_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io")
_TOKEN_USER = "<token>"
_TIMEOUT_S = 30
_UNKNOWN = "credentials not found"
"""What helpers print when they work well and know nothing of a registry."""


class Login(NamedTuple):
    """Who to be at a registry: a user with a password, or the owner of `identity`."""

    user: str = ""
    password: str = ""
    identity: str = ""

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        return basic(f"{self.user}:{self.password}".encode())


def basic(pair: bytes) -> str:
    """The value of an Authorization header for `NAME:PASSWORD` (RFC 7617)."""
    return "Basic " + base64.b64encode(pair).decode()


class LoginsError(RegistryError):
    """A file of logins that cannot be understood."""

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="logins are kept there: mend it")


class Credentials:
    """The logins of some config files; each is read when first asked for. Those that are `given`,
    a name and a password by the name of the registry, count before them."""

    def __init__(
        self, paths: tuple[str, ...] = (), given: Mapping[str, tuple[str, str]] | None = None
    ) -> None:
        self._paths = paths
        self._given = given or {}
        self._configs: dict[str, Member] = {}

    def login(self, domain: str, repository: str = "") -> Login | None:
        """The login for a repository of a registry; the first file that has one counts."""
        if given := self._given.get(domain):
            user, secret = given  # A client of BuildKit says a token so: without a user.
            return Login(user, secret) if user else Login(identity=secret)
        for path in self._paths:
            if found := self._login(path, domain, repository):
                return found
        return None

    def _login(self, path: str, domain: str, repository: str) -> Login | None:
        config = self._read(path)
        keys = keys_of(domain)
        if helper := helper_of(config, domain, path):
            for key in keys:
                if found := helper.get(key):
                    return found
        auths = config["auths"]
        for key in (*_beginnings(domain, repository), *keys, *_with_paths(auths, domain)):
            if found := _from_entry(auths[key]):
                return found
        return None

    def _read(self, path: str) -> Member:
        if path not in self._configs:
            self._configs[path] = read_logins(path)
        return self._configs[path]


def read_logins(path: str) -> Member:
    """The file of logins at `path`; an empty document if there is none."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_DOCUMENT_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        data = b"{}"
    except OSError as error:
        raise RegistryError(f"cannot read {path}: {error.strerror}") from None
    return parse_document(data, path, error=LoginsError)


def helper_of(config: Member, domain: str, path: str) -> "CredentialHelper | None":
    """The helper that a file, which is at `path`, has for a registry."""
    named = config["credHelpers"]
    own = (named[key] for key in keys_of(domain) if key in named)
    name = next(own, config["credsStore"]).word()
    return CredentialHelper(name, path) if name else None


def keys_of(domain: str) -> tuple[str, ...]:
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


class CredentialHelper(NamedTuple):
    """A program that keeps logins, `docker-credential-NAME`; `path` is the file that names it.

    Rules: the protocol of docker-credential-helpers: it is run with one of the words get, store and
    erase, and what that is about comes on its standard input.
    """

    name: str
    path: str

    @property
    def program(self) -> str:
        """What is run."""
        return f"docker-credential-{self.name}"

    def get(self, key: str) -> Login | None:
        """What it has of the registry `key`."""
        answer = self._run("get", key.encode())
        if answer is None:
            return None
        what = f"the answer of the credential helper {self.program}"
        document = parse_document(answer, what, error=RegistryError)
        user, secret = (document[name].required().text() for name in ("Username", "Secret"))
        return Login(identity=secret) if user == _TOKEN_USER else Login(user, secret)

    def store(self, key: str, user: str, password: str) -> None:
        """Have it keep a login for the registry `key`."""
        import json

        words = {"ServerURL": key, "Username": user, "Secret": password}
        self._run("store", json.dumps(words).encode())

    def erase(self, key: str) -> None:
        """Have it drop the login for the registry `key`, if it has one."""
        self._run("erase", key.encode())

    def _run(self, action: str, data: bytes) -> bytes | None:
        """What it answers; None if it knows nothing of the registry."""
        from subprocess import TimeoutExpired, run

        words = [self.program, action]
        try:
            done = run(words, input=data, capture_output=True, timeout=_TIMEOUT_S, check=False)
        except (FileNotFoundError, PermissionError):
            # The latter also if a folder of PATH is closed to this account.
            raise RegistryError(
                f"the credential helper {self.program} is not installed",
                hint=f"{self.path} names it: install it, or take it out there and log in again",
            ) from None
        except (OSError, TimeoutExpired) as error:
            raise RegistryError(f"the credential helper {self.program} failed: {error}") from None
        if not done.returncode:
            return done.stdout
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        if _UNKNOWN in said or (not said and action == "get"):
            return None
        first = said.splitlines()[0] if said else f"it ended with {done.returncode}"
        raise RegistryError(f"the credential helper {self.program} failed: {first}")
