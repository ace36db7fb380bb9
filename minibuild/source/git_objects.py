"""What a git reference is now, for those who want to know it and do not build.

Comes in: a source. Goes out: names and hashes, and the bytes of a commit and its tag, by which
signatures are checked. Read next: `git`.
"""

from collections.abc import Callable

from minibuild.graph.op import GitSource
from minibuild.progress.writer import ProgressWriter
from minibuild.source.git import GitProgram, GitReference
from minibuild.source.web import Client
from minibuild.startup.tuples import NamedTuple


class GitObjects(NamedTuple):
    """What a reference means now, and the bytes of git's objects for its commit and its tag."""

    meant: GitReference
    commit: bytes = b""
    tag: bytes = b""


def describe(
    client: Client,
    op: GitSource,
    progress: ProgressWriter,
    scratch: Callable[[], str],
    *,
    objects: bool,
) -> GitObjects:
    """What a source is now; with the bytes of its objects, if they are wanted."""
    git = GitProgram(client, op, progress, scratch)
    meant = git.resolve()
    if not objects:
        return GitObjects(meant)
    folder = scratch()
    git.clone(folder, meant)
    if meant.tag:
        git.run(["-C", folder, "fetch", "--quiet", "origin", f"{meant.name}:{meant.name}"])
    commit = _object(git, folder, "commit", meant.commit)
    tag = _object(git, folder, "tag", meant.tag) if meant.tag else b""
    return GitObjects(meant, commit, tag)


def _object(git: GitProgram, folder: str, kind: str, name: str) -> bytes:
    return git.run(["-C", folder, "cat-file", kind, name]).encode("utf-8", "surrogateescape")
