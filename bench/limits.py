"""What the machine alone takes: the least work of the same kind, without a builder.

Comes in: a workload's context. Goes out: seconds with a word for what they are. A builder can come
near a limit and not below it, unless it finds a way not to do the work at all; a limit that is
passed is no error of measurement but a reason to write down which work was saved.
"""

import ctypes
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from bench.measure import apart
from bench.workloads import LINK, WORK, Workload

_BLOCK = 1 << 20
_IMPORTS = "argparse, json, sqlite3, hashlib, ctypes, re, threading, struct"
_STEP_FLAGS = 0x00020000 | 0x20000000  # CLONE_NEWNS, CLONE_NEWPID


class Limit(NamedTuple):
    """Seconds for a phase, and what was done in them."""

    phase: str
    what: str
    seconds: float


def timed(action: Callable[[], object]) -> float:
    """Seconds of one run."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _best(action: Callable[[], object], runs: int = 3) -> float:
    return min(timed(action) for _ in range(runs))


def _call(*argv: str) -> None:
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


def python_start() -> float:
    """The interpreter with the modules that no builder in Python can do without."""
    return _best(lambda: _call(sys.executable, "-c", f"import {_IMPORTS}"), 5)


def _files(top: str) -> Iterator[str]:
    for folder, _, names in os.walk(top):
        for name in names:
            yield os.path.join(folder, name)


def _walk(top: str) -> float:
    """scandir and lstat of everything."""

    def walk() -> None:
        for path in _files(top):
            os.lstat(path)

    return _best(walk)


def walk_limit(top: str) -> float:
    """What a build must take that finds nothing new in a context."""
    return python_start() + _walk(top)


def _steps(count: int) -> float:
    """fork, unshare, one mount and exec, `count` times: no overlay, nothing to wait for."""
    libc = ctypes.CDLL(None, use_errno=True)

    def step() -> None:
        pid = os.fork()
        if pid == 0:
            libc.unshare(_STEP_FLAGS)
            libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None)  # MS_REC | MS_PRIVATE
            libc.mount(b"proc", b"/proc", b"proc", 0, None)
            try:
                os.execv("/bin/true", ["true"])
            finally:
                os._exit(127)
        os.waitpid(pid, 0)

    def steps() -> None:
        for _ in range(count):
            step()

    return timed(steps)


def _copy(top: str, place: str) -> float:
    target = os.path.join(place, f"cp{time.monotonic_ns()}")
    return timed(lambda: _call("cp", "-a", top, target))


def _tar(top: str, place: str) -> float:
    out = os.path.join(place, f"tar{time.monotonic_ns()}")
    return timed(lambda: _call("tar", "-C", top, "-cf", out, "."))


def _compress(top: str, kind: str) -> float:
    """Read and compress on all processors, in blocks, and keep nothing."""
    if kind == "zstd":
        return timed(lambda: _zstd(top))
    lock, left = threading.Lock(), list(_files(top))

    def work() -> None:
        from isal import isal_zlib

        while True:
            with lock:
                if not left:
                    return
                path = left.pop()
            with open(path, "rb", buffering=0) as file:
                while block := file.read(_BLOCK):
                    isal_zlib.compress(block, 1)

    def both() -> None:
        threads = [threading.Thread(target=work) for _ in range(os.cpu_count() or 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return timed(both)


def _zstd(top: str) -> None:
    import zstandard

    stream = zstandard.ZstdCompressor(level=3, threads=os.cpu_count() or 1).compressobj()
    for path in _files(top):
        with open(path, "rb", buffering=0) as file:
            while block := file.read(_BLOCK):
                stream.compress(block)
    stream.flush()


def _stages(scale: float) -> float:
    """The four programs of W6 side by side."""
    program = f"sleep {2 * scale:g}; {WORK % int(300 * scale)}"

    def four() -> None:
        shells = [
            subprocess.Popen(["busybox", "sh", "-c", program], stdout=subprocess.DEVNULL)
            for _ in range(4)
        ]
        for shell in shells:
            shell.wait()

    return timed(four)


def _pull(files: str, place: str) -> float:
    """gunzip of a layer by ISA-L with its sha256, and writing what is in it. No network."""
    import hashlib

    from isal import igzip

    library: Any = igzip
    tar, packed = os.path.join(place, "layer.tar"), os.path.join(place, "layer.tar.gz")
    _call("tar", "-C", files, "-cf", tar, ".")
    with open(tar, "rb") as plain, library.IGzipFile(packed, "wb", compresslevel=1) as out:
        while block := plain.read(_BLOCK):
            out.write(block)

    def gunzip() -> None:
        sha = hashlib.sha256()
        with library.IGzipFile(packed, "rb") as layer:
            while block := layer.read(_BLOCK):
                sha.update(block)

    return timed(gunzip) + _copy(files, place)


def limits(
    workload: Workload, context: str, place: str, scale: float, files: str = ""
) -> list[Limit]:
    """The limits of a workload's phases, measured now. `place` is a folder to write to, `files`
    what a base image holds."""
    read, write = os.pipe()

    def measure() -> None:
        with open(write, "w", encoding="utf-8") as file:
            json.dump(_limits(workload.name, context, place, scale, files), file)

    try:
        # Apart: compressing takes memory, and that of this process counts for what it starts.
        apart(measure)
    finally:
        os.close(write)
    with open(read, encoding="utf-8") as file:
        found = [Limit(*words) for words in json.load(file)]
    return [limit for limit in found if limit.phase in workload.phases]


def _limits(name: str, context: str, place: str, scale: float, files: str) -> list[Limit]:
    start = python_start()
    found = [Limit("noop", "python and its modules", start)]
    steps = {"W1": 3, "W2": int(20 * scale), "W7": int(100 * scale)}.get(name)
    if steps is not None:
        what = f"python, {steps} x fork, unshare, mount, exec"
        cold = Limit("cold", what, start + _steps(steps))
        return [cold, *found, *([cold._replace(phase="cold+image")] if name == "W2" else [])]
    if name == "W3":
        return _one_copy(context, place, start)
    if name in ("W4", "W4b"):
        return _links(context, place, start)
    if name == "W5":
        return [
            Limit("cold+oci", "isal on all processors", _compress(context, "gzip")),
            Limit("cold+oci-zstd", "zstd on all processors", _compress(context, "zstd")),
        ]
    if name == "W6":
        return [Limit("cold", "the programs alone", _stages(scale)), *found]
    if name == "W8" and files:
        return [Limit("cold", "gunzip, sha256, cp -a", _pull(files, place)), *found]
    return found


def _one_copy(context: str, place: str, start: float) -> list[Limit]:
    """W3: the layer is made of the context, and nobody reads what is in it."""
    walk, tar = start + _walk(context), start + _tar(context, place)
    packed = tar + _compress(context, "gzip")
    whole = ("cold+oci", "change+oci", "cold+image")
    return [
        Limit("noop", "python and a walk", walk),
        Limit("noop+oci", "the same", walk),
        *(Limit(phase, "python, tar", tar) for phase in ("cold", "change")),
        *(Limit(phase, "python, tar, gzip", packed) for phase in whole),
    ]


def _links(context: str, place: str, start: float) -> list[Limit]:
    """W4: a step reads the files, so there is a tree; each link is a layer of an image."""
    walk, copy = start + _walk(context), _copy(context, place)
    one = _compress(os.path.join(context, LINK), "gzip")
    return [
        Limit("noop", "python and a walk", walk),
        Limit("cold", "cp -a", copy),
        Limit("change", "python and a walk", walk),
        Limit("cold+image", "cp -a, gzip", copy + _compress(context, "gzip")),
        Limit("change+image", "python, a walk, gzip of one link", walk + one),
    ]
