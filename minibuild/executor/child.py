"""The process of a step, from its birth to its program.

Comes in: the descriptors of a request, in a process that the step server has cloned into new
namespaces, just now or before there was a request. Goes out: never; it executes the program, or
tells the executor why it cannot. The process is number 1 of its pid namespace and stays so:
orphans become its children, and when it ends the kernel kills every other process of the step.
Read next: `rootfs`, then `program`.
"""

import os
import signal
import stat
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from minibuild.errors import BuildError, DefinitionError, HostError, os_errors_as
from minibuild.executor import program
from minibuild.executor.api import Step
from minibuild.executor.rootfs import Rootfs
from minibuild.executor.system_mounts import SystemMounts
from minibuild.executor.users import ProcessUser, lookup_user
from minibuild.executor.wire import Failed, Request, Watched, pack, unpack
from minibuild.linux import capability_sets, owner, syscalls, unotify
from minibuild.linux.channel import Channel, close_all
from minibuild.linux.dispositions import restore_ignored_by_python
from minibuild.linux.syscalls import AT_FDCWD
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


_NOT_RECORDED = b"minibuild: one id, and no way here to record owners: all files will be root's%b\n"


def run(
    prepare: Callable[[], SystemMounts], receive: Callable[[], RequestFiles | None]
) -> NoReturn:
    """Make what can be made ahead, receive a step (None: none comes), and execute its program."""
    system: SystemMounts | OSError
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

    answer(given, start)


def answer(given: RequestFiles, start: Callable[[Request, Channel], NoReturn]) -> NoReturn:
    """Become the program of a step by `start`, or say why that cannot be."""
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
        channel.send(pack(Failed(type(error).__name__, error.message, error.hint)))
    except OSError as error:
        hint = getattr(error, "hint", "") or "`minibuild doctor` checks this machine"
        channel.send(pack(Failed("HostError", f"cannot set up the step: {error}", hint)))
    except BaseException as error:
        what = f"{type(error).__name__}: {error}"
        channel.send(pack(Failed("HostError", f"cannot set up the step: {what}", "")))
    finally:
        os._exit(code)


def _start(request: Request, system: SystemMounts, channel: Channel, gate: int) -> NoReturn:
    step = request.step
    if step.limits:
        # Now: once inside the rootfs no module of ours can be loaded. The same goes for others.
        from minibuild.executor import limits

        limits.apply(step.limits)
    if step.tty:
        from minibuild.executor import terminal
    syscalls.sethostname(step.hostname)
    if step.network == "none":
        from minibuild.executor.loopback import bring_up

        bring_up()
    rootfs = Rootfs(request, system)
    rootfs.open_mounts()
    if gate >= 0 and not os.read(gate, 1):
        os._exit(1)  # The builder is gone.
    rootfs.mount_root()
    # Before anything is mounted on /etc, as in BuildKit.
    user = lookup_user(rootfs.root_fd, step.user)
    rootfs.enter()
    if step.tty:
        terminal.give(channel, step.tty_size)
    rootfs.close()
    watched = confine(request, channel, rootfs.root_fd)
    # Where owners are recorded, so is that of a directory which is made here.
    enter_directory(step.cwd, user)
    channel.send(pack(rootfs.stubs.ready()), (rootfs.root_fd,))
    single_id = system.common.single_id and not watched  # Else who becomes what is recorded.
    execute(step, user, single_id=single_id)


def execute(step: Step, user: ProcessUser, *, single_id: bool) -> NoReturn:
    """Become the program of a step, with the ids and the home of its user."""
    insecure = step.security == "insecure"
    _become(user, single_id=single_id, keep_capabilities=insecure)
    if insecure:
        # As BuildKit has it: also for a USER that is not root.
        capability_sets.inherit_all()
    os.umask(0o022)
    restore_ignored_by_python()
    env = dict(step.env)
    env.setdefault("HOME", user.home)
    program.execute(step.args, env)


def enter_directory(path: str, user: ProcessUser) -> None:
    """Change to the working directory, made for the user if it is not there, as BuildKit does."""
    path = "/" + path.strip("/")
    what = f"cannot change to the working directory {path}"
    with os_errors_as(DefinitionError, what, "WORKDIR has to name a directory"):
        if not os.path.lexists(path):
            _make_directories(path, user)
        os.chdir(path)


def _make_directories(path: str, user: ProcessUser) -> None:
    """Make what is missing, one name after the other: what is before a `..` has to be there too."""
    directory = ""
    for name in filter(None, path.split("/")):
        directory += f"/{name}"
        if not os.path.lexists(directory):
            os.mkdir(directory, 0o755)
            owner.chown(AT_FDCWD, directory, user.uid, user.gid)


def confine(request: Request, channel: Channel, root_fd: int) -> bool:
    """Give up the privileges and system calls that a step is not to have."""
    watched = bool(request.watch) and _watched(request.watch, channel, root_fd)
    if not watched and request.seccomp:
        # While this process may still do so: it must not set no_new_privs instead, because
        # set-user-id programs are to work in a build.
        unotify.load_filter(request.seccomp)
    if request.step.security != "insecure":
        capability_sets.inherit_none()  # The server has bounded the rest, see `common_setup`.
    return watched


def _watched(program: bytes, channel: Channel, root_fd: int) -> bool:
    """Load a filter that hands calls over; False where another process does so for us already
    (EBUSY)."""
    # Before: to open a file may be a call that is handed over.
    namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        listener = unotify.load_filter_with_listener(program)
    except OSError:
        os.close(namespace)
        return False
    channel.send(pack(Watched()), (listener, root_fd, namespace, 2))
    close_all((listener, namespace))
    return True


def _give_streams(uid: int) -> None:
    """Let the user open its own output by another name, such as /dev/stderr, as runc does."""
    for fd in range(3):
        if stat.S_ISFIFO(os.fstat(fd).st_mode) or os.isatty(fd):
            with suppress(OSError):  # One of another account.
                os.fchown(fd, uid, -1)


def _become(user: ProcessUser, *, single_id: bool, keep_capabilities: bool) -> None:
    """Take the ids of the user. Leaving uid 0 leaves all capabilities (capabilities(7)), or makes
    them ineffective, if they are to be kept."""
    if single_id:
        running = f", and this step runs as 0 instead of {user.uid}" if user.uid else ""
        os.write(2, _NOT_RECORDED % running.encode())
        return
    if user.uid and not owner.maps_single_id():
        _give_streams(user.uid)
    if keep_capabilities:
        capability_sets.keep_through_ids()
    try:
        os.setgroups(user.groups)
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)
    except OSError as error:
        raise HostError(
            f"cannot become {user.uid}:{user.gid}: {error.strerror}",
            hint=owner.beyond_map(user.uid, user.gid),
        ) from error
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
