"""Logins for registries, as `docker login` leaves them in `~/.docker/config.json`.

Comes in: the name of a registry. Goes out: the value of an Authorization header. Logins are in
the file itself (`auths`), or with a helper program that the file names (`credHelpers`,
`credsStore`; protocol of docker-credential-helpers).
"""

import base64
import json
import os
from typing import Any

from minibuild.errors import RegistryError

_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", "docker.io")


class Credentials:
    """Logins of one config file, read when first asked for."""

    def __init__(self, path: str = "") -> None:
        self._path = path or os.path.expanduser("~/.docker/config.json")
        self._config: dict[str, Any] | None = None

    def basic(self, domain: str) -> str:
        """`Basic ...` for a registry, or nothing."""
        config = self._read()
        keys = _HUB_KEYS if domain == "docker.io" else (domain, f"https://{domain}")
        helpers = config.get("credHelpers") or {}
        helper = next((helpers[k] for k in keys if k in helpers), config.get("credsStore"))
        for key in keys:
            entry = (config.get("auths") or {}).get(key) or {}
            if auth := entry.get("auth"):
                return f"Basic {auth}"
            if helper and (found := _ask(str(helper), key)):
                return found
        return ""

    def _read(self) -> dict[str, Any]:
        if self._config is None:
            try:
                with open(self._path, encoding="utf-8") as file:
                    value = json.load(file)
            except FileNotFoundError:
                value = {}
            except (OSError, ValueError) as error:
                raise RegistryError(f"cannot read {self._path}: {error}") from error
            self._config = value if isinstance(value, dict) else {}
        return self._config


def _ask(helper: str, key: str) -> str:
    """What a credential helper knows of a registry; nothing if it knows nothing."""
    from subprocess import DEVNULL, PIPE, run

    try:
        done = run(
            [f"docker-credential-{helper}", "get"],
            input=key.encode(),
            stdout=PIPE,
            stderr=DEVNULL,
            check=False,
        )
    except FileNotFoundError as error:
        raise RegistryError(
            f"the credential helper docker-credential-{helper} is not installed",
            hint="~/.docker/config.json names it: install it, or log in without it",
        ) from error
    if done.returncode:
        return ""
    value = json.loads(done.stdout)
    pair = f"{value.get('Username', '')}:{value.get('Secret', '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()
