"""Settings, certificates and logins, without a server."""

import json
from base64 import b64encode
from pathlib import Path

import pytest

from minibuild.errors import BuildError, RegistryError, UsageError
from minibuild.graph.reference import parse_reference
from minibuild.registry.auth import Challenge, parse_challenges
from minibuild.registry.credentials import Credentials, Login
from minibuild.registry.hosts import Endpoint, Hosts, is_loopback
from minibuild.registry.transport import Transport
from minibuild.session.environment import Environment
from minibuild.session.registries import registry_access
from minibuild.session.request import RegistryAccess

SETTINGS = """
[registries."docker.io"]
mirrors = ["mirror.example", "http://cache:5000/hub"]
[registries."docker.io/library/debian"]
location = "inside.example/debian"
[registries."lab.example:5000"]
insecure = true
ca = "lab.pem"
"""


def places(settings: str, name: str, folder: Path) -> list[tuple[tuple[str, ...], str, str]]:
    path = folder / "config.toml"
    path.write_text(settings)
    hosts = Hosts(RegistryAccess(settings=str(path)))
    return [(e.schemes, e.host, e.repository) for e in hosts.for_pull(parse_reference(name))]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("busybox", [
            (("https",), "mirror.example", "library/busybox"),
            (("http",), "cache:5000", "hub/library/busybox"),
            (("https",), "registry-1.docker.io", "library/busybox"),
        ]),
        ("debian:12", [(("https",), "inside.example", "debian")]),
        ("debian-slim", [
            (("https",), "mirror.example", "library/debian-slim"),
            (("http",), "cache:5000", "hub/library/debian-slim"),
            (("https",), "registry-1.docker.io", "library/debian-slim"),
        ]),
        ("lab.example:5000/a", [(("https", "http"), "lab.example:5000", "a")]),
        ("lab.example/a", [(("https",), "lab.example", "a")]),
        ("localhost:5000/a", [(("http", "https"), "localhost:5000", "a")]),
        ("127.0.0.1:5000/a", [(("http", "https"), "127.0.0.1:5000", "a")]),
    ],
)  # fmt: skip
def test_where_an_image_is_looked_for(
    name: str, expected: list[tuple[tuple[str, ...], str, str]], tmp_path: Path
) -> None:
    assert places(SETTINGS, name, tmp_path) == expected


def test_an_authority_is_relative_to_the_settings(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(SETTINGS)
    found = Hosts(RegistryAccess(settings=str(path))).tls("lab.example:5000")
    assert found.authorities == (str(tmp_path / "lab.pem"),)
    assert not found.verify


def test_certificates_of_a_host(tmp_path: Path) -> None:
    folder = tmp_path / "one.example:5000"
    folder.mkdir()
    for name in ("a.crt", "b.crt", "me.cert", "me.key", "lonely.cert"):
        (folder / name).write_text("")
    hosts = Hosts(RegistryAccess(certificates=("/nowhere", str(tmp_path))))
    found = hosts.tls("one.example:5000")
    assert [Path(file).name for file in found.authorities] == ["a.crt", "b.crt"]
    assert (Path(found.certificate).name, Path(found.key).name) == ("me.cert", "me.key")
    assert hosts.tls("one.example").authorities == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("registries = 1", "registries is not a table"),
        ("[registries]\na = 1", 'registries."a" is not a table'),
        ("[registries.a]\nmirror = 1", "unknown key 'mirror'"),
        ("[registries.a]\ninsecure = 'yes'", "insecure is not a bool"),
        ("[registries.a]\nmirrors = ['ftp://x']", "'ftp://x' is no place"),
        ("[registries.a]\nlocation = 'x/'", "'x/' is no place"),
        ("[registries.a]\nlocation = 'http://127.0.0.1@x'", "is no place"),
        ("[", "is not TOML"),
    ],
)
def test_settings_that_make_no_sense(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        places(text, "busybox", tmp_path)


@pytest.mark.parametrize(
    ("domain", "local"),
    [("localhost", True), ("localhost:1", True), ("127.1.2.3", True), ("[::1]:5", True),
     ("LOCALHOST", True), ("127.0.0.1", True), ("localhost.example", False), ("128.0.0.1", False),
     ("[::2]", False), ("127.0.0.1.evil.example", False), ("127.0.0.1.evil.example:80", False),
     ("127.evil.example", False), ("127.0.0.1:80@evil.example", False), ("127.0.0.1@x", False),
     ("x\\@127.0.0.1", False), ("0.0.0.0", False), ("", False), ("[::1", False)],
)  # fmt: skip
def test_what_is_on_this_machine(domain: str, local: bool) -> None:
    assert is_loopback(domain) is local


# --- Logins ---------------------------------------------------------------------------------------


def credentials(folder: Path, *values: object) -> Credentials:
    paths = []
    for number, value in enumerate(values):
        path = folder / f"{number}.json"
        path.write_text(value if isinstance(value, str) else json.dumps(value))
        paths.append(str(path))
    return Credentials((str(folder / "missing.json"), *paths))


def entry(text: str) -> dict[str, str]:
    return {"auth": b64encode(text.encode()).decode()}


ADA, BOB = Login("ada", "a:b"), Login("bob", "c")


@pytest.mark.parametrize(
    ("value", "domain", "expected"),
    [
        ({"auths": {"one.example": entry("ada:a:b")}}, "one.example", ADA),
        ({"auths": {"https://one.example": entry("ada:a:b")}}, "one.example", ADA),
        ({"auths": {"https://one.example/v2/": entry("ada:a:b")}}, "one.example", ADA),
        ({"auths": {"one.example": entry("ada:a:b")}}, "two.example", None),
        ({"auths": {"https://index.docker.io/v1/": entry("bob:c")}}, "docker.io", BOB),
        ({"auths": {"docker.io": entry("bob:c")}}, "docker.io", BOB),
        ({"auths": {"one.example": {}}}, "one.example", None),
        ({"auths": {"one.example": {"username": "bob", "password": "c"}}}, "one.example", BOB),
        ({"auths": {"one.example": {"identitytoken": "t"}}}, "one.example", Login(identity="t")),
        ({"auths": None}, "one.example", None),
        ({"auths": {"one.example": None}}, "one.example", None),
    ],
)
def test_logins(value: object, domain: str, expected: Login | None, tmp_path: Path) -> None:
    assert credentials(tmp_path, value).login(domain) == expected


@pytest.mark.parametrize(
    ("repository", "expected"),
    [("team/app", ADA), ("team/app/part", ADA), ("team/other", BOB), ("team", BOB), ("x", None)],
)
def test_logins_for_a_part_of_a_registry(
    repository: str, expected: Login | None, tmp_path: Path
) -> None:
    """The longest beginning of the name counts, and only whole words of it."""
    auths = {"one.example/team": entry("bob:c"), "one.example/team/app": entry("ada:a:b")}
    known = credentials(tmp_path, {"auths": auths})
    assert known.login("one.example", repository) == expected
    assert known.login("one.example", "teams/app") is None


def test_the_first_file_that_knows_a_registry_counts(tmp_path: Path) -> None:
    known = credentials(
        tmp_path,
        {"auths": {"one.example": entry("ada:a:b")}},
        {"auths": {"one.example": entry("bob:c"), "two.example": entry("bob:c")}},
    )
    assert known.login("one.example") == ADA
    assert known.login("two.example") == BOB


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "is not JSON"),
        ([], r"0\.json is a list, not an object"),
        ("[" * 100_000, "nested too deep"),
        ({"auths": []}, r"0\.json: auths is a list, not an object"),
        ({"auths": {"one.example": "x"}}, r"auths\.one\.example is a string, not an object"),
        ({"auths": {"one.example": {"auth": 5}}}, r"example\.auth is a number, not a string"),
        ({"auths": {"one.example": {"auth": "é"}}}, "not base64 of NAME:PASSWORD"),
        ({"auths": {"one.example": {"username": ["x"]}}}, r"username is a list"),
        ({"credsStore": 5}, "credsStore is a number, not a string"),
        ({"credHelpers": ["x"]}, "credHelpers is a list, not an object"),
        ({"auths": {"one.example": {"auth": "!!"}}}, "not base64 of NAME:PASSWORD"),
        ({"credsStore": "no-such-helper"}, "docker-credential-no-such-helper is not installed"),
    ],
)
def test_logins_that_make_no_sense(value: object, message: str, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=message):
        credentials(tmp_path, value).login("one.example")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="a, b"', [Challenge("basic", "a, b")]),
        (
            'Bearer realm="https://x/t?a=b",service="s",scope="repository:a:pull,push"',
            [Challenge("bearer", "https://x/t?a=b", "s", "repository:a:pull,push")],
        ),
        ('bearer realm=https://x, error="y"', [Challenge("bearer", "https://x")]),
        (
            'Basic realm="x", Bearer realm="y"',
            [Challenge("basic", "x"), Challenge("bearer", "y")],
        ),
        ('Negotiate, Basic realm="q\\"uoted"', [Challenge("basic", 'q"uoted')]),
        ("Digest x", []),
        ("", []),
    ],
)
def test_challenges(header: str, expected: list[Challenge]) -> None:
    assert parse_challenges(header) == expected


# --- The environment ------------------------------------------------------------------------------


def test_what_the_environment_says(tmp_path: Path) -> None:
    (tmp_path / ".config/minibuild").mkdir(parents=True)
    (tmp_path / ".config/minibuild/config.toml").write_text("")
    home = {"HOME": str(tmp_path)}
    found = registry_access(Environment(home, 1000))
    assert found.settings == f"{tmp_path}/.config/minibuild/config.toml"
    assert found.logins == (
        f"{tmp_path}/.docker/config.json",
        f"{tmp_path}/.config/containers/auth.json",
    )
    assert f"{tmp_path}/.docker/certs.d" in found.certificates
    more = {
        "MINIBUILD_CONFIG": "/m.toml", "DOCKER_CONFIG": "/d", "REGISTRY_AUTH_FILE": "/r.json",
        "XDG_RUNTIME_DIR": "/run/u", "https_proxy": "http://p:1", "NO_PROXY": "x",
    }  # fmt: skip
    found = registry_access(Environment({**home, **more}, 1000))
    assert found.settings == "/m.toml"
    assert found.logins[:3] == ("/d/config.json", "/r.json", "/run/u/containers/auth.json")
    assert found.proxies == {"https": "http://p:1", "no": "x"}


def test_proxies() -> None:
    transport = Transport(proxies={"http": "http://p:1", "no": "inside.example"})
    assert transport.proxy("http://one.example/v2/") == "http://p:1"
    assert transport.proxy("https://one.example/v2/") == ""
    assert transport.proxy("http://a.inside.example:5000/v2/") == ""


def test_a_token_service_that_anybody_can_listen_to(tmp_path: Path) -> None:
    """A password is not sent in the clear because a registry says so."""
    from minibuild.registry.auth import Authoriser

    known = credentials(tmp_path, {"auths": {"one.example": entry("ada:b")}})
    authoriser = Authoriser(Transport(), known, Hosts(RegistryAccess()))
    header = 'Bearer realm="http://tokens.example/t"'
    with pytest.raises(BuildError, match="where anybody could read them"):
        endpoint = Endpoint("one.example", "a", "one.example")
        authoriser.answer(endpoint, header, ("repository:a:pull",), "")
