"""Registries that all tests of this folder share: each is started once, when first asked for."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import Cli
from tests.registry.machines import FILES, Project, Stores
from tests.support import registry as support


class Authority(NamedTuple):
    """Paths of certificates: of the authority, and of the server."""

    ca: str
    server: str


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate for loopback that no system trusts."""
    return Authority(*support.make_authority(str(tmp_path_factory.mktemp("authority"))))


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[support.Registry]:
    """A registry without TLS and without passwords. Tests use repositories of their own."""
    with support.registry(str(tmp_path_factory.mktemp("plain"))) as running:
        yield running


@pytest.fixture(scope="session")
def guarded(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[support.Registry]:
    """A registry with TLS by an authority of its own, and a password."""
    folder = str(tmp_path_factory.mktemp("guarded"))
    parts = support.with_password(folder) | support.with_tls(authority.server)
    with support.registry(folder, **parts) as running:
        yield running


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[support.TokenService]:
    """A service that gives out tokens."""
    service = support.TokenService(str(tmp_path_factory.mktemp("tokens")))
    yield service
    service.shutdown()
    service.server_close()


@pytest.fixture(scope="session")
def token_registry(
    tmp_path_factory: pytest.TempPathFactory, tokens: support.TokenService
) -> Iterator[support.Registry]:
    """A registry that takes the tokens of `tokens`."""
    folder = str(tmp_path_factory.mktemp("token-registry"))
    with support.registry(folder, **tokens.parts) as running:
        yield running


@pytest.fixture
def stores(tmp_path: Path, busybox_store: str) -> Stores:
    """`stores(name)` is the command line with a copy of that store: another machine."""

    def make(name: str) -> Cli:
        return Cli(shutil.copytree(busybox_store, str(tmp_path / "stores" / name)))

    return make


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """`project(name=text)` is a context of its own, in which these files are other ones."""
    made: list[str] = []

    def write(**changed: str) -> str:
        folder = tmp_path / f"context{len(made)}"
        folder.mkdir()
        for name, text in {**FILES, **changed}.items():
            (folder / name).write_text(text)
        made.append(str(folder))
        return made[-1]

    return write
