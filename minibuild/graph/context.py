"""A build context as a vertex: a directory, an archive, a git repository, something from the web.

Comes in: a context as the request names it, and the lines that ask for it. Goes out: the vertex
whose result is the tree of the context, without what its ignore file leaves out. The engine needs
it before any frontend is known, for a Dockerfile may be in a context that has to be fetched first.
Frontends need it for what they copy from. BuildKit calls this part dockerui.
Read next: `remote`, for the addresses; `frontend`, for the types of contexts.
"""

from collections.abc import Mapping

from minibuild.errors import DefinitionError, Span
from minibuild.graph.address import without_credentials
from minibuild.graph.frontend import ArchiveContext, LocalContext, RemoteContext
from minibuild.graph.literals import parse_bool
from minibuild.graph.op import Copy, File, HttpSource, LocalSource
from minibuild.graph.pattern import escape_glob
from minibuild.graph.remote import InvalidRemote, parse_remote
from minibuild.graph.vertex import IgnoreRules, Note, Vertex

_KEEP_GIT_DIR = "BUILDKIT_CONTEXT_KEEP_GIT_DIR"
_ALL = Copy(1, (".",), "/")
_FETCHED = "context"
"""The file that a named context from the web is, whatever its address says."""


def context_vertex(
    context: LocalContext | RemoteContext | ArchiveContext,
    name: str,
    build_args: Mapping[str, str],
    span: Span | None,
) -> Vertex:
    """The tree of a context; `name` is empty for the main one. Raises `DefinitionError`."""
    if isinstance(context, LocalContext):
        title = f"[context {name}] load from client" if name else "[internal] load build context"
        op = LocalSource(context.name, context.ignore.patterns)
        return Vertex(op, (), Note(title, span, ignored=context.ignore))
    if isinstance(context, RemoteContext):
        tree = _remote(context.url, name, build_args, span)
    else:
        where, main = ("[internal]", " build context") if not name else (f"[context {name}]", "")
        archive = Vertex(LocalSource(context.name), (), Note(f"{where} load{main}", span))
        tree = unpacked(archive, context.filename, Note(f"{where} unpack{main}", span))
    return _without(_within(tree, context.subdir), context.ignore)


def _remote(url: str, name: str, build_args: Mapping[str, str], span: Span | None) -> Vertex:
    """A git repository, or a file from the web.

    An archive that is the main context is unpacked; a named context is the file itself.
    """
    shown = without_credentials(url)
    note = Note(f"[context {name}] load from {shown}" if name else f"[internal] load {shown}", span)
    address = _github(url)
    try:
        git, filename = parse_remote(address)
    except InvalidRemote as error:
        raise DefinitionError(str(error), hint="see --build-context") from None
    if git is not None:
        keep = git.keep_git_dir
        if keep is None:
            keep = _switch(_KEEP_GIT_DIR, build_args)
        return Vertex(git.source(keep_git_dir=keep), (), note)
    if not filename:
        raise DefinitionError(
            f"unsupported context: {url}", hint="a directory, a git repository, or an http URL"
        )
    if name:
        return Vertex(HttpSource(address, _FETCHED), (), note)
    return unpacked(Vertex(HttpSource(address, filename), (), note), filename)


def _github(url: str) -> str:
    """The address that the short form `github.com/OWNER/NAME` stands for; any other as it is."""
    if not url.startswith("github.com/"):
        return url
    head, mark, fragment = url.partition("#")
    return f"https://{head.removesuffix('.git')}.git{mark}{fragment}"


def _switch(name: str, build_args: Mapping[str, str]) -> bool:
    """A build argument that is true or false. Raises `DefinitionError`."""
    text = build_args.get(name, "")
    try:
        return bool(text) and parse_bool(text)
    except ValueError:
        raise DefinitionError(
            f"invalid boolean value for {name}: {text}", hint="write true or false"
        ) from None


def copied(tree: Vertex, copy: Copy = _ALL, note: Note | None = None) -> Vertex:
    """What a copy takes of a tree, on an empty one; without a copy all of it, as root's."""
    return Vertex(File((copy,)), (None, tree), note or tree.note)


def unpacked(tree: Vertex, filename: str, note: Note | None = None) -> Vertex:
    """What is in a file of a tree: unpacked, if it is an archive, else the file itself."""
    return copied(tree, Copy(1, (escape_glob(filename),), "/", unpack=True), note)


def _within(tree: Vertex, subdir: str) -> Vertex:
    """A directory of the tree in its place."""
    if not subdir.strip("/"):
        return tree
    return copied(tree, Copy(1, (escape_glob(subdir.strip("/")),), "/", keep_owner=True))


def _without(tree: Vertex, ignore: IgnoreRules) -> Vertex:
    """The tree without what the patterns of its ignore file leave out."""
    if not ignore.patterns:
        return tree
    note = tree.note._replace(name="[internal] ignore files", ignored=ignore)
    rest = Copy(1, (".",), "/", keep_owner=True, exclude=ignore.patterns)
    return copied(tree, rest, note)
