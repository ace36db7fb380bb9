"""The way of a step to its program.

Comes in: the descriptors of a request, in a process that the step server has cloned into new
namespaces, just now or before there was a request; or in a thread with such namespaces (`thread`).
Goes out: the program, or word to the executor why it cannot start. Its process is number 1 of its
pid namespace: orphans become its children, and when it ends the kernel kills every other process
of the step. Read next: `rootfs`, then `program`.
"""

import os
import select
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from minibuild.errors import BuildError
from minibuild.executor import program
from minibuild.executor.as_user import become, enter_directory
from minibuild.executor.rootfs import Rootfs
from minibuild.executor.system import System
from minibuild.executor.users import lookup_user
from minibuild.executor.wire import Failed, Request, Terminal, Watched, pack, unpack
from minibuild.linux import capability_sets, syscalls, unotify
from minibuild.linux.channel import Channel
from minibuild.linux.dispositions import restore_ignored_by_python
from minibuild.progress.console import visible
from minibuild.startup.tuples import NamedTuple


class RequestFiles(NamedTuple):
    """The descriptors of a request. With a `gate` a step waits there, until what its root
    filesystem stands on is whole."""

    request: int
    stdin: int
    stdout: int
    stderr: int
    channel: Channel
    gate: int = -1


def received(fds: list[int]) -> RequestFiles:
    """The same, as they come with a message."""
    request, stdin, stdout, stderr, control, *gate = fds
    return RequestFiles(request, stdin, stdout, stderr, Channel(control), *gate)


def run(prepare: Callable[[], System], receive: Callable[[], RequestFiles | None]) -> NoReturn:
    """Make what can be made ahead, receive a step (None: none comes), and execute its program."""
    system: System | OSError
    try:
        # If the server dies, so do its steps. Repeated below: changing ids clears it.
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        os.umask(0)
        system = prepare()
    except OSError as error:
        system = error  # Reported as soon as there is an executor to report to.
    given = receive()
    if given is None:
        os._exit(0)

    def start(request: Request, channel: Channel) -> NoReturn:
        if isinstance(system, OSError):
            raise system
        _start(request, system, channel, given.gate)

    os._exit(answer(given, start))


def answer(given: RequestFiles, start: Callable[[Request, Channel], None]) -> int:
    """Have the program of a step started by `start`, which may not come back, or say why that
    cannot be. Returns the exit code of a step without a process."""
    code = 1
    channel = given.channel
    try:
        for number, fd in enumerate((given.stdin, given.stdout, given.stderr)):
            os.dup2(fd, number)
        request = unpack(os.pread(given.request, os.fstat(given.request).st_size, 0))
        assert isinstance(request, Request)
        start(request, channel)
    except program.ProgramError as error:
        # Not the executor's failure but the step's, like a shell that does not find a command.
        code = error.code
        os.write(2, f"{visible(str(error))}\n".encode())
    except BuildError as error:
        _tell(channel, type(error).__name__, error.message, error.hint)
    except OSError as error:
        hint = getattr(error, "hint", "") or "`minibuild doctor` checks this machine"
        _tell(channel, "HostError", f"cannot set up the step: {error}", hint)
    except BaseException as error:
        what = f"{type(error).__name__}: {error}"
        _tell(channel, "HostError", f"cannot set up the step: {what}", "")
    return code


def _tell(channel: Channel, kind: str, message: str, hint: str) -> None:
    with suppress(OSError):  # The other end is closed.
        channel.send(pack(Failed(kind, message, hint)))


def _start(request: Request, system: System, channel: Channel, gate: int) -> NoReturn:
    """Become the program of a step."""
    if request.step.limits:
        # Now: once inside the rootfs no module of ours can be loaded. The same goes for others.
        from minibuild.executor import limits

        limits.apply(request.step.limits)

    def execute(path: str, args: tuple[str, ...], env: dict[str, str]) -> None:
        restore_ignored_by_python()
        os.execve(path, args, env)

    start(request, system, channel, gate, execute)
    os._exit(1)  # The builder is gone.


def start(
    request: Request, system: System, channel: Channel, gate: int, execute: program.Start
) -> None:
    """Set a step up and start its program by `execute`, in a process or a thread of its own. Comes
    back without that if the builder lets a step go that waits."""
    step = request.step
    if step.tty:
        from minibuild.executor import terminal
    syscalls.sethostname(step.hostname)
    if step.network == "none":
        from minibuild.executor.loopback import bring_up

        bring_up()
    rootfs = Rootfs(request, system)
    rootfs.open_mounts()
    if gate >= 0 and not _released(gate, channel):
        return
    # Now: to open a file may be a call that is handed over, and /proc may not be there any more.
    namespace = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    rootfs.mount_root()
    # Before anything is mounted on /etc, as in BuildKit.
    user = lookup_user(rootfs.root_fd, step.user)
    rootfs.enter()
    if step.tty:
        master = terminal.take(*step.tty_size)
        channel.send(pack(Terminal()), (master,))
        os.close(master)
    rootfs.close()
    watched = confine(request, channel, rootfs.root_fd, namespace)
    # Where owners are recorded, so is that of a directory which is made here.
    enter_directory(step.cwd, user)
    env = dict(step.env)
    env.setdefault("HOME", user.home)
    channel.send(pack(rootfs.stubs.ready()), (rootfs.root_fd,))
    insecure = step.security == "insecure"
    single_id = system.ground.single_id and not watched  # Else who becomes what is recorded.
    become(
        user,
        single_id=single_id,
        own_streams=not system.ground.single_id,
        keep_capabilities=insecure,
    )
    if insecure:
        # As BuildKit has it: also for a USER that is not root.
        capability_sets.inherit_all()
    os.umask(0o022)
    program.start(step.args, env, execute)


def _released(gate: int, channel: Channel) -> bool:
    """Wait until the step may go on; False if the builder is gone, or has said to end it."""
    poll = select.poll()
    poll.register(gate, select.POLLIN)
    poll.register(channel.fileno(), select.POLLIN)
    ready = [fd for fd, _ in poll.poll()]
    return channel.fileno() not in ready and bool(os.read(gate, 1))


def confine(request: Request, channel: Channel, root_fd: int, namespace: int) -> bool:
    """Give up the privileges and system calls that a step is not to have. `namespace` is that of
    its mounts."""
    watched = bool(request.watch) and _watched(request.watch, channel, root_fd, namespace)
    os.close(namespace)
    if not watched and request.seccomp:
        # While this process may still do so: it must not set no_new_privs instead, because
        # set-user-id programs are to work in a build.
        unotify.load_filter(request.seccomp)
    if request.step.security != "insecure":
        capability_sets.inherit_none()  # The server has bounded the rest, see `ground`.
    return watched


def _watched(program: bytes, channel: Channel, root_fd: int, namespace: int) -> bool:
    """Load a filter that hands calls over; False where another process does so for us already
    (EBUSY)."""
    try:
        listener = unotify.load_filter_with_listener(program)
    except OSError:
        return False
    channel.send(pack(Watched()), (listener, root_fd, namespace, 2))
    os.close(listener)
    return True
