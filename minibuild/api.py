"""`minibuild.build`: a build from Python, in the caller's thread.

As root, the engine runs right here. Without root it has to run in a user namespace, which a program
of somebody else cannot enter: then it runs in a process of ours. The caller sees no difference.
Read next: `rootless.parent`, `builder`.
"""

import os
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from minibuild.events import Report, silent
from minibuild.session.environment import default_root, read_environment
from minibuild.session.registries import registry_access
from minibuild.session.request import BuildRequest, BuildResult

if TYPE_CHECKING:
    from minibuild.graph.flat import FlatGraph


def build(
    context: str = ".",
    *,
    tags: Iterable[str] = (),
    root: str | None = None,
    report: Report = silent,
    cancelled: threading.Event | None = None,
    **fields: Any,
) -> BuildResult:
    """Build `context` and return what was made; nothing is printed.

    `fields` are those of `BuildRequest` (`file`, `target`, `build_args`, `outputs`, ...). `root`
    is the folder of the store; by default the one that the command line uses. `report` is called
    with progress events, by the calling thread or by others, one at a time. Setting `cancelled`
    stops the build. Raises the errors of `minibuild.errors`.
    """
    unknown = fields.keys() - set(BuildRequest._fields)
    if unknown:
        raise TypeError(f"build() got an unexpected argument {min(unknown)!r}")
    from minibuild.buildflags.secret import with_paths, with_value

    environment = read_environment()
    fields.setdefault("registries", registry_access(environment))
    fields["secrets"] = tuple(with_value(one, environment) for one in fields.get("secrets", ()))
    fields["ssh"] = tuple(with_paths(one, environment) for one in fields.get("ssh", ()))
    request = BuildRequest(context=os.fspath(context), tags=tuple(tags), **fields)
    folder = root or default_root(environment)
    stop = cancelled or threading.Event()
    from minibuild.linux.namespace import needs_user_namespace

    if needs_user_namespace():
        from minibuild.rootless.parent import build_in_child

        return build_in_child(request, root=folder, report=report, cancelled=stop)
    from minibuild.builder import run_build

    return run_build(request, root=folder, report=report, cancelled=stop)


def build_graph(graph: "FlatGraph", **fields: Any) -> BuildResult:
    """Build a graph that was made without a Dockerfile, see `graph.state`."""
    return build(graph=graph, **fields)
