"""What keeps steps apart from this machine: namespaces, or nothing but the container around.

Comes in: what the person asked for (`--isolation`), and this process. Goes out: an executor.
`auto` takes namespaces wherever they can be had. The container's own root is taken only where they
cannot, and where that is permitted: see `ownroot.permit`. Read next: `local`, `ownroot.executor`.
"""

from typing import TYPE_CHECKING

from minibuild.linux.resources import Resources
from minibuild.session.request import Isolation

if TYPE_CHECKING:
    from minibuild.executor.api import Executor
    from minibuild.snapshot.unmounts import Unmounts

OWN_ROOT = (
    "isolation is own-root: this container allows no namespaces, and its image is made for that"
)


def takes_own_root(asked: Isolation) -> bool:
    """Whether steps get the container's own root, where namespaces were tried and refused. Raises
    `OwnRootRefused` if that was asked for and cannot be."""
    if asked == "namespaces":
        return False
    from minibuild.executor.ownroot.permit import OwnRootRefused
    from minibuild.executor.ownroot.root import permitted_root

    try:
        permitted_root().close()
    except OwnRootRefused:
        if asked == "own-root":
            raise
        return False
    return True


def start_executor(
    folder: str, resources: Resources, unmounts: "Unmounts", *, own_root: bool = False
) -> "Executor":
    """What runs steps. It keeps its few files in `folder`; `resources` are the limits that steps
    will most likely have, and `unmounts` get the trees of those that have ended."""
    if own_root:
        from minibuild.executor.ownroot.executor import OwnRootExecutor
        from minibuild.executor.ownroot.root import permitted_root

        return OwnRootExecutor(permitted_root())
    from minibuild.executor import local

    return local.start_executor(folder, resources, unmounts)
