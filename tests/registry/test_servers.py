"""Pulling and pushing with Debian's docker-registry: passwords, tokens, TLS, mirrors, mounts."""

import json
import os
from base64 import b64encode
from pathlib import Path

import pytest

from minibuild.digest import Digest
from minibuild.errors import RegistryError
from minibuild.graph.reference import Reference, parse_reference
from minibuild.oci.content import ContentStore
from minibuild.oci.model import (
    OCI_CONFIG,
    OCI_LAYER,
    Descriptor,
    Manifest,
    describe,
    manifest_bytes,
)
from minibuild.registry.fetch import fetch_image
from minibuild.registry.patience import Patience
from minibuild.registry.pull import Registry
from minibuild.registry.push import Repository, push_image
from minibuild.session.request import RegistryAccess
from minibuild.store.layout import Store
from tests.registry.conftest import Authority
from tests.support.registry import PASSWORD, USER, TokenService, free_port, skopeo
from tests.support.registry import Registry as Server

pytestmark = [pytest.mark.integration, pytest.mark.needs("docker-registry", "openssl")]

QUICK = Patience(2, 0.01, 1.0, 5.0, 20.0)


@pytest.fixture
def content(store: Store) -> ContentStore:
    return ContentStore(store)


def make_image(content: ContentStore, *sizes: int) -> Descriptor:
    """An image of random layers in the store."""
    layers = []
    for size in sizes:
        digest = content.put(os.urandom(size))
        layers.append(Descriptor(OCI_LAYER, digest, size))
    config = json.dumps(
        {
            "os": "linux",
            "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        }
    ).encode()
    content.put(config)
    data = manifest_bytes(Manifest(describe(OCI_CONFIG, config), tuple(layers)))
    content.put(data)
    return describe("application/vnd.oci.image.manifest.v1+json", data)


def connect(**access: object) -> Registry:
    return Registry(RegistryAccess(**access), QUICK)  # type: ignore[arg-type]


def there_and_back(
    registry: Registry, name: Reference, content: ContentStore, tmp_path: Path
) -> None:
    """Push an image, and pull it into an empty store."""
    top = make_image(content, 3_000_000, 1000, 1000)
    push_image(registry, content, top, [name])
    found, blobs = registry.find(name)
    assert found.digest == top.digest
    other = ContentStore(Store(str(tmp_path / "other")))
    fetch_image(other, blobs, found)
    assert sorted(os.listdir(other.store.path("blobs/sha256"))) == sorted(
        os.listdir(content.store.path("blobs/sha256"))
    )


def logins(folder: Path, value: object) -> tuple[str, ...]:
    path = folder / "config.json"
    path.write_text(json.dumps(value))
    return (str(path),)


def basic(user: str = USER, password: str = PASSWORD) -> dict[str, str]:
    return {"auth": b64encode(f"{user}:{password}".encode()).decode()}


def test_plain_http_on_loopback(plain: Server, content: ContentStore, tmp_path: Path) -> None:
    there_and_back(connect(), parse_reference(f"{plain.address}/back/forth:1"), content, tmp_path)


# --- TLS and passwords ----------------------------------------------------------------------------


def test_password_and_own_authority(
    guarded: Server, authority: Authority, content: ContentStore, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(f'[registries."{guarded.address}"]\nca = "{authority.ca}"\n')
    registry = connect(
        settings=str(settings),
        logins=logins(tmp_path, {"auths": {guarded.address: basic()}}),
    )
    there_and_back(registry, parse_reference(f"{guarded.address}/a:1"), content, tmp_path)


def test_certificates_as_docker_keeps_them(
    guarded: Server, authority: Authority, content: ContentStore, tmp_path: Path
) -> None:
    folder = tmp_path / "certs.d" / guarded.address
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes(Path(authority.ca).read_bytes())
    registry = connect(
        certificates=(str(tmp_path / "certs.d"),),
        logins=logins(tmp_path, {"auths": {guarded.address: basic()}}),
    )
    there_and_back(registry, parse_reference(f"{guarded.address}/b:1"), content, tmp_path)


def test_an_insecure_registry_may_have_any_certificate(
    guarded: Server, content: ContentStore, tmp_path: Path
) -> None:
    registry = connect(
        insecure=(guarded.address,), logins=logins(tmp_path, {"auths": {guarded.address: basic()}})
    )
    there_and_back(registry, parse_reference(f"{guarded.address}/c:1"), content, tmp_path)


def test_a_certificate_that_nobody_vouches_for(guarded: Server) -> None:
    with pytest.raises(RegistryError, match=r"cannot be trusted: .*certificate") as caught:
        connect().find(parse_reference(f"{guarded.address}/a"))
    assert f"certs.d/{guarded.address}/ca.crt" in caught.value.hint


def test_without_a_login(guarded: Server) -> None:
    with pytest.raises(RegistryError, match=r"denies access to a:latest \(401") as caught:
        connect(insecure=(guarded.address,)).find(parse_reference(f"{guarded.address}/a"))
    assert "minibuild login" in caught.value.hint


def test_a_wrong_password(guarded: Server, tmp_path: Path) -> None:
    files = logins(tmp_path, {"auths": {guarded.address: basic(password="wrong")}})
    registry = connect(insecure=(guarded.address,), logins=files)
    with pytest.raises(RegistryError, match=r"denies access to a:latest \(401") as caught:
        registry.find(parse_reference(f"{guarded.address}/a"))
    assert "does not take the login" in caught.value.hint


@pytest.mark.parametrize("key", ["credsStore", "credHelpers"])
def test_a_credential_helper(
    guarded: Server,
    content: ContentStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    key: str,
) -> None:
    helper = tmp_path / "docker-credential-tests"
    answer = json.dumps({"ServerURL": "x", "Username": USER, "Secret": PASSWORD})
    helper.write_text(
        f"#!/bin/sh\nread -r host\n[ \"$1 $host\" = 'get {guarded.address}' ] || "
        f"{{ echo credentials not found in native keychain; exit 1; }}\necho '{answer}'\n"
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    value = "tests" if key == "credsStore" else {guarded.address: "tests"}
    registry = connect(insecure=(guarded.address,), logins=logins(tmp_path, {key: value}))
    name = parse_reference(f"{guarded.address}/helped-{key.lower()}:1")
    there_and_back(registry, name, content, tmp_path)


# --- Tokens ---------------------------------------------------------------------------------------


def test_tokens(
    token_registry: Server, tokens: TokenService, content: ContentStore, tmp_path: Path
) -> None:
    registry = connect(logins=logins(tmp_path, {"auths": {token_registry.address: basic()}}))
    tokens.asked.clear()
    name = parse_reference(f"{token_registry.address}/team/app:1")
    there_and_back(registry, name, content, tmp_path)
    # One for the push, one for the pull; not one for each of the requests.
    assert tokens.asked == [["repository:team/app:pull,push"], ["repository:team/app:pull"]]


def test_a_token_that_expires_on_the_way(
    token_registry: Server, tokens: TokenService, content: ContentStore, tmp_path: Path
) -> None:
    registry = connect(logins=logins(tmp_path, {"auths": {token_registry.address: basic()}}))
    name = parse_reference(f"{token_registry.address}/team/old:1")
    # The registry allows a minute for clocks that differ.
    tokens.life_s = -61
    try:
        with pytest.raises(RegistryError, match="401"):
            registry.find(name)
    finally:
        tokens.life_s = 300
    there_and_back(registry, name, content, tmp_path)


def test_an_identity_token(
    token_registry: Server, tokens: TokenService, content: ContentStore, tmp_path: Path
) -> None:
    entry = {"auth": "", "identitytoken": tokens.refresh}
    registry = connect(logins=logins(tmp_path, {"auths": {token_registry.address: entry}}))
    name = parse_reference(f"{token_registry.address}/team/identity:1")
    there_and_back(registry, name, content, tmp_path)


def test_a_token_for_nobody(token_registry: Server, content: ContentStore, tmp_path: Path) -> None:
    known = connect(logins=logins(tmp_path, {"auths": {token_registry.address: basic()}}))
    top = make_image(content, 1000)
    name = parse_reference(f"{token_registry.address}/public/app:1")
    push_image(known, content, top, [name])
    assert connect().find(name)[0].digest == top.digest
    with pytest.raises(RegistryError, match="denies access to public/app"):
        push_image(connect(), content, make_image(content, 1000), [name])


# --- What is sent ---------------------------------------------------------------------------------


def sent(server: Server, before: int) -> list[str]:
    """The methods and paths of requests since then, without those that only ask."""
    lines = server.requests()[before:]
    return [line for line in lines if line.split()[0] in ("PUT", "PATCH", "POST")]


def test_what_is_there_is_not_sent_again(plain: Server, content: ContentStore) -> None:
    top = make_image(content, 2_000_000, 1000)
    name = parse_reference(f"{plain.address}/twice:1")
    push_image(connect(), content, top, [name])
    before = len(plain.requests())
    push_image(connect(), content, top, [name._replace(tag="2")])
    assert sent(plain, before) == ["PUT /v2/twice/manifests/2 201"]


def test_layers_are_mounted_from_the_repository_before(
    plain: Server, content: ContentStore
) -> None:
    top = make_image(content, 2_000_000)
    names = [
        parse_reference(f"{plain.address}/{path}") for path in ("m/one:1", "m/two:1", "m/one:2")
    ]
    before = len(plain.requests())
    push_image(connect(), content, top, names)
    lines = sent(plain, before)
    assert lines.count("POST /v2/m/two/blobs/uploads/ 201") == 2  # layer and config: mounted
    assert not [line for line in lines if line.startswith("PATCH /v2/m/two")]
    assert {"PUT /v2/m/one/manifests/1 201", "PUT /v2/m/one/manifests/2 201"} <= set(lines)


def test_from_registry_to_registry(
    plain: Server, token_registry: Server, content: ContentStore, tmp_path: Path
) -> None:
    registry = connect(logins=logins(tmp_path, {"auths": {token_registry.address: basic()}}))
    top = make_image(content, 3_000_000, 1000)
    source = parse_reference(f"{plain.address}/copied:1")
    push_image(registry, content, top, [source])
    found, blobs = registry.find(source)
    target = parse_reference(f"{token_registry.address}/team/copy:1")
    push_image(registry, blobs, found, [target])
    assert registry.find(target)[0].digest == top.digest


def test_a_manifest_without_its_layers_is_refused(plain: Server) -> None:
    repository = Repository(connect(), parse_reference(f"{plain.address}/half:1"))
    config = repository.push_bytes(b"{}", OCI_CONFIG)
    missing = Descriptor(OCI_LAYER, Digest("sha256:" + "1" * 64), 10)
    data = manifest_bytes(Manifest(config, (missing,)))
    with pytest.raises(RegistryError, match=r"\(404: blob unknown|\(400: blob unknown"):
        repository.push_manifest(data, tag="1")


# --- Settings -------------------------------------------------------------------------------------


def test_mirrors_come_first_and_may_fail(
    plain: Server, content: ContentStore, tmp_path: Path
) -> None:
    top = make_image(content, 1000)
    push_image(connect(), content, top, [parse_reference(f"{plain.address}/mirror/team/app:1")])
    settings = tmp_path / "settings.toml"
    settings.write_text(
        f'[registries."registry.invalid"]\n'
        f'mirrors = ["127.0.0.1:{free_port()}", "http://{plain.address}/mirror"]\n'
    )
    registry = connect(settings=str(settings))
    found, blobs = registry.find(parse_reference("registry.invalid/team/app:1"))
    assert found.digest == top.digest
    fetch_image(ContentStore(Store(str(tmp_path / "other"))), blobs, found)
    with pytest.raises(RegistryError, match=r"there is no host registry\.invalid") as caught:
        registry.find(parse_reference("registry.invalid/team/nothing:1"))
    assert "mirror: " in caught.value.detail


def test_images_that_are_elsewhere(plain: Server, content: ContentStore, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(
        f'[registries."registry.invalid/old"]\nlocation = "{plain.address}/moved/here"\n'
    )
    registry = connect(settings=str(settings))
    top = make_image(content, 1000)
    push_image(registry, content, top, [parse_reference("registry.invalid/old/app:1")])
    assert (
        connect().find(parse_reference(f"{plain.address}/moved/here/app:1"))[0]
        == registry.find(parse_reference("registry.invalid/old/app:1"))[0]
    )


@pytest.mark.needs("skopeo")
def test_skopeo_sees_what_was_pushed(plain: Server, content: ContentStore, tmp_path: Path) -> None:
    top = make_image(content, 1000)
    push_image(connect(), content, top, [parse_reference(f"{plain.address}/seen:1")])
    name = f"docker://{plain.address}/seen:1"
    said = skopeo("inspect", "--tls-verify=false", name, home=str(tmp_path))
    assert json.loads(said)["Digest"] == top.digest
