"""minibuild: a Dockerfile builder without a daemon and without root.

    import minibuild
    result = minibuild.build("path/to/context", tags=["app:1"])
    print(result.digest)

Everything public is here. Names are loaded when they are first used, so that the command line pays
only for what it needs. Read next: `builder`, a whole build in one function.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # `as` tells type checkers that a name is public
    from minibuild.api import build as build
    from minibuild.buildflags.options import BuildOptions as BuildOptions
    from minibuild.buildflags.options import CallOptions as CallOptions
    from minibuild.buildflags.options import GraphOptions as GraphOptions
    from minibuild.digest import Digest as Digest
    from minibuild.errors import BuildError as BuildError
    from minibuild.errors import Cancelled as Cancelled
    from minibuild.errors import DefinitionError as DefinitionError
    from minibuild.errors import HostError as HostError
    from minibuild.errors import ImageError as ImageError
    from minibuild.errors import RegistryError as RegistryError
    from minibuild.errors import SourceText as SourceText
    from minibuild.errors import Span as Span
    from minibuild.errors import StepFailed as StepFailed
    from minibuild.errors import StoreError as StoreError
    from minibuild.errors import UsageError as UsageError
    from minibuild.events import Completed as Completed
    from minibuild.events import Event as Event
    from minibuild.events import Log as Log
    from minibuild.events import Planned as Planned
    from minibuild.events import Remark as Remark
    from minibuild.events import Report as Report
    from minibuild.events import Started as Started
    from minibuild.events import Status as Status
    from minibuild.events import VertexInfo as VertexInfo
    from minibuild.events import Warned as Warned
    from minibuild.graph.frontend import Finding as Finding
    from minibuild.graph.image import ContainerConfig as ContainerConfig
    from minibuild.graph.image import History as History
    from minibuild.graph.image import ImageConfig as ImageConfig
    from minibuild.graph.op import Ulimit as Ulimit
    from minibuild.graph.platform import Platform as Platform
    from minibuild.graph.source_policy import Constraint as Constraint
    from minibuild.graph.source_policy import Policy as Policy
    from minibuild.graph.source_policy import PolicyRule as PolicyRule
    from minibuild.graph.state import State as State
    from minibuild.linux.resources import Resources as Resources
    from minibuild.progress.notebook import Progress as Progress
    from minibuild.session.environment import Environment as Environment
    from minibuild.session.environment import read_environment as read_environment
    from minibuild.session.request import Attestations as Attestations
    from minibuild.session.request import BuildRequest as BuildRequest
    from minibuild.session.request import BuildResult as BuildResult
    from minibuild.session.request import BuiltImage as BuiltImage
    from minibuild.session.request import CacheMountPlace as CacheMountPlace
    from minibuild.session.request import CachePlace as CachePlace
    from minibuild.session.request import LayerInfo as LayerInfo
    from minibuild.session.request import Output as Output
    from minibuild.session.request import RegistryAccess as RegistryAccess
    from minibuild.session.request import Secret as Secret
    from minibuild.session.request import SshAgent as SshAgent

__version__ = "0.1.0"

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
    "graph.source_policy": "Constraint Policy PolicyRule",
    "graph.state": "State",
    "linux.resources": "Resources",
    "progress.notebook": "Progress",
    "session.environment": "Environment read_environment",
    "session.request": "Attestations BuildRequest BuildResult BuiltImage CacheMountPlace "
    "CachePlace LayerInfo Output RegistryAccess Secret SshAgent",
}

__all__ = sorted(" ".join(_HOMES.values()).split())


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
