"""Addresses of contexts and of sources of ADD: URLs of files, and git repositories.

Comes in: a source as written, expanded. Goes out: its parts, or None if it is a path. What counts
as git is BuildKit's rule: any `git://`, `ssh://` or `user@host:path`, and an http URL whose path
ends in `.git`. A fragment is `REF:SUBDIR`; a query gives the same by name and more.
Read next: `context`, which makes sources of the graph from them.
"""

from minibuild.graph.literals import parse_bool
from minibuild.graph.op import GitSource
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

_SCP_LIKE = regex(r"(?![A-Za-z0-9+.-]+://)[A-Za-z0-9_.-]+@[^/:]+:(?!//).*")
_COMMIT = regex("[0-9a-f]{40}|[0-9a-f]{64}")
_DIGITS = regex("[0-9a-fA-F]{1,64}")
_HTTP = ("http://", "https://")
_GIT_SCHEMES = ("git://", "ssh://")
_UNNAMED = "__unnamed__"
_NO_NAME = "download"
"""What BuildKit calls a file whose address ends in `..`."""
_QUERY_KEYS = (
    "ref",
    "tag",
    "branch",
    "subdir",
    "checksum",
    "commit",
    "keep-git-dir",
    "submodules",
    "mtime",
    "fetch-by-commit",
)


class InvalidRemote(ValueError):
    """A URL with parts that contradict each other or make no sense."""


class GitUrl(NamedTuple):
    """A git repository and what of it; `keep_git_dir` is None where the URL does not say."""

    remote: str
    ref: str = ""
    subdir: str = ""
    checksum: str = ""
    keep_git_dir: bool | None = None
    submodules: bool = True
    mtime: str = "checkout"

    def source(self, checksum: str = "", *, keep_git_dir: bool = False) -> GitSource:
        """The source of the graph, with what was said of it beside the URL."""
        return GitSource(
            self.remote,
            self.ref,
            self.subdir,
            checksum or self.checksum,
            keep_git_dir,
            self.submodules,
            self.mtime,
        )


def is_http(text: str) -> bool:
    """Whether `text` is a URL of a file (it may still be a git repository)."""
    return text.startswith(_HTTP)


def http_filename(url: str) -> str:
    """The file's name: the last part of the URL's path. Raises `InvalidRemote`."""
    from urllib.parse import unquote, urlsplit

    try:
        path = unquote(urlsplit(url).path).rstrip("/")
    except ValueError as error:
        raise InvalidRemote(f"invalid URL {url}: {error}") from None
    name = path.rpartition("/")[2]
    if name == "..":
        return _NO_NAME
    return name if name not in ("", ".") and "\0" not in name else _UNNAMED


def parse_remote(text: str) -> tuple[GitUrl | None, str]:
    """A git repository, or the name of a file from the web; neither if it is a path. Raises
    `InvalidRemote`."""
    git = git_url(text)
    return git, http_filename(text) if git is None and is_http(text) else ""


def is_commit_hash(text: str) -> bool:
    """Whether `text` may be the hash of a commit, or the beginning of one."""
    return _DIGITS.fullmatch(text) is not None


def git_url(text: str) -> GitUrl | None:
    """The git repository that `text` names; None if it names none. Raises `InvalidRemote`."""
    if not _looks_like_git(text):
        return None
    remote, _, fragment = text.partition("#")
    if "%" in fragment and "://" in remote:
        from urllib.parse import unquote

        fragment = unquote(fragment)
    ref, _, subdir = fragment.partition(":")
    remote, _, query = remote.partition("?")
    found = GitUrl(remote, ref, _relative(subdir))
    return _with_query(found, query) if query else found


def _looks_like_git(text: str) -> bool:
    location = text.partition("#")[0].partition("?")[0]
    if text.startswith(_GIT_SCHEMES):
        return True
    if text.startswith(_HTTP):
        return location.endswith(".git")
    return "@" in location and _SCP_LIKE.fullmatch(location) is not None


def _relative(subdir: str) -> str:
    return subdir.strip("/") if subdir.strip("/") != "." else ""


def _with_query(git: GitUrl, query: str) -> GitUrl:
    from urllib.parse import parse_qsl

    refs = {git.ref} - {""}
    checksum, subdir = "", git.subdir
    mtime = git.mtime
    flags = {
        "keep-git-dir": git.keep_git_dir,
        "submodules": git.submodules,
        "fetch-by-commit": False,
    }
    for key, value in parse_qsl(query, keep_blank_values=True):
        _insist_on_known(key, value or key in flags, git.remote)
        if key in ("ref", "tag", "branch"):
            prefix = {"tag": "refs/tags/", "branch": "refs/heads/"}.get(key, "")
            refs.add(prefix + value.removeprefix(prefix))
        elif key in ("checksum", "commit"):
            if checksum and checksum != value:
                raise InvalidRemote("checksum and commit in a git URL contradict each other")
            if not is_commit_hash(value):
                raise InvalidRemote(
                    f"invalid checksum {value} in a git URL, expected hex commit hash"
                )
            checksum = value
        elif key == "subdir":
            if subdir and _relative(value) != subdir:
                raise InvalidRemote("subdir is given twice in a git URL")
            subdir = _relative(value)
        elif key == "mtime":
            mtime = _times(value)
        elif key in flags:
            flags[key] = _truth(key, value)
    if flags["fetch-by-commit"]:
        refs = {_whole_hash(checksum)}  # the reference is for people then: it may have moved on
    return GitUrl(
        git.remote,
        _only(refs),
        subdir,
        checksum,
        flags["keep-git-dir"],
        flags["submodules"] is not False,
        mtime,
    )


def _insist_on_known(key: str, has_value: object, remote: str) -> None:
    if key not in _QUERY_KEYS:
        raise InvalidRemote(f'unexpected query "{key}" in git URL {remote}')
    if not has_value:
        raise InvalidRemote(f'query "{key}" in git URL {remote} has no value')


def _times(value: str) -> str:
    if value not in ("checkout", "commit"):
        raise InvalidRemote(f'mtime in a git URL is "checkout" or "commit", not "{value}"')
    return value


def _only(refs: set[str]) -> str:
    if len(refs) > 1:
        raise InvalidRemote(f"ref conflicts: {' vs '.join(sorted(refs))} in a git URL")
    return "".join(refs)


def _whole_hash(checksum: str) -> str:
    if not _COMMIT.fullmatch(checksum):
        raise InvalidRemote("fetch-by-commit in a git URL needs a whole hash in commit=")
    return checksum


def _truth(key: str, value: str) -> bool:
    try:
        return not value or parse_bool(value)  # the name alone switches it on
    except ValueError:
        raise InvalidRemote(f'{key} in a git URL is true or false, not "{value}"') from None
