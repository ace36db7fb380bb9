"""Reading what a build starts from: the definition, the contexts, and what they ignore.

Comes in: the request's words for them. Goes out: text, directories and patterns. This is the only
place that opens a Dockerfile; the frontend gets text.
Read next: `builder`.
"""

import os
import stat

from minibuild.errors import DefinitionError, SourceText, Span, UsageError
from minibuild.graph.address import without_credentials
from minibuild.graph.frontend import (
    ArchiveContext,
    Context,
    ImageContext,
    LocalContext,
    RemoteContext,
)
from minibuild.graph.ignore import IgnorePatterns
from minibuild.graph.remote import is_http
from minibuild.graph.vertex import IgnoreRules
from minibuild.session.request import BuildRequest, RegistryAccess
from minibuild.startup.tuples import NamedTuple

DOCKERFILE = "Dockerfile"
MAX_BYTES = 16 * 1024 * 1024
"""No person writes a longer Dockerfile; a device or a disk image given by mistake is longer."""

_IMAGE_SCHEMES = ("docker-image://", "oci-layout://")
_REMOTE_SCHEMES = ("http://", "https://", "git://", "ssh://", "git@", "github.com/")
"""How contexts begin that some other machine answers for."""


class Definition(NamedTuple):
    """A definition, its main context and its named ones, and the directories behind them.

    Of a context that is no directory the text is still empty: see `remote_context`.
    """

    source: SourceText
    context: Context
    contexts: dict[str, Context]
    directories: dict[str, str]


def read_definition(request: BuildRequest) -> Definition:
    """Everything the request names, read and checked. Raises `DefinitionError`, `UsageError`."""
    if request.graphs:
        return _of_graph(request)
    if is_http(request.file):
        request = request._replace(file="", dockerfile=_fetched(request.file, request.registries))
    directories: dict[str, str] = {}
    contexts = {name: _named(name, value, directories) for name, value in request.contexts.items()}
    main: Context
    if request.context.startswith(_REMOTE_SCHEMES):
        main = RemoteContext(request.context, subdir=request.context_subdir)
    elif os.path.isfile(request.context):
        archive = _archive("context", request.context, directories)
        main = archive._replace(subdir=request.context_subdir)
    else:
        return _read_local(request, contexts, directories)
    name = os.path.basename(request.file) or DOCKERFILE
    return Definition(SourceText(name, request.dockerfile or ""), main, contexts, directories)


def _of_graph(request: BuildRequest) -> Definition:
    """What a graph that needs no Dockerfile starts from: contexts by the names it uses."""
    if not os.path.isdir(request.context):
        raise UsageError(f"the build context is not a directory: {request.context!r}")
    directories = {"context": request.context}
    contexts = {name: _named(name, value, directories) for name, value in request.contexts.items()}
    return Definition(SourceText("graph", ""), LocalContext("context"), contexts, directories)


def _instead(context: str) -> str:
    """What to give in place of a context that is none. Some addresses are those of kaniko."""
    scheme, found, path = context.partition("://")
    if found and scheme in ("dir", "tar"):
        return f"leave out the {scheme}://, and give the path: {path}"
    if found:
        return f"{scheme}:// is not read here: fetch it, and give the directory or the archive"
    return "give the path of the directory with the files to build from"


def _read_local(
    request: BuildRequest, contexts: dict[str, Context], directories: dict[str, str]
) -> Definition:
    """The definition of a build whose context is a directory."""
    if not os.path.isdir(request.context):
        raise DefinitionError(
            f"the build context {request.context!r} is not a directory",
            hint=_instead(request.context),
        )
    path = _casing(request.file or os.path.join(request.context, DOCKERFILE))
    if request.dockerfile is not None:
        source = SourceText(os.path.basename(request.file) or DOCKERFILE, request.dockerfile)
    else:
        source = SourceText(os.path.basename(path), _read_text(path, "Dockerfile"))
    main = _local("context", request.context, directories, dockerfile=path)
    return Definition(source, main, contexts, directories)


def _casing(path: str) -> str:
    """The path; where there is no Dockerfile, but a dockerfile, that one, as BuildKit does."""
    folder, name = os.path.split(path)
    lower = os.path.join(folder, name.lower())
    if name == DOCKERFILE and not os.path.exists(path) and os.path.isfile(lower):
        return lower
    return path


def _fetched(url: str, access: RegistryAccess) -> str:
    """The text of a Dockerfile from the web; it is asked for each time."""
    import threading

    from minibuild.source.web import body, get, own_authorization

    own = own_authorization(url)
    headers = {"Authorization": own} if own else {}
    response = get(url, headers, access, threading.Event())
    data = b""
    for piece in body(response, url):
        data += piece
        if len(data) > MAX_BYTES:
            break
    response.release_conn()
    return decoded(data, f"Dockerfile {without_credentials(url)}")


def _named(name: str, value: str, directories: dict[str, str]) -> Context:
    if value.startswith(_IMAGE_SCHEMES):
        return ImageContext(value)
    if value.startswith(_REMOTE_SCHEMES):
        return RemoteContext(value)
    if value.startswith("target:"):
        raise UsageError(
            f"the build context {name!r} is a target of a bake file: {value!r}",
            hint="one build has one Dockerfile: build the target first, then give it as "
            "oci-layout://DIR:TAG or docker-image://REF",
        )
    if _is_archive(value):
        return _archive(f"context:{name}", value, directories)
    if not os.path.isdir(value):
        raise UsageError(
            f"the build context {name!r} is not a directory: {value!r}",
            hint="give a directory, an archive, oci-layout://DIR:TAG, docker-image://REF, or the "
            "URL of a git repository, an archive or a file",
        )
    return _local(f"context:{name}", value, directories)


def _local(name: str, path: str, directories: dict[str, str], dockerfile: str = "") -> LocalContext:
    """A directory as a context, with the patterns of the ignore file that applies to it.

    A file named after the Dockerfile beside it counts more than the one in the context.
    """
    directories[name] = path
    candidates = [os.path.join(path, ".dockerignore")]
    if dockerfile and dockerfile != "-":
        candidates.insert(0, dockerfile + ".dockerignore")
    for candidate in candidates:
        if os.path.isfile(candidate):
            file = os.path.basename(candidate)
            return LocalContext(name, ignore_rules(_read_text(candidate, "ignore file"), file))
    return LocalContext(name)


def _archive(name: str, path: str, directories: dict[str, str]) -> ArchiveContext:
    """An archive as a context: the one file of its directory that is ever read."""
    folder, filename = os.path.split(os.path.abspath(path))
    directories[name] = folder
    return ArchiveContext(name, filename)


def _is_archive(path: str) -> bool:
    """Whether a path is a file that begins as archives do."""
    if not os.path.isfile(path):
        return False
    from minibuild.session.memory import TAR_HEADER_BYTES, is_archive

    with open(path, "rb") as file:
        return is_archive(file.read(TAR_HEADER_BYTES))


def _read_text(path: str, what: str) -> str:
    try:
        # O_NONBLOCK: opening a fifo must not wait for a writer.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise DefinitionError(
            f"cannot read the {what} {path}: {error.strerror}",
            hint=_mend(path, error) if what == "Dockerfile" else "",
        ) from error
    return read_open(fd, path, what)


def _mend(path: str, error: OSError) -> str:
    """What to do about a Dockerfile that cannot be read; if it is not there, what else may have
    been meant."""
    if isinstance(error, PermissionError):
        return "make it readable for you"
    if os.path.islink(path):
        return f"it is a link to {os.readlink(path)}"
    try:
        names = sorted(os.listdir(os.path.dirname(path) or "."))
    except OSError:
        return "name the file with -f"
    likely = [name for name in names if "dockerfile" in name.lower() or name == "Containerfile"]
    likely = [name for name in likely if not name.endswith(".dockerignore")]
    return "name the file with -f" + (f"; there is {', '.join(likely[:5])}" if likely else "")


def ignore_rules(text: str, name: str) -> IgnoreRules:
    """The patterns of the ignore file `name`. Raises `DefinitionError`."""
    from minibuild.graph.ignore_file import parse

    rules = parse(text, name)
    for pattern, line in zip(rules.patterns, rules.lines, strict=True):
        if pattern == "!" or "[" in pattern or "\\" in pattern:
            _check(pattern, Span(name, line, line), text)
    return rules


def _check(pattern: str, span: Span, text: str) -> None:
    """Raise an error that shows the line if a pattern of an ignore file means nothing."""
    try:
        IgnorePatterns((pattern,))
    except DefinitionError as error:
        error.span, error.source = span, SourceText(span.file, text)
        raise


def read_open(fd: int, path: str, what: str) -> str:
    """The text of an open file, which is closed."""
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        os.close(fd)
        kind = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
        raise DefinitionError(
            f"the {what} {path} is {kind}", hint="name a file; a stream is -f - or -f /dev/fd/N"
        )
    with open(fd, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    return decoded(data, f"{what} {path}")


def decoded(data: bytes, what: str) -> str:
    """The text of a definition, of which as many bytes were read as it may have, or one more."""
    if len(data) > MAX_BYTES:
        raise DefinitionError(f"the {what} is larger than {MAX_BYTES >> 20} MiB")
    if b"\0" in data.partition(b"\n")[0]:
        raise DefinitionError(
            f"the {what} is no text",
            hint="it has null characters, as programs, archives and UTF-16 have: write it in UTF-8",
        )
    return data.decode("utf-8", "surrogateescape")
