"""Entering a user namespace, in which an ordinary account may mount and own several ids.

Comes in: an `IdMapPlan`. Goes out: nothing, but afterwards this process is uid 0 with all
capabilities over what it owns, in mount and user namespaces of its own. See user_namespaces(7).

The maps of a namespace with more than one id can only be written from outside, so a process is
started *before* unshare(2), waits for it on a pipe, and writes them or runs the programs that may.
This runs at every start: so the process is a shell, because a fork would have to copy each page
that this one writes to meanwhile, and the caller can do other work until it is done.
Read next: `idmap`, `probe`.
"""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from minibuild.errors import HostError, os_errors_as
from minibuild.linux import capabilities

if TYPE_CHECKING:
    from minibuild.linux.idmap import IdMapPlan, Range

_SHELL = "/bin/sh"
_FIRST_USER_NAMESPACE = "user:[4026531837]"  # PROC_USER_INIT_INO in the kernel's proc_ns.h


class NamespaceRefused(HostError):
    """The host lets this process enter no user namespace that is good for mounting. The process is
    as it was before."""


def needs_user_namespace() -> bool:
    """Whether this process lacks what a build needs and has to enter a user namespace first.

    The capabilities are asked, not the user id: root in a container may have few of them.
    """
    return os.geteuid() != 0 or not capabilities.has(capabilities.BUILDER)


def require_namespaces() -> None:
    """Raise `NamespaceRefused` if this process may make no namespaces, nor enter a user namespace
    for that."""
    if not needs_user_namespace():
        return
    code = errno_of_user_namespace() or errno.EPERM
    raise NamespaceRefused(
        f"a RUN needs namespaces of its own, and this host refuses them: {os.strerror(code)}",
        hint=advice(code),
    )


def _may_enter_a_useless_one() -> bool:
    """Whether AppArmor may let this process enter a user namespace, and then mount nothing there.
    By then it could not go back."""
    from minibuild.linux.descriptors import read_text

    return read_text("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").strip() == "1"


def errno_of_user_namespace() -> int:
    """0 if a process may enter a user namespace and mount there, else why not."""
    from minibuild.linux import syscalls

    pid = os.fork()
    if pid == 0:
        try:
            syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
            syscalls.mount("", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
        except OSError as error:
            os._exit(error.errno or 255)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def in_user_namespace() -> bool:
    """Whether this process lives in any user namespace but the machine's first.

    Not to be seen from its id map, which may be the identity: but the first one has a fixed inode.
    """
    try:
        return os.readlink("/proc/self/ns/user") != _FIRST_USER_NAMESPACE
    except FileNotFoundError:
        raise HostError("/proc is not mounted", hint="mount -t proc proc /proc") from None


def enter_user_namespace(plan: "IdMapPlan", meanwhile: Callable[[], object] = lambda: None) -> None:
    """Enter a new user namespace with these maps, and a new mount namespace owned by it.

    While other processes write the maps, `meanwhile` is called: it may read what this account may
    read, but has no privileges yet. The process must have a single thread. Raises
    `NamespaceRefused` if the host forbids it, and `HostError` if it allows it and the maps are
    wrong.
    """
    from minibuild.linux import syscalls

    if _may_enter_a_useless_one() and (code := errno_of_user_namespace()):
        raise NamespaceRefused("AppArmor lets no user namespace mount", hint=advice(code))
    writer = None if plan.way == "single" else _Writer(plan)
    try:
        syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
    except OSError as error:
        if writer is not None:
            writer.abandon()
        raise NamespaceRefused(
            f"cannot enter a user namespace: {error.strerror}", hint=advice(error.errno or 0)
        ) from error
    if writer is None:
        _write_single(plan)
    else:
        writer.go()
    meanwhile()
    if writer is not None and (failure := writer.finish()):
        raise HostError(
            f"cannot map subordinate ids: {failure}",
            hint="check this account's lines in /etc/subuid and /etc/subgid, and that newuidmap "
            "and newgidmap are set-user-id root or have file capabilities",
        )
    # What is mounted from here on stays here, and what the host mounts no longer comes in.
    syscalls.mount("", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)


def advice(code: int) -> str:
    """What to do when unshare(2) of a user namespace fails with this errno."""
    from minibuild.linux.advice import user_namespace_advice  # Wanted by failures only.

    return user_namespace_advice(code)


def format_map(ranges: "tuple[Range, ...]") -> str:
    """The text of /proc/PID/uid_map."""
    return "".join(f"{r.inside} {r.outside} {r.size}\n" for r in ranges)


def _write_single(plan: "IdMapPlan") -> None:
    """An unprivileged process may map its own id itself, once it has given up setgroups(2)."""
    from minibuild.linux.descriptors import write_text

    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", format_map(plan.uids)),
        ("gid_map", format_map(plan.gids)),
    ):
        try:
            write_text(f"/proc/self/{name}", text)
        except OSError as error:
            raise HostError(
                f"cannot write the id map of a user namespace: {error.strerror}",
                hint=advice(error.errno or 0),
            ) from error


class _Writer:
    """A process that waits for `go`, then writes the maps of this one; what it says on stderr is
    kept."""

    def __init__(self, plan: "IdMapPlan") -> None:
        wait_fd, self._go_fd = os.pipe()
        self._message_fd, message_fd = os.pipe()
        try:
            start = _fork_writer if plan.way == "direct" else _spawn_helpers
            self._pid = start(plan, wait_fd, message_fd, self._go_fd)
        finally:
            os.close(wait_fd)
            os.close(message_fd)

    def abandon(self) -> None:
        """End the process before it writes."""
        os.close(self._go_fd)
        os.waitpid(self._pid, 0)
        os.close(self._message_fd)

    def go(self) -> None:
        """Let it write."""
        with suppress(BrokenPipeError):  # It ended already; `finish` says why.
            os.write(self._go_fd, b"go\n")
        os.close(self._go_fd)

    def finish(self) -> str:
        """Wait for its end; "" if it went well, else what it said."""
        with os.fdopen(self._message_fd, encoding="utf-8", errors="replace") as file:
            message = "; ".join(file.read().splitlines())
        _, status = os.waitpid(self._pid, 0)
        if status == 0:
            return ""
        return message or f"exit status {os.waitstatus_to_exitcode(status)}"


def _spawn_helpers(plan: "IdMapPlan", wait_fd: int, message_fd: int, _: int) -> int:
    """A shell that runs newuidmap and newgidmap, both at once. Returns its process id."""
    first, second = (
        " ".join(map(str, (helper, os.getpid(), *(number for r in ranges for number in r))))
        for helper, ranges in zip(plan.helpers, (plan.uids, plan.gids), strict=True)
    )
    script = f"read -r go || exit 0; {first} & {second}; code=$?; wait $! && exit $code"
    streams = ((os.POSIX_SPAWN_DUP2, wait_fd, 0), (os.POSIX_SPAWN_DUP2, message_fd, 2))
    with os_errors_as(HostError, f"cannot run {_SHELL}"):
        return os.posix_spawn(_SHELL, [_SHELL, "-c", script], {}, file_actions=streams)


def _fork_writer(plan: "IdMapPlan", wait_fd: int, message_fd: int, go_fd: int) -> int:
    """A fork, which keeps the capabilities of this process. Returns its process id."""
    parent = os.getpid()
    if pid := os.fork():
        return pid
    try:
        # Without this copy the end of the pipe never comes when the parent gives up.
        os.close(go_fd)
        os.dup2(message_fd, 2)
        if os.read(wait_fd, 1):
            from minibuild.linux.descriptors import write_text

            write_text(f"/proc/{parent}/uid_map", format_map(plan.uids))
            write_text(f"/proc/{parent}/gid_map", format_map(plan.gids))
        os._exit(0)
    except BaseException as error:
        os.write(2, str(error).encode())
        os._exit(1)
