"""`minibuild.build`: a build from Python, in the caller's thread.

Comes in: a request, or a context and options; or a graph and options. Goes out: what was made, or
a typed error. Nothing is printed. As root, the engine runs right here. Without root it has to run
in a user namespace, which a caller's program cannot enter: then it runs in a process of
ours, and the caller sees no difference. Read next: `buildflags.request`, `rootless.parent`,
`builder`.
"""

import inspect
import os
import threading
from collections.abc import Mapping
from typing import Any, Unpack, overload

from minibuild.buildflags.options import BuildOptions, CallOptions, Context, GraphOptions
from minibuild.buildflags.request import build_request, read_path
from minibuild.errors import DefinitionError, UsageError, explained
from minibuild.events import Report, silent
from minibuild.graph.state import State
from minibuild.session.environment import Environment, read_environment
from minibuild.session.memory import contexts_on_disk
from minibuild.session.request import BuildRequest, BuildResult

_GRAPH_OPTIONS = GraphOptions.__annotations__.keys()


@overload
def build(context: Context = ".", **options: Unpack[BuildOptions]) -> BuildResult: ...
@overload
def build(request: BuildRequest, /, **options: Unpack[CallOptions]) -> BuildResult: ...
@overload
def build(graph: State, /, **options: Unpack[GraphOptions]) -> BuildResult: ...
def build(context: Any = ".", **options: Any) -> BuildResult:
    """Build, and return what was made. Nothing is printed.

    `context` is a path or URL; files by their paths, `{"Dockerfile": "FROM ..."}`; a tar, as bytes
    or as an open file. In its place there may be a whole `BuildRequest`, or a graph
    (`minibuild.State`). The options are keywords: see `BuildOptions` and docs/python-api.md. An
    option with several values is a list of values such as `Output("oci", "image.tar")`, or of the
    words of the command line, `"type=oci,dest=image.tar"`.

    `root` is the folder of the store. `report` is called with progress events, by the calling
    thread or by others, one at a time. Setting `cancelled` stops the build. `environment` takes the
    place of what `read_environment` returns.

    Raises the errors of `minibuild.errors`, `UsageError` for options that make no sense, and
    `TypeError` for those that there are not.
    """
    call = {name: options.pop(name) for name in CallOptions.__annotations__ if name in options}
    if isinstance(context, State):
        if of_files := options.keys() & (BuildOptions.__annotations__.keys() - _GRAPH_OPTIONS):
            raise TypeError(f"build() of a graph got the argument {min(of_files)!r}")
        options["graphs"] = (context.flat(options.pop("config", None)),)
        context = "."
    elif isinstance(context, BuildRequest):
        if options:
            raise TypeError(f"build() of a request got the argument {min(options)!r}, too")
        options = context._asdict()
        context = options.pop("context")
    contexts = options.get("contexts") or {}
    if not isinstance(contexts, Mapping):
        raise UsageError("contexts must be a mapping of names to contexts")
    with contexts_on_disk(context, contexts) as (path, named):
        options["contexts"] = named
        if isinstance(context, Mapping):
            options["file"] = _file_in(path, context, options)
        try:
            return _run(path, options, **call)
        except OSError as error:
            raise explained(error) from error


def _file_in(folder: str, files: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """The path of the Dockerfile that is one of the files in memory."""
    name = read_path("file", options.get("file", ""))
    if name.startswith(("http://", "https://")):
        return name
    names = [name] if name else ["Dockerfile", "dockerfile"]
    found = [known for known in names if known in files]
    if options.get("dockerfile") is None and not found:
        raise DefinitionError(
            f"there is no {names[0]} among the files of the build context",
            hint="name another one with file=, or give its text with dockerfile=",
        )
    return os.path.join(folder, (found or names)[0])


def _run(
    context: str,
    options: Mapping[str, Any],
    *,
    root: Any = None,
    report: Report = silent,
    cancelled: threading.Event | None = None,
    environment: Any = None,
) -> BuildResult:
    """The build of a context that is on disk, or elsewhere on the network."""
    if not callable(report):
        raise UsageError("report must be a function of one event")
    stop = threading.Event() if cancelled is None else cancelled
    if not isinstance(stop, threading.Event):
        raise UsageError("cancelled must be a threading.Event")
    environment = read_environment() if environment is None else environment
    if not isinstance(environment, Environment):
        raise UsageError("environment must be what read_environment() gives")
    request = build_request(context, options, environment)
    folder = environment.root if root is None else read_path("root", root)
    from minibuild.linux.namespace import needs_user_namespace

    if needs_user_namespace():
        from minibuild.rootless.parent import build_in_child

        return build_in_child(request, root=folder, report=report, cancelled=stop)
    from minibuild.builder import run_build

    return run_build(request, root=folder, report=report, cancelled=stop)


def _signature() -> inspect.Signature:
    """The options as parameters, for `help` and for what completes words."""
    keyword, either = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    types, defaults = BuildOptions.__annotations__, dict(BuildRequest._field_defaults)
    defaults |= {n: p.default for n, p in inspect.signature(_run).parameters.items()}
    return inspect.Signature(
        [
            inspect.Parameter("context", either, default=".", annotation=Context),
            *(
                inspect.Parameter(name, keyword, default=defaults[name], annotation=kind)
                for name, kind in types.items()
            ),
        ],
        return_annotation=BuildResult,
    )


build.__signature__ = _signature()  # type: ignore[attr-defined]
