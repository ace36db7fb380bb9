"""Loading dockerfile-parse without the ten milliseconds of `logging`.

Comes in: nothing. Goes out: the library's parser class. The library makes itself a logger when it
is imported, and writes to it only when it edits a Dockerfile, which nothing here does; but
`logging` takes as long to load as the library, the parser and the conversion together, on the way
of every cached build. So while the library is imported, a module of one function stands in its
place: its loggers load the real one when they are used. Only if nobody has loaded `logging` yet,
and only where there is no other thread that could take the one for the other.
"""

import sys
import threading
from types import ModuleType
from typing import Any

_NAME = "logging"


class _Logger:
    """A logger that becomes real when somebody uses it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        import logging

        return getattr(logging.getLogger(self._name), attribute)


def parser_class() -> Any:
    """`dockerfile_parse.DockerfileParser`."""
    if _NAME in sys.modules or threading.active_count() > 1:
        from dockerfile_parse import DockerfileParser

        return DockerfileParser
    light = ModuleType(_NAME)
    light.getLogger = _Logger  # type: ignore[attr-defined]
    sys.modules[_NAME] = light
    try:
        from dockerfile_parse import DockerfileParser
    finally:
        del sys.modules[_NAME]
    return DockerfileParser
