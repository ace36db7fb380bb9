"""`--load`: the image goes to a container engine that is on this machine.

Comes in: which engine, or none in particular. Goes out: a pipe to its program, which becomes the
destination of one more output, `type=docker`. The program reads what `docker save` would have
written.

It is started before the build, outside of the user namespace that a build without root enters for
good: podman there would believe that it is root, and use another storage. Until the archive
comes it is a process that waits; if none comes, the program is never run.
"""

import os
import select
import signal
import sys
from collections.abc import Mapping

from minibuild.errors import HostError, UsageError
from minibuild.linux import syscalls
from minibuild.linux.dispositions import restore_defaults
from minibuild.session.request import BuildRequest, Output
from minibuild.startup.tuples import NamedTuple


class ContainerEngine(NamedTuple):
    """A container engine: how it loads, and the sockets of its daemon, if it has one."""

    argv: tuple[str, ...]
    sockets: tuple[str, ...] = ()


ENGINES: Mapping[str, ContainerEngine] = {
    "docker": ContainerEngine(
        ("docker", "load"), ("/var/run/docker.sock", "{XDG_RUNTIME_DIR}/docker.sock")
    ),
    "podman": ContainerEngine(("podman", "load")),
    "nerdctl": ContainerEngine(("nerdctl", "load"), ("/run/containerd/containerd.sock",)),
    "ctr": ContainerEngine(("ctr", "images", "import", "-"), ("/run/containerd/containerd.sock",)),
}


class Loader:
    """A program that waits for an archive. Use as `with Loader(...) as loader`, then `finish`."""

    def __init__(self, argv: tuple[str, ...], variables: Mapping[str, str]) -> None:
        self._argv = argv
        self._said = os.memfd_create("said by the engine")
        read_fd, self._fd = os.pipe()
        self._pid = os.fork()
        if not self._pid:
            try:
                os.close(self._fd)
                _become(argv, read_fd, self._said, variables)
            finally:
                os._exit(127)
        os.close(read_fd)

    @property
    def output(self) -> Output:
        """The output that writes into the pipe."""
        return Output("docker", f"/dev/fd/{self._fd}")

    def finish(self) -> str:
        """Wait until the program has read all; returns what it said. Raises `HostError`."""
        self._close()
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        size = os.fstat(self._said).st_size
        text = os.pread(self._said, size, 0).decode(errors="replace").strip()
        if code := os.waitstatus_to_exitcode(status):
            last = (text.splitlines() or [f"it ended with {code}"])[-1]
            raise HostError(
                f"`{' '.join(self._argv)}` did not take the image: {last}",
                hint="is its daemon running, and may you use it? Or write a file: "
                "-o type=docker,dest=image.tar",
            )
        return text

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        if self._pid:
            os.kill(self._pid, signal.SIGTERM)  # Without `finish` the build failed.
            os.waitpid(self._pid, 0)
        os.close(self._said)


def _become(
    argv: tuple[str, ...], read_fd: int, said_fd: int, variables: Mapping[str, str]
) -> None:
    """In the child: be the program once there is something to read. It dies with its parent."""
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGTERM)
    restore_defaults()
    poll = select.poll()
    poll.register(read_fd, select.POLLIN)
    ((_, events),) = poll.poll()
    if events & select.POLLIN:
        for fd, place in ((read_fd, 0), (said_fd, 1), (said_fd, 2)):
            os.dup2(fd, place)
        os.execvpe(argv[0], argv, dict(variables))


def start(word: str, variables: Mapping[str, str]) -> Loader | None:
    """The loader that `--load[=WORD]` asks for; None for `false`. Raises `HostError`."""
    from minibuild.buildflags.attributes import truth

    if word in ENGINES:
        engine = ENGINES[word]
        if not _is_there(engine, variables):
            raise HostError(f"--load={word}: there is no program {engine.argv[0]} on this machine")
    elif truth(word, "load", ENGINES):
        engine = _found(variables)
    else:
        return None
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return Loader(engine.argv, variables)


def _found(variables: Mapping[str, str]) -> ContainerEngine:
    """The first engine whose daemon is there, or that needs none; else one with a program."""
    there = [engine for engine in ENGINES.values() if _is_there(engine, variables)]
    for engine in there:
        own = variables.get("XDG_RUNTIME_DIR", "/nonexistent")
        paths = [path.replace("{XDG_RUNTIME_DIR}", own) for path in engine.sockets]
        named = engine.argv[0] == "docker" and variables.get("DOCKER_HOST")
        if named or not paths or any(map(os.path.exists, paths)):
            return engine
    if there:
        return there[0]  # Its daemon may be elsewhere: a context of docker's says so.
    raise HostError(
        "--load: there is no docker, podman, nerdctl or ctr on this machine",
        hint="without --load the image is kept in minibuild's store: see `minibuild image ls`",
    )


def _is_there(engine: ContainerEngine, variables: Mapping[str, str]) -> bool:
    folders = os.get_exec_path(variables)
    return any(os.access(os.path.join(folder, engine.argv[0]), os.X_OK) for folder in folders)


def with_load(request: BuildRequest, loader: Loader) -> BuildRequest:
    """The request with one more output; an image without another output is kept, too.

    Raises `UsageError` for several platforms: the archive is of one image.
    """
    if len(request.platforms) > 1:
        raise UsageError(
            "--load hands over one image, and these are several platforms",
            hint="build for one with --platform, or use -o type=oci,dest=FILE",
        )
    return request._replace(outputs=(*(request.outputs or (Output("image"),)), loader.output))
