"""BuildKit as a peer, the one in Docker's daemon: dockerd for each store, called by buildx.

Comes in: Docker's programs, in a `Tree`. Goes out: commands and a daemon, with containerd's image
store and the overlayfs snapshotter. buildx is called without `docker` before it, which would cost
each build 80 ms; even so it takes twice as long for nothing as `buildkit`, which is the peer to
prefer. An image that is to stay with it gets its name, and is unpacked even if that is not asked
for. Without an image, its result stays in its cache.
"""

import json
import socket
from collections.abc import Mapping

from bench.builders import Order
from bench.buildkit import as_image
from bench.contents import write
from bench.daemon import Daemon
from bench.tree import Lacking, Tree, says

_OLDEST = 24
"""Docker's first release with the image store of containerd; BuildKit then knows COPY --link."""

_CONFIG = {
    "data-root": "/mnt/data",
    "exec-root": "/mnt/exec",
    "pidfile": "/mnt/docker.pid",
    "hosts": ["unix:///mnt/socket"],
    "features": {"containerd-snapshotter": True},
    "storage-driver": "overlayfs",
    "bridge": "none",
    "iptables": False,
    "ip6tables": False,
}


class Dockerd:
    """dockerd and buildx."""

    def __init__(self, tree: Tree, name: str = "dockerd") -> None:
        """Raises `Lacking`."""
        self.name = name
        self._tree = tree
        self._docker = tree.get("docker")
        self._buildx = tree.get("docker-buildx")
        daemon = tree.says("dockerd", "--version").split()[2].rstrip(",")
        if int(daemon.partition(".")[0]) < _OLDEST:
            raise Lacking(f"dockerd {daemon} is too old: {_OLDEST} is the first that can be used")
        runc = tree.says("runc", "--version").split()[2]
        buildx = says(self._buildx, "version").split()[1]
        self.version = f"BuildKit of dockerd {daemon} with runc {runc}, called by buildx {buildx}"

    def load(self, store: str, archive: str, tag: str) -> list[str]:
        # Under its own name, which the archive knows.
        return [self._docker, "load", "-q", "-i", archive]

    def build(self, order: Order) -> list[str]:
        command = [self._buildx, "build", "--progress=plain", "--network=host"]
        command.append("--provenance=false")
        output = "type=cacheonly"
        if order.output:
            output = f"type=oci,dest={order.output},compression={order.compression}"
        elif order.named:
            output = as_image(order)
        return [*command, f"--output={output}", order.context]

    def environment(self, store: str) -> Mapping[str, str]:
        return {
            "DOCKER_HOST": f"unix://{store}/socket",
            "DOCKER_CONFIG": f"{store}/client",
            "BUILDX_GIT_INFO": "false",
        }

    def start(self, store: str) -> Daemon:
        write(f"{store}/daemon.json", json.dumps(_CONFIG))
        command = self._tree.inside(store, "dockerd", "--config-file=/mnt/daemon.json")
        path = f"{store}/socket"
        return Daemon(command, log=f"{store}/log", answers=lambda: _answers(path))


def _answers(path: str) -> bool:
    """Whether it is up: its socket is there before it is."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(path)
            client.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return client.recv(12).endswith(b"200")
        except OSError:
            return False
