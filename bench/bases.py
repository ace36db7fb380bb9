"""What the workloads start from: a small userland, a Debian, and an image in a registry.

Comes in: a folder. Goes out: OCI archives, made once for a session, and for W8 a registry that
runs as long as it is needed. Nothing of the making is timed.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from bench.builders import Minibuild, Order
from bench.contents import tree, write
from bench.measure import apart
from tests.support import busybox

_DEBIAN = "bookworm"
_PULLED_FILES = 28_000
_REGISTRY_UP_S = 10


class Unavailable(Exception):
    """This machine lacks a program that the base image needs."""


class Base(NamedTuple):
    """An OCI archive and its name; or an image in a registry, which has no archive. `files` is a
    folder with what the image holds, if the limit of a pull is to be measured with it."""

    tag: str
    archive: str = ""
    files: str = ""


def _call(argv: list[str], env: Mapping[str, str]) -> None:
    done = subprocess.run(argv, env={**os.environ, **env}, capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(f"{argv[0]}: {done.stderr.strip()[-400:]}")


def _archive(rootfs: str, tag: str, folder: str) -> str:
    """The rootfs (a tar) as an image, as an archive."""
    made = Minibuild()
    program, store = made.build(Order("", ""))[0], os.path.join(folder, "store")
    env, out = made.environment(store), os.path.join(folder, "base.tar")
    _call([program, "image", "import", "-q", rootfs, tag], env)
    _call([program, "image", "save", "--format=oci", "-o", out, tag], env)
    return out


def make_busybox(folder: str) -> Base:
    """One static program under many names. Raises `Unavailable`."""
    binary = busybox.find()
    if binary is None:
        raise Unavailable("there is no static busybox: install busybox-static")
    rootfs, tag = os.path.join(folder, "rootfs.tar"), "localhost/bench-busybox:latest"
    busybox.write_tar(binary, rootfs)
    return Base(tag, _archive(rootfs, tag, folder))


def make_debian(folder: str, rootfs: str = "") -> Base:
    """A Debian of its essential packages and apt, from the mirror of this machine; or a tar of
    one."""
    tag = "localhost/bench-debian:latest"
    if not rootfs:
        if not shutil.which("mmdebstrap"):
            raise Unavailable("there is no mmdebstrap: install it, or leave out W9")
        rootfs = os.path.join(folder, "rootfs.tar")
        _call(["mmdebstrap", "--variant=apt", "--quiet", _DEBIAN, rootfs], {})
    return Base(tag, _archive(rootfs, tag, folder))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _registry(folder: str) -> Iterator[str]:
    """A registry on loopback; yields its address."""
    program = shutil.which("docker-registry") or shutil.which("registry")
    if program is None or not shutil.which("skopeo"):
        raise Unavailable("W8 needs docker-registry and skopeo")
    address, config = f"127.0.0.1:{_free_port()}", os.path.join(folder, "registry.yml")
    write(
        config,
        f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {folder}/blobs\n"
        f"http:\n  addr: {address}\nlog:\n  level: error\n",
    )
    with open(os.path.join(folder, "registry.log"), "wb") as log:
        server = subprocess.Popen([program, "serve", config], stdout=log, stderr=log)
    try:
        _wait_for(address)
        yield address
    finally:
        server.terminate()
        server.wait()


def _wait_for(address: str) -> None:
    host, _, port = address.partition(":")
    give_up = time.monotonic() + _REGISTRY_UP_S
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > give_up:
                raise Unavailable(f"the registry does not answer at {address}") from None
            time.sleep(0.05)


@contextmanager
def pulled_image(folder: str, small: Base, scale: float) -> Iterator[Base]:
    """An image of 28,000 files in one layer, in a registry."""
    context, out = os.path.join(folder, "context"), os.path.join(folder, "image.tar")
    write(f"{context}/Dockerfile", f"FROM {small.tag}\nCOPY opt /opt\n")
    files = int(_PULLED_FILES * scale)
    apart(lambda: tree(f"{context}/opt", files, seed=8, sizes=(4096, 24_000)))
    made, store = Minibuild(), os.path.join(folder, "store")
    _call(made.load(store, small.archive, small.tag), made.environment(store))
    _call(made.build(Order(store, context, out)), made.environment(store))
    with _registry(folder) as address:
        tag = f"{address}/bench/image:latest"
        copy = ["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci-archive:{out}"]
        _call([*copy, f"docker://{tag}"], {})
        yield Base(tag, files=f"{context}/opt")


class Bases:
    """The base images of a session, made when the first workload asks."""

    def __init__(self, folder: str, scale: float) -> None:
        self._folder = folder
        self._scale = scale
        self._made: dict[str, Base] = {}

    @contextmanager
    def base(self, name: str) -> Iterator[Base]:
        """The base of that name, for as long as the block runs. Raises `Unavailable`."""
        if name == "registry":
            with pulled_image(self._place(name), self._kept("busybox"), self._scale) as image:
                yield image
            return
        yield self._kept(name)

    def _kept(self, name: str) -> Base:
        if name not in self._made:
            make = {"busybox": make_busybox, "debian": make_debian}[name]
            self._made[name] = make(self._place(name))
        return self._made[name]

    def _place(self, name: str) -> str:
        folder = os.path.join(self._folder, f"base-{name}")
        os.makedirs(folder, exist_ok=True)
        return folder
