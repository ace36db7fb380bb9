"""minibuild: a Dockerfile builder without a daemon and without root.

    import minibuild
    result = minibuild.build("path/to/context", tags=["app:1"])
    print(result.digest)

Everything public is here. Names are loaded when they are first used, so that the command line
pays only for what it needs. Read next: `builder`, the whole story in one function.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minibuild.api import (
        build,
    )
    from minibuild.buildflags.options import (
        BuildOptions,
        CallOptions,
        GraphOptions,
    )
    from minibuild.digest import (
        Digest,
    )
    from minibuild.errors import (
        BuildError,
        Cancelled,
        DefinitionError,
        HostError,
        ImageError,
        RegistryError,
        SourceText,
        Span,
        StepFailed,
        StoreError,
        UsageError,
    )
    from minibuild.events import (
        Completed,
        Event,
        Log,
        Planned,
        Remark,
        Report,
        Started,
        Status,
        VertexInfo,
        Warned,
    )
    from minibuild.graph.frontend import (
        Finding,
    )
    from minibuild.graph.image import (
        ContainerConfig,
        History,
        ImageConfig,
    )
    from minibuild.graph.op import (
        Ulimit,
    )
    from minibuild.graph.platform import (
        Platform,
    )
    from minibuild.graph.state import (
        State,
    )
    from minibuild.linux.resources import (
        Resources,
    )
    from minibuild.progress.notebook import (
        Progress,
    )
    from minibuild.session.environment import (
        Environment,
        read_environment,
    )
    from minibuild.session.request import (
        Attestations,
        BuildRequest,
        BuildResult,
        BuiltImage,
        CacheMountPlace,
        CachePlace,
        LayerInfo,
        Output,
        RegistryAccess,
        Secret,
        SshAgent,
    )

__version__ = "0.1.0"

__all__ = [
    "Attestations",
    "BuildError",
    "BuildOptions",
    "BuildRequest",
    "BuildResult",
    "BuiltImage",
    "CacheMountPlace",
    "CachePlace",
    "CallOptions",
    "Cancelled",
    "Completed",
    "ContainerConfig",
    "DefinitionError",
    "Digest",
    "Environment",
    "Event",
    "Finding",
    "GraphOptions",
    "History",
    "HostError",
    "ImageConfig",
    "ImageError",
    "LayerInfo",
    "Log",
    "Output",
    "Planned",
    "Platform",
    "Progress",
    "RegistryAccess",
    "RegistryError",
    "Remark",
    "Report",
    "Resources",
    "Secret",
    "SourceText",
    "Span",
    "SshAgent",
    "Started",
    "State",
    "Status",
    "StepFailed",
    "StoreError",
    "Ulimit",
    "UsageError",
    "VertexInfo",
    "Warned",
    "build",
    "read_environment",
]

# Where each name is: the same as the imports above, for when the program runs.
_HOMES = {
    "api": "build",
    "buildflags.options": "BuildOptions CallOptions GraphOptions",
    "digest": "Digest",
    "errors": "BuildError Cancelled DefinitionError HostError ImageError RegistryError SourceText "
    "Span StepFailed StoreError UsageError",
    "events": "Completed Event Log Planned Remark Report Started Status VertexInfo Warned",
    "graph.frontend": "Finding",
    "graph.image": "ContainerConfig History ImageConfig",
    "graph.op": "Ulimit",
    "graph.platform": "Platform",
    "graph.state": "State",
    "linux.resources": "Resources",
    "progress.notebook": "Progress",
    "session.environment": "Environment read_environment",
    "session.request": "Attestations BuildRequest BuildResult BuiltImage CacheMountPlace "
    "CachePlace LayerInfo Output RegistryAccess Secret SshAgent",
}


def __dir__() -> list[str]:
    return [*globals(), *__all__]


# Type checkers see the imports above alone: with this function they would believe in any name.
if not TYPE_CHECKING:

    def __getattr__(name):
        for module, names in _HOMES.items():
            if name in names.split():
                from importlib import import_module

                found = getattr(import_module(f"minibuild.{module}"), name)
                globals()[name] = found
                return found
        raise AttributeError(f"module 'minibuild' has no attribute {name!r}")
