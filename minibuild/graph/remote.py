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
_WITH_VALUE = ("ref", "tag", "branch", "subdir", "checksum", "commit", "mtime")
"""Keys of a query that say nothing when they stand alone."""


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

    refs, by_commit = {git.ref} - {""}, False
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key in _WITH_VALUE and not value:
            raise InvalidRemote(f'query "{key}" in git URL {git.remote} has no value')
        match key:
            case "ref" | "tag" | "branch":
                prefix = {"tag": "refs/tags/", "branch": "refs/heads/"}.get(key, "")
                refs.add(prefix + value.removeprefix(prefix))
            case "checksum" | "commit":
                git = git._replace(checksum=_hash(value, git.checksum))
            case "subdir":
                if git.subdir not in ("", _relative(value)):
                    raise InvalidRemote("subdir is given twice in a git URL")
                git = git._replace(subdir=_relative(value))
            case "mtime":
                git = git._replace(mtime=_times(value))
            case "keep-git-dir":
                git = git._replace(keep_git_dir=_truth(key, value))
            case "submodules":
                git = git._replace(submodules=_truth(key, value))
            case "fetch-by-commit":
                by_commit = _truth(key, value)
            case _:
                raise InvalidRemote(f'unexpected query "{key}" in git URL {git.remote}')
    if by_commit:
        # The reference is for people then: it may have moved on.
        refs = {_whole_hash(git.checksum)}
    return git._replace(ref=_only(refs))


def _hash(value: str, before: str) -> str:
    if before not in ("", value):
        raise InvalidRemote("checksum and commit in a git URL contradict each other")
    if not is_commit_hash(value):
        raise InvalidRemote(f"invalid checksum {value} in a git URL, expected hex commit hash")
    return value


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
