"""minibuild: a Dockerfile builder without a daemon and without root.

    import minibuild
    result = minibuild.build("path/to/context", tags=["app:1"])
    print(result.digest)

Everything public is here. Names are loaded when they are first used, so that the command line
pays only for what it needs. Read next: `builder`, the whole story in one function.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minibuild.api import build
    from minibuild.errors import (
        BuildError,
        Cancelled,
        DefinitionError,
        HostError,
        ImageError,
        RegistryError,
        StepFailed,
        StoreError,
        UsageError,
    )
    from minibuild.events import Event, Report
    from minibuild.session.request import (
        BuildRequest,
        BuildResult,
        BuiltImage,
        CacheMountPlace,
        CachePlace,
        Output,
        RegistryAccess,
        Secret,
        SshAgent,
    )

__version__ = "0.1.0"

__all__ = [
    "BuildError",
    "BuildRequest",
    "BuildResult",
    "BuiltImage",
    "CacheMountPlace",
    "CachePlace",
    "Cancelled",
    "DefinitionError",
    "Event",
    "HostError",
    "ImageError",
    "Output",
    "RegistryAccess",
    "RegistryError",
    "Report",
    "Secret",
    "SshAgent",
    "StepFailed",
    "StoreError",
    "UsageError",
    "build",
]

_HOMES = {
    "errors": "BuildError Cancelled DefinitionError HostError ImageError RegistryError StepFailed "
    "StoreError UsageError",
    "events": "Event Report",
    "api": "build",
    "session.request": "BuildRequest BuildResult BuiltImage CacheMountPlace CachePlace Output "
    "RegistryAccess Secret SshAgent",
}


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names.split():
            from importlib import import_module

            found = getattr(import_module(f"minibuild.{module}"), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module 'minibuild' has no attribute {name!r}")
