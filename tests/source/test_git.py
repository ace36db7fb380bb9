"""Git references: what they mean, and what is said of those that mean nothing."""

import hashlib
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from minibuild.errors import DefinitionError, RegistryError
from minibuild.graph.op import GitSource
from minibuild.source.git import GitProgram, GitReference, clone
from minibuild.source.git_objects import describe
from tests.integration.built import git
from tests.source.conftest import Asker
from tests.support.webserver import WebServer

Askers = Callable[..., Asker]


class Repository:
    """A repository that is served. The branch `main` is two commits, the tag `v1` is on the first.
    The tag and the branch `both` are on different ones."""

    def __init__(self, folder: Path, web: WebServer) -> None:
        self.folder = folder
        folder.mkdir()
        git(folder, "init", "-q", "-b", "main")
        (folder / "sub").mkdir()
        for number, name in enumerate(("sub/first", "second")):
            (folder / name).write_text(name)
            git(folder, "add", ".")
            git(folder, "commit", "-qm", name)
            if not number:
                git(folder, "tag", "-a", "-m", "first", "v1")
                git(folder, "tag", "both")
        git(folder, "branch", "both")
        self.url = web.git("/repo.git", folder)

    def name(self, words: str) -> str:
        """The hash of a commit or a tag."""
        return git(self.folder, "rev-parse", words).strip()


@pytest.fixture
def repository(tmp_path: Path, web: WebServer) -> Repository:
    return Repository(tmp_path / "repo", web)


@pytest.fixture
def scratch(tmp_path: Path) -> Callable[[], str]:
    """Paths for what git makes."""
    numbers = count()
    return lambda: str(tmp_path / f"scratch{next(numbers)}")


def meant(asker: Asker, op: GitSource, scratch: Callable[[], str]) -> GitReference:
    return GitProgram(asker, op, asker.progress, scratch).resolve()


def test_what_a_reference_means(
    asker: Askers, repository: Repository, scratch: Callable[[], str]
) -> None:
    """As with git checkout: a whole name, else a branch, else a tag."""
    first, second = repository.name("main~"), repository.name("main")
    expected = {
        "": GitReference(second, "refs/heads/main"),
        "main": GitReference(second, "refs/heads/main"),
        "both": GitReference(second, "refs/heads/both"),
        "refs/tags/both": GitReference(first, "refs/tags/both"),
        "v1": GitReference(first, "refs/tags/v1", repository.name("v1")),
    }
    found = {ref: meant(asker(), GitSource(repository.url, ref), scratch) for ref in expected}
    assert found == expected


def test_a_whole_hash_needs_no_question(
    asker: Askers, web: WebServer, scratch: Callable[[], str]
) -> None:
    name = "0123456789abcdef" * 4
    for digits in (40, 64):
        op = GitSource(web.url("/none.git"), name[:digits])
        assert meant(asker(), op, scratch) == GitReference(name[:digits], name[:digits])
    assert web.headers == []


@pytest.mark.parametrize(("url", "ref"), [("--upload-pack=sh", "main"), ("", "--upload-pack=sh")])
def test_what_git_would_take_for_an_option(
    asker: Askers, repository: Repository, scratch: Callable[[], str], url: str, ref: str
) -> None:
    with pytest.raises(DefinitionError, match="invalid git address or reference: --upload-pack"):
        meant(asker(), GitSource(url or repository.url, ref), scratch)


def test_a_checksum_is_of_the_commit_or_the_tag(
    asker: Askers, repository: Repository, scratch: Callable[[], str]
) -> None:
    for name in (repository.name("v1"), repository.name("v1^{}")[:12]):
        op = GitSource(repository.url, "v1", checksum=name)
        assert meant(asker(), op, scratch).commit == repository.name("main~")
    with pytest.raises(DefinitionError, match="expected checksum to match abcdef"):
        meant(asker(), GitSource(repository.url, "v1", checksum="abcdef"), scratch)


def test_what_is_not_there(
    asker: Askers, repository: Repository, web: WebServer, scratch: Callable[[], str]
) -> None:
    with pytest.raises(DefinitionError, match="repository does not contain ref none"):
        meant(asker(), GitSource(repository.url, "none"), scratch)
    with pytest.raises(RegistryError, match=r"failed to fetch .*: fatal: "):
        meant(asker(), GitSource(web.url("/none.git"), "main"), scratch)
    client = asker()
    with pytest.raises(DefinitionError, match="subdirectory none of"):
        clone(client, GitSource(repository.url, "v1", "none"), client.progress, scratch)


def test_a_clone_is_of_one_commit(
    asker: Askers, repository: Repository, scratch: Callable[[], str]
) -> None:
    client = asker()
    folder = Path(clone(client, GitSource(repository.url, "v1", "sub"), client.progress, scratch))
    assert sorted(path.name for path in folder.iterdir()) == [".git", "sub"]
    assert git(folder, "rev-list", "--all").split() == [repository.name("main~")]


def test_the_bytes_of_objects_have_their_hashes(
    asker: Askers, repository: Repository, scratch: Callable[[], str]
) -> None:
    client, op = asker(), GitSource(repository.url, "v1")
    found = describe(client, op, client.progress, scratch, objects=True)
    for kind, data, name in (
        ("commit", found.commit, found.meant.commit),
        ("tag", found.tag, found.meant.tag),
    ):
        assert hashlib.sha1(f"{kind} {len(data)}\0".encode() + data).hexdigest() == name
    assert describe(client, op, client.progress, scratch, objects=False)[1:] == (b"", b"")
