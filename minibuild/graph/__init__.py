"""The graph of a build: pure, frozen data.

Comes in: what a frontend, or a Python program, wants to be done. Goes out: vertices, which the
solver reads, and the configs of images. Nothing here opens a file.
Read in this order: `op`, `vertex`, `image`, `frontend`; then `state`, for graphs made in Python.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minibuild.graph.state import State

__all__ = ["State"]


def __getattr__(name: str) -> Any:
    # On demand (PEP 562): a build from a Dockerfile has no states.
    if name == "State":
        from minibuild.graph.state import State

        return State
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
