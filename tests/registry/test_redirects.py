"""Registries that keep their blobs elsewhere, as the big ones do: at a host that gets no login."""

import json
import os
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from minibuild.digest import Digest
from minibuild.graph.reference import parse_reference
from minibuild.oci.content import ContentStore
from minibuild.oci.model import Descriptor
from minibuild.registry.fetch import fetch_blob
from minibuild.registry.patience import Patience
from minibuild.registry.pull import Registry
from minibuild.registry.push import Repository
from minibuild.session.request import RegistryAccess
from minibuild.store.layout import Store
from tests.support.faulty import LAYER, Fault, Faulty, digest

BLOB = os.urandom(300_000)
CHALLENGE = (("WWW-Authenticate", 'Basic realm="tests"'),)


@pytest.fixture
def server() -> Iterator[Faulty]:
    with Faulty() as running:
        yield running


@pytest.fixture
def elsewhere() -> Iterator[Faulty]:
    with Faulty() as running:
        yield running


@pytest.fixture
def registry(server: Faulty, elsewhere: Faulty, tmp_path: Path) -> Registry:
    """A client with a login for both hosts."""
    auth = {"auth": b64encode(b"ada:b").decode()}
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auths": {server.address: auth, elsewhere.address: auth}}))
    patience = Patience(3, 0.0, 1.0, 30.0, 30.0, lambda seconds: None)
    return Registry(RegistryAccess(logins=(str(path),)), patience)


def test_a_blob_elsewhere(
    server: Faulty, elsewhere: Faulty, registry: Registry, store: Store
) -> None:
    """Each part is asked for at the registry, with a login, and had elsewhere without one."""
    descriptor = Descriptor(LAYER, Digest(elsewhere.put(BLOB)), len(BLOB))
    where = f"/v2/app/blobs/{descriptor.digest}"
    there = (("Location", f"http://{elsewhere.address}{where}"),)
    server.faults += [Fault(where, 401, CHALLENGE), Fault(where, 307, there)]
    server.faults += [Fault(where, 307, there)]
    elsewhere.faults += [Fault(where, "cut", at=100_000)]
    content = ContentStore(store)
    blobs = registry.blobs(parse_reference(f"{server.address}/app:1"))
    fetch_blob(content, blobs, descriptor)
    assert content.has(descriptor.digest, len(BLOB))
    assert elsewhere.asked == [f"GET {where}", f"GET {where} bytes=100000-"]
    assert elsewhere.logins == ["", ""]
    logins = [
        login for line, login in zip(server.asked, server.logins, strict=True) if where in line
    ]
    assert [login[:6] for login in logins] == ["", "Basic ", "Basic "]


def test_an_upload_elsewhere(
    server: Faulty, elsewhere: Faulty, registry: Registry, store: Store
) -> None:
    """The place for an upload may be at another host: what it needs is in its address."""
    content = ContentStore(store)
    descriptor = Descriptor(LAYER, content.put(BLOB), len(BLOB))
    elsewhere.uploads["u0"] = bytearray()
    location = (("Location", f"http://{elsewhere.address}/v2/app/blobs/uploads/u0?sig=1"),)
    server.faults += [Fault("HEAD", 401, CHALLENGE), Fault("POST", 202, location)]
    repository = Repository(registry, parse_reference(f"{server.address}/app:1"))
    assert repository.push_blob(descriptor, content) == "sent"
    assert elsewhere.blobs[digest(BLOB)] == BLOB
    assert set(elsewhere.logins) == {""}
    assert all("sig=1" in line for line in elsewhere.asked)
