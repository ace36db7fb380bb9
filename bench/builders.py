"""Who builds: an adapter for each builder, which says how it is called.

Comes in: a store of the builder's own, a context and what is to become of the result. Goes out:
commands. A new builder is one more class with these methods, or just a command line: `--vs 'CMD'`
takes any, with {context}, {store}, {result}, {output}, {compression} and {tag} filled in, and
`--vs-setup 'CMD'` what puts the base image {base} (an OCI archive) called {tag} into its store.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from bench.daemon import Daemon

TAG = "localhost/bench-result"


class Order(NamedTuple):
    """What to build, and what is to become of it: an image in an archive (`output`), or one in the
    store (`named`), with layers that are compressed so; or nothing that leaves the cache."""

    store: str
    context: str
    output: str = ""
    compression: str = "gzip"
    named: bool = False


class Builder(Protocol):
    """How one builder is called. Stores are empty folders that it may fill."""

    name: str
    version: str
    """What it calls itself."""

    def load(self, store: str, archive: str, tag: str) -> list[str]:
        """The command that puts an image from an OCI archive into the store; may be empty."""
        ...

    def build(self, order: Order) -> list[str]:
        """The command that builds."""
        ...

    def environment(self, store: str) -> Mapping[str, str]:
        """What to add to the environment."""
        ...

    def start(self, store: str) -> Daemon | None:
        """The daemon that serves this store, if it needs one. Raises `Failed`."""
        ...


class Minibuild:
    """The minibuild of this checkout's virtual environment, or another one."""

    def __init__(self, program: str = "", name: str = "minibuild") -> None:
        self.name = self.version = name
        self._program = program or os.path.join(os.path.dirname(sys.executable), "minibuild")

    def load(self, store: str, archive: str, tag: str) -> list[str]:
        return [self._program, "image", "load", "-q", "-t", tag, archive]

    def build(self, order: Order) -> list[str]:
        command = [self._program, "build", "--progress=plain", "--network=host"]
        if order.output or order.named:
            command += ["-t", TAG]
        if order.output:
            command += ["-o", f"type=oci,dest={order.output},compression={order.compression}"]
        elif not order.named:
            command += ["-o", "type=cacheonly"]
        return [*command, order.context]

    def environment(self, store: str) -> Mapping[str, str]:
        return {"MINIBUILD_ROOT": store}

    def start(self, store: str) -> None:
        return None


class Buildah:
    """buildah with the cache of layers on, and without a container runtime (chroot).

    Its cache is made of images, so it makes one even where the result is only to stay there.

    Releases before 1.40 refuse `COPY --link`; Debian's does. Each gets the Dockerfile without the
    flag: the same files, in layers that hang together.
    """

    def __init__(self, program: str = "buildah") -> None:
        self.name = "buildah"
        self.version = _first_line(program, "--version")
        self._program = program

    def load(self, store: str, archive: str, tag: str) -> list[str]:
        # Under its own name, which the archive knows.
        return [*self._start(store), "pull", "-q", f"oci-archive:{archive}"]

    def build(self, order: Order) -> list[str]:
        command = [*self._start(order.store), "build", "--layers", "--isolation=chroot"]
        command += ["--network=host", "--tls-verify=false", "-t", TAG]
        command += ["-f", _without_links(order)]
        if not order.output:
            return [*command, order.context]
        # It builds into its store and exports in a second step: both are the work that is asked.
        push = [*self._start(order.store), "push", f"--compression-format={order.compression}"]
        push += [TAG, f"oci-archive:{order.output}"]
        return ["/bin/sh", "-c", f"{shlex.join([*command, order.context])} && {shlex.join(push)}"]

    def environment(self, store: str) -> Mapping[str, str]:
        return {}

    def start(self, store: str) -> None:
        return None

    def _start(self, store: str) -> list[str]:
        return [
            self._program,
            f"--root={store}/root",
            f"--runroot={store}/run",
            "--storage-driver=overlay",
        ]


class Anyone:
    """A builder that is given as a command line."""

    def __init__(self, command: str, setup: str = "") -> None:
        self.name = self.version = os.path.basename(shlex.split(command)[0])
        self._command = command
        self._setup = setup

    def load(self, store: str, archive: str, tag: str) -> list[str]:
        if not self._setup:
            return []
        words = {"store": store, "base": archive, "tag": tag}
        return ["/bin/sh", "-c", _filled(self._setup, words)]

    def build(self, order: Order) -> list[str]:
        words = {
            "context": order.context,
            "store": order.store,
            "result": "oci" if order.output else "image" if order.named else "cache",
            "output": order.output,
            "compression": order.compression,
            "tag": TAG,
        }
        return ["/bin/sh", "-c", _filled(self._command, words)]

    def environment(self, store: str) -> Mapping[str, str]:
        return {}

    def start(self, store: str) -> None:
        return None


def _without_links(order: Order) -> str:
    """The path of a Dockerfile like the context's, but for `--link`."""
    with open(os.path.join(order.context, "Dockerfile"), encoding="utf-8") as file:
        text = file.read()
    path = os.path.join(order.store, "Dockerfile")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace("COPY --link ", "COPY "))
    return path


def _first_line(program: str, flag: str) -> str:
    """What a program says of itself; its name if it says nothing."""
    try:
        done = subprocess.run([program, flag], capture_output=True, text=True, check=False)
    except OSError:
        return program
    return (done.stdout.splitlines() or [program])[0].split(" (")[0]


def _filled(command: str, words: Mapping[str, str]) -> str:
    for name, value in words.items():
        command = command.replace("{" + name + "}", shlex.quote(value))
    return command
