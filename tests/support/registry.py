"""Registries on loopback, started for a test and stopped after it: Debian's docker-registry.

Comes in: what it is to demand (a password, a token, TLS). Goes out: its address, and the requests
that it was asked. Certificates and the signatures of tokens are made with openssl(1). Rules: the
distribution project's "Configuring a registry".
"""

import base64
import http.server
import json
import os
import random
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.waiting import PATIENCE_S

USER, PASSWORD = "ada", "correct horse"
# bcrypt, the only kind that the registry takes; cost 4 to be quick.
HTPASSWD = "ada:$2b$04$3QA3MC/AoCL7v.7UlLD5qOKiq4jXtlminQZrNVhtAHubzEXBiNyqK\n"


def free_port() -> int:
    """A port of loopback that is free. It is below those that the kernel gives out by itself, so no
    connection of another test takes it before the server does."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Registry:
    """A running docker-registry. `log` is where it writes what it is asked."""

    def __init__(self, folder: str, **parts: Any) -> None:
        self.folder = folder
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.log = os.path.join(folder, "log")
        config = {
            "version": "0.1",
            "log": {"level": "error"},
            "storage": {
                "filesystem": {"rootdirectory": os.path.join(folder, "data")},
                "delete": {"enabled": True},
            },
            **parts,
            "http": {"addr": self.address, **parts.get("http", {})},
        }
        path = os.path.join(folder, "config.yml")
        with open(path, "w") as file:
            json.dump(config, file)  # JSON is YAML
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["docker-registry", "serve", path], stdout=log, stderr=log
            )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert self.process.poll() is None, self.text()
                assert time.monotonic() < deadline, self.text()
                time.sleep(0.01)

    def text(self) -> str:
        """All that it has written."""
        with open(self.log, errors="replace") as file:
            return file.read()

    def requests(self) -> list[str]:
        """What it was asked so far, as `GET /v2/app/manifests/1 200`."""
        return [
            f"{method} {path.partition('?')[0]} {status}"
            for method, path, status in re.findall(
                r'"([A-Z]+) (/v2/\S*) HTTP/1\.\d" (\d+)', self.text()
            )
        ]

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(PATIENCE_S)


@contextmanager
def registry(folder: str, **parts: Any) -> Iterator[Registry]:
    """A registry with more in its configuration than the bare minimum."""
    os.makedirs(folder, exist_ok=True)
    running = Registry(folder, **parts)
    try:
        yield running
    finally:
        running.stop()


def with_password(folder: str) -> dict[str, Any]:
    """Configuration of a registry that only `USER` may use."""
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "htpasswd")
    with open(path, "w") as file:
        file.write(HTPASSWD)
    return {"auth": {"htpasswd": {"realm": "tests", "path": path}}}


def make_authority(folder: str) -> tuple[str, str]:
    """A certificate for 127.0.0.1 by an authority of its own: paths of ca.crt and server.crt.

    The keys lie beside them, as ca.key and server.key.
    """
    os.makedirs(folder, exist_ok=True)
    path = {name: os.path.join(folder, name) for name in os.listdir(folder)}
    for name in ("ca.key", "ca.crt", "server.key", "server.csr", "server.crt", "ext"):
        path[name] = os.path.join(folder, name)
    with open(path["ext"], "w") as file:
        file.write("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    _openssl(
        "req", "-x509", *curve, "-keyout", path["ca.key"], "-out", path["ca.crt"],
        "-subj", "/CN=tests", "-days", "2",
    )  # fmt: skip
    _openssl(
        "req", *curve, "-keyout", path["server.key"], "-out", path["server.csr"],
        "-subj", "/CN=127.0.0.1",
    )  # fmt: skip
    _openssl(
        "x509", "-req", "-in", path["server.csr"], "-CA", path["ca.crt"], "-CAkey", path["ca.key"],
        "-set_serial", "1", "-days", "2", "-extfile", path["ext"], "-out", path["server.crt"],
    )  # fmt: skip
    return path["ca.crt"], path["server.crt"]


def with_tls(certificate: str) -> dict[str, Any]:
    """Configuration of a registry that speaks TLS."""
    key = certificate.removesuffix(".crt") + ".key"
    return {"http": {"tls": {"certificate": certificate, "key": key}}}


def skopeo(*arguments: str, home: str) -> str:
    """What skopeo(1) prints. It looks for logins below `home` alone: the folder of /run that it
    would try else may be closed to this account."""
    own = {"HOME": home, "XDG_RUNTIME_DIR": home}
    done = subprocess.run(
        ["skopeo", *arguments], capture_output=True, text=True, env={**os.environ, **own}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _openssl(*arguments: str, data: bytes = b"") -> bytes:
    done = subprocess.run(["openssl", *arguments], input=data, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


# --- Tokens ---------------------------------------------------------------------------------------


class TokenService(http.server.ThreadingHTTPServer):
    """Gives out tokens as the distribution project's "token authentication" has it: to `USER` for
    what they ask, to anybody else for reading `public/...`. `asked` are the scopes of each request.
    """

    daemon_threads = True

    def __init__(self, folder: str) -> None:
        super().__init__(("127.0.0.1", 0), _TokenHandler)
        os.makedirs(folder, exist_ok=True)
        self.key = os.path.join(folder, "token.key")
        self.certificate = os.path.join(folder, "token.crt")
        self.asked: list[list[str]] = []
        self.life_s = 300
        self.refresh = "a refresh token"
        _openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", self.key,
            "-out", self.certificate, "-subj", "/CN=tokens", "-days", "2",
        )  # fmt: skip
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def parts(self) -> dict[str, Any]:
        """Configuration of a registry that wants these tokens."""
        realm = f"http://127.0.0.1:{self.server_port}/token"
        return {
            "auth": {
                "token": {
                    "realm": realm,
                    "service": "tests",
                    "issuer": "tests",
                    "rootcertbundle": self.certificate,
                }
            }
        }

    def token(self, scopes: list[str], user: str) -> str:
        """A token for what `user` may do of `scopes`."""
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            allowed = actions.split(",") if user else ["pull"] if name.startswith("public") else []
            access.append({"type": kind, "name": name, "actions": allowed})
        now = int(time.time())
        with open(self.certificate) as file:
            chain = "".join(file.read().split("-----")[2].split())
        header = {"typ": "JWT", "alg": "RS256", "x5c": [chain]}
        claims = {
            "iss": "tests", "sub": user, "aud": "tests", "jti": os.urandom(4).hex(),
            "iat": now, "nbf": now - 90, "exp": now + self.life_s, "access": access,
        }  # fmt: skip
        body = b".".join(_b64(json.dumps(part).encode()) for part in (header, claims))
        signature = _openssl("dgst", "-sha256", "-sign", self.key, data=body)
        return (body + b"." + _b64(signature)).decode()


class _TokenHandler(http.server.BaseHTTPRequestHandler):
    server: TokenService

    def do_GET(self) -> None:
        given = self.headers.get("Authorization", "")
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if given and given != wanted:
            self._answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong password"}]})
            return
        query = parse_qs(urlsplit(self.path).query)
        assert query["service"] == ["tests"]
        self._give(query.get("scope", []), USER if given else "")

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"])).decode()
        query = parse_qs(data)
        assert query["grant_type"] == ["refresh_token"]
        known = query["refresh_token"] == [self.server.refresh]
        if not known:
            self._answer(401, {})
            return
        self._give(query["scope"][0].split(), USER)

    def _give(self, scopes: list[str], user: str) -> None:
        self.server.asked.append(scopes)
        self._answer(200, {"token": self.server.token(scopes, user)})

    def _answer(self, status: int, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _b64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
