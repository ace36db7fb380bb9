"""BuildKit as a peer: buildkitd for each store, called by buildctl.

Comes in: their programs, in a `Tree`. Goes out: commands and a daemon, with runc and the overlayfs
snapshotter. The base image is a folder that the client offers, as BuildKit keeps no images of its
own. For the same reason an image that is to stay with it gets no name: its layers are packed and
stored, with a config and a manifest, but nothing lists it. Without either, its result stays in its
cache.
Read next: `dockerd`, for the same in Docker.
"""

import json
import os
import socket
from collections.abc import Mapping

from bench.builders import TAG, Order
from bench.daemon import Daemon
from bench.recorded import BUILDKIT
from bench.tree import Tree, says


class BuildKit:
    """buildkitd and buildctl."""

    def __init__(self, tree: Tree) -> None:
        """Raises `Lacking`."""
        self.name = BUILDKIT
        self._tree = tree
        self._client = tree.get("buildctl")
        # NAME PACKAGE VERSION REVISION, the last of which may be missing.
        version = tree.says("buildkitd", "--version").split()[2]
        runc = tree.says("runc", "--version").split()[2]
        says(self._client, "--version")  # It is called from outside of the tree.
        self.version = f"BuildKit {version} (buildkitd with runc {runc}, called by buildctl)"

    def load(self, store: str, archive: str, tag: str) -> list[str]:
        layout = f"{store}/base"
        os.mkdir(layout)
        return ["tar", "-xf", archive, "-C", layout]

    def build(self, order: Order) -> list[str]:
        command = [self._client, "build", "--progress=plain", "--frontend=dockerfile.v0"]
        command += [f"--local=context={order.context}", f"--local=dockerfile={order.context}"]
        command += ["--allow=network.host", "--opt=force-network-mode=host"]
        command += _base(order.store)
        if order.output:
            compression = f"compression={order.compression}"
            command.append(f"--output=type=oci,dest={order.output},{compression}")
        elif order.named:
            command.append(f"--output={as_image(order)}")
        return command

    def environment(self, store: str) -> Mapping[str, str]:
        return {"BUILDKIT_HOST": f"unix://{store}/socket"}

    def start(self, store: str) -> Daemon:
        command = self._tree.inside(
            store, "buildkitd", "--root=/mnt/data", "--addr=unix:///mnt/socket",
            "--oci-worker=true", "--containerd-worker=false", "--oci-worker-snapshotter=overlayfs",
            "--oci-worker-net=host", "--allow-insecure-entitlement=network.host",
        )  # fmt: skip
        path = f"{store}/socket"
        return Daemon(command, log=f"{store}/log", answers=lambda: listens(path))


def as_image(order: Order) -> str:
    """The output that packs and stores an image, and does not unpack it again."""
    attributes = f"compression={order.compression},oci-mediatypes=true,push=false,unpack=false"
    return f"type=image,name={TAG},{attributes}"


def _base(store: str) -> list[str]:
    """The flags that put the folder with the base image in place of its name in a registry."""
    layout = f"{store}/base"
    if not os.path.isdir(layout):
        return []
    with open(f"{layout}/index.json", encoding="utf-8") as file:
        image = json.load(file)["manifests"][0]
    name = image["annotations"]["io.containerd.image.name"].removesuffix(":latest")
    source = f"oci-layout://base@{image['digest']}"
    return [f"--opt=context:{name}={source}", f"--oci-layout=base={layout}"]


def listens(path: str) -> bool:
    """Whether a daemon answers at a socket."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(path) == 0
