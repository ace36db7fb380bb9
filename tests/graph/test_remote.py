"""Addresses of git repositories and of files from the web."""

import pytest

from minibuild.graph.remote import GitUrl, InvalidRemote, git_url, http_filename


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.txt", None),
        ("./a.git", None),
        ("https://h/file", None),
        ("https://h/file.git", GitUrl("https://h/file.git")),
        ("https://h/r.git#v1", GitUrl("https://h/r.git", "v1")),
        ("https://h/r.git#:sub/dir", GitUrl("https://h/r.git", "", "sub/dir")),
        ("https://h/r.git#v1:/sub/", GitUrl("https://h/r.git", "v1", "sub")),
        ("https://h/r.git#f%2fx:a%20b", GitUrl("https://h/r.git", "f/x", "a b")),
        ("git@h:r.git#a%20b", GitUrl("git@h:r.git", "a%20b")),
        ("git://h/r", GitUrl("git://h/r")),
        ("ssh://git@h:22/r#x", GitUrl("ssh://git@h:22/r", "x")),
        ("git@h:r.git#x", GitUrl("git@h:r.git", "x")),
        ("https://h/r.git?ref=a&subdir=b", GitUrl("https://h/r.git", "a", "b")),
        ("https://h/r.git?branch=a", GitUrl("https://h/r.git", "refs/heads/a")),
        ("https://h/r.git?branch=refs/heads/a", GitUrl("https://h/r.git", "refs/heads/a")),
        ("https://h/r.git?commit=abc&ref=m", GitUrl("https://h/r.git", "m", checksum="abc")),
        ("https://h/r.git?keep-git-dir", GitUrl("https://h/r.git", keep_git_dir=True)),
        ("https://h/r.git?submodules=0", GitUrl("https://h/r.git", submodules=False)),
        ("https://h/r.git?mtime=commit", GitUrl("https://h/r.git", mtime="commit")),
    ],
)
def test_git_urls(text: str, expected: GitUrl | None) -> None:
    assert git_url(text) == expected


@pytest.mark.parametrize(
    "query",
    ["x=1", "tag=a&branch=b", "mtime=now", "submodules=maybe", "commit=a&checksum=b", "ref="],
)
def test_bad_git_queries(query: str) -> None:
    with pytest.raises(InvalidRemote):
        git_url(f"https://h/r.git?{query}")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h/a/b.tar?x#y", "b.tar"),
        ("http://h/a/b/", "b"),
        ("http://h/a%20b", "a b"),
        ("http://h", "__unnamed__"),
        ("http://h/a/%2e%2e", "download"),
    ],
)
def test_names_of_downloads(url: str, expected: str) -> None:
    assert http_filename(url) == expected
