"""Which builders take part: by name, by path, by a command line, or what is here.

Comes in: what `--vs` says. Goes out: adapters. Read next: `builders`, then
`buildkit` and `dockerd`.
"""

import os
import shlex
import shutil
from collections.abc import Callable

from bench.builders import Anyone, Buildah, Builder, Minibuild
from bench.buildkit import BuildKit
from bench.dockerd import Dockerd
from bench.recorded import BUILDKIT
from bench.tree import Lacking, Tree


def peer(command: str, setup: str = "", root: str = "") -> Builder:
    """The adapter for what `--vs` names: a known builder, a path to one, or any command. Raises
    `Lacking`."""
    words = shlex.split(command)
    known = os.path.basename(words[0]) if len(words) == 1 else ""
    if known == "buildkit":
        return _buildkit(Tree(root))
    if known == "dockerd":
        return Dockerd(Tree(root))
    if known == "buildah":
        return Buildah(words[0])
    if known == "minibuild":
        return Minibuild(words[0], name="other minibuild")
    return Anyone(command, setup)


def peers_here(root: str, tell: Callable[[str], None]) -> list[Builder]:
    """Those that nobody has to name, because they are here; of the others it is told why not."""
    found: list[Builder] = []
    if shutil.which("buildah"):
        found.append(Buildah())
    else:
        tell("buildah does not take part: it is not installed")
    try:
        found.append(_buildkit(Tree(root)))
    except Lacking as reason:
        tell(f"BuildKit does not take part: {reason}")
    return found


def _buildkit(tree: Tree) -> Builder:
    """BuildKit by itself, or Docker's in its place."""
    return BuildKit(tree) if tree.find("buildkitd") else Dockerd(tree, BUILDKIT)
