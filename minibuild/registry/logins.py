"""Logins that are kept for later: `minibuild login` and `logout`.

Comes in: a file of logins, an account, a password. Goes out: the file with it, or without; or a
call of the credential helper that the file names. Everything else in the file stays as it is, since
it is Docker's, too. Read next: `credentials`, which reads what is kept here.
"""

import base64
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from minibuild.errors import RegistryError, UsageError
from minibuild.graph.address import parse_address
from minibuild.graph.reference import DEFAULT_DOMAIN
from minibuild.linux.descriptors import closing_fd
from minibuild.registry.credentials import helper_of, keys_of, read_logins
from minibuild.startup.tuples import NamedTuple


class LoginScope(NamedTuple):
    """Where a login is for: a registry, or what is below a path of it."""

    domain: str
    path: str = ""

    @property
    def key(self) -> str:
        """Its name in a file."""
        return f"{self.domain}/{self.path}" if self.path else keys_of(self.domain)[0]

    def __str__(self) -> str:
        return f"{self.domain}/{self.path}" if self.path else self.domain


def parse_account(text: str) -> LoginScope:
    """The account at `[https://]HOST[:PORT][/PATH]`, at Docker Hub if that is empty. The path of
    the API (`/v1/`, `/v2/`) is no part of it."""
    bare = text.removeprefix("https://").removeprefix("http://").strip("/")
    domain, _, path = bare.partition("/")
    if path in ("v1", "v2"):
        path = ""
    if domain in ("", "index.docker.io", "registry-1.docker.io"):
        domain = DEFAULT_DOMAIN
    try:
        place = parse_address(f"//{domain}").place
    except ValueError:
        place = ""
    if place != domain.lower():
        raise UsageError(f"{text!r} is no registry", hint="write HOST[:PORT][/PATH]")
    return LoginScope(place, path)


def keep(file: str, account: LoginScope, user: str, password: str) -> str:
    """Keep a login; returns the name of the helper that has it, "" if the file itself does."""
    config = read_logins(file)
    if helper := helper_of(config, account.domain, file):
        if account.path:
            raise UsageError(
                f"{file} names a credential helper, which has one login for a whole registry",
                hint=f"log in to {account.domain}",
            )
        helper.store(account.key, user, password)
        return helper.name
    with _changed(file) as auths:
        auths[account.key] = {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}
    return ""


def drop(file: str, account: LoginScope) -> bool:
    """Forget a login; returns whether there was one."""
    config = read_logins(file)
    keys = {account.key} if account.path else {*keys_of(account.domain)}
    found = False
    if not account.path and (helper := helper_of(config, account.domain, file)):
        known = [key for key in keys if helper.get(key)]
        for key in known:
            helper.erase(key)
        found = bool(known)
    if any(key in config["auths"].object() for key in keys):
        found = True
        with _changed(file) as auths:
            for key in keys:
                auths.pop(key, None)
    return found


@contextmanager
def _changed(file: str) -> Iterator[dict[str, Any]]:
    """The logins in a file, to be changed: a reader sees all of it or nothing, and only its owner
    sees the passwords. Raises `RegistryError`."""
    file = os.path.realpath(file)  # it may be a link into a place for secrets
    folder, temporary = os.path.dirname(file), f"{file}.{os.getpid()}.tmp"
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        with closing_fd(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as alone:
            # Two logins at once would lose one: each writes what it read, and its own.
            fcntl.flock(alone, fcntl.LOCK_EX)
            logins = read_logins(file)
            auths = logins["auths"].object()
            yield auths
            value = {**logins.object(), "auths": auths}
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(fd, "w", encoding="utf-8") as out:
                out.write(json.dumps(value, indent="\t") + "\n")
                if os.geteuid() == 0:  # by sudo: it may be another account's
                    owner = os.stat(file if os.path.exists(file) else folder)
                    os.fchown(fd, owner.st_uid, owner.st_gid)
            os.replace(temporary, file)
    except OSError as error:
        raise RegistryError(
            f"cannot write {file}: {error.strerror}",
            hint="name another file with --authfile FILE, or DOCKER_CONFIG=FOLDER",
        ) from None
    finally:
        if os.path.lexists(temporary):
            os.unlink(temporary)
