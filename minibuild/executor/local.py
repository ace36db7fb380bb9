"""The executor: steps on this machine, each run to its end by the thread that asks for it.

Comes in: a `Step`. Goes out: its output in chunks, and a `StepExit`. One poll(2) loop in the
calling thread serves a step: no thread for each stream. The process is started by the step
server (`server`), because only a process with one thread can enter namespaces quickly.
Read next: `running`, `server`, then `child`.
"""

import errno
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from minibuild.errors import MAKE_ROOM, Cancelled, HostError, StoreError, is_full, os_errors_as
from minibuild.executor.api import BindTree, OnOutput, Step, StepExit
from minibuild.executor.common_setup import SCRATCH
from minibuild.executor.listener.calls import can_listen
from minibuild.executor.oom import OomWatch
from minibuild.executor.running import Running
from minibuild.executor.servers import Servers
from minibuild.executor.stubs import remove_stubs
from minibuild.executor.wire import Ready, Request, Watching
from minibuild.linux.channel import close_all
from minibuild.linux.descriptors import closing_fd
from minibuild.linux.device import is_marked
from minibuild.linux.namespace import in_user_namespace, require_namespaces
from minibuild.linux.owner import maps_single_id
from minibuild.linux.recorded import TABLE, Records
from minibuild.linux.resources import UNLIMITED, Resources

if TYPE_CHECKING:
    from minibuild.executor.listener.client import ListenerServer
    from minibuild.executor.seccomp.policy import Watch
    from minibuild.snapshot.unmounts import Unmounts

_BECOMES = (
    r"(?<![\w.-])(su|sudo|su-exec|runuser|setpriv|gosu|doas|chpst|capsh|start-stop-daemon|"
    r"setuidgid|sete?uid|setre(s)?uid)(?![\w.-])"
)
"""Programs that start others as another user, and the calls by which programs do so."""


def start_executor(
    folder: str, resources: Resources = UNLIMITED, unmounts: "Unmounts | None" = None
) -> "LocalExecutor":
    """An executor that keeps its few files in `folder`. `resources` are the limits that steps will
    most likely have. The trees of those that have ended are unmounted at once if there are no
    `unmounts`. Raises `NamespaceRefused` where no step can run."""
    require_namespaces()
    hint = "set MINIBUILD_ROOT to a folder that you may write to, with room for more"
    with os_errors_as(HostError, f"cannot write to {folder}", hint):
        os.makedirs(os.path.join(folder, SCRATCH), exist_ok=True)
    return LocalExecutor(folder, resources, unmounts)


class LocalExecutor:
    """An `api.Executor` over step servers. Safe to use from many threads."""

    def __init__(self, folder: str, resources: Resources, unmounts: "Unmounts | None") -> None:
        self._in_userns = in_user_namespace()
        self._servers = Servers(folder, resources, root=not self._in_userns)
        self._folder = folder
        self._single_id = maps_single_id()
        self._oom = OomWatch()
        self._filters: dict[tuple[bool, Watch], bytes] = {}
        self._unmounts = unmounts
        self._closed = False
        self._lock = threading.Lock()
        self._listeners: ListenerServer | None = None
        if self._single_id and can_listen():
            self._start_listeners()  # Each step needs it, and this process has one thread yet.

    def start(
        self,
        step: Step,
        output: OnOutput,
        stdin: int | None = None,
        *,
        held: bool = False,
        last: bool = False,
    ) -> "LocalStep":
        """See `api.Executor.start`."""
        if self._closed:
            raise Cancelled("the step was cancelled")
        running = Running(output, stdin, lambda fds: self._watch(step, fds))
        request = self.request(step)
        with self._killed_if_failed(running):
            running.start(self._servers.for_step(step), request, held=held, last=last)
        return LocalStep(self, request, running)

    @contextmanager
    def _killed_if_failed(self, running: Running) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            running.kill()
            running.close()
            if isinstance(error, HostError) and _of_a_full_disk(error) and is_full(self._folder):
                what = "no space left in the store to set up the step"
                raise StoreError(what, hint=MAKE_ROOM) from error
            raise

    def wait(self, step: Step, running: Running, cancelled: threading.Event) -> StepExit:
        """See `api.StartedStep.wait`."""
        with self._killed_if_failed(running):
            exited = running.wait(cancelled)
            self._keep_tree(step, running)
        running.close()
        if self._closed or cancelled.is_set():
            raise Cancelled("the step was cancelled")
        if exited is None:
            raise HostError(
                "the step server died", hint="was it killed, or out of memory? See `dmesg`"
            )
        if running.ready and running.ready.stubs:
            _tidy(step, running.ready)
        return self._oom.exit_of(exited)

    def unkept(self, resources: Resources) -> list[str]:
        """See `api.Executor.unkept`."""
        return self._servers.unkept(resources)

    def _keep_tree(self, step: Step, running: Running) -> None:
        if self._unmounts is not None and step.rootfs.is_overlay:
            upper, tree_fd = step.rootfs.upperdir, running.take_tree()
            if upper and tree_fd >= 0:
                self._unmounts.add(upper, tree_fd)

    def request(self, step: Step) -> Request:
        """What a step server is to know of a step, as things are now."""
        program = self._filter(step, "nothing")
        watch = b""
        if self._in_userns and can_listen():
            if self._is_guarded(step):
                watch = self._filter(step, "guarding")
            else:
                looking = self._single_id or _may_see_devices(step)
                watch = self._filter(step, "looking" if looking else "making")
        return Request(step, program, watch)

    def _is_guarded(self, step: Step) -> bool:
        return self._single_id and _has_another_user(step)

    def _filter(self, step: Step, watch: "Watch") -> bytes:
        kind = (step.security != "insecure", watch)
        program = self._filters.get(kind)
        if program is None:
            # Here, while the server prepares itself: it is started before this is needed.
            from minibuild.executor.seccomp import program as seccomp

            program = self._filters[kind] = seccomp.filter_program(
                *seccomp.folders(self._folder),
                sandbox=kind[0],
                single_id=self._single_id,
                optional=self._in_userns,
                watch=watch,
            )
        return program

    def _watch(self, step: Step, fds: list[int]) -> int:
        """Have the calls of a step answered, now that there is one. The descriptor that is returned
        can be read when what answers has left the step's mounts."""
        upper = step.rootfs.upperdir
        records = Records([f"{os.path.dirname(path)}/{TABLE}" for path in step.rootfs.layers])
        watching = Watching(
            records.tables,
            special=records.has_special(),
            rooted=step.security == "insecure",
            guarded=self._is_guarded(step),
        )
        listeners = self._start_listeners()
        end, others_end = os.pipe()
        uppers = [os.open(upper, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)] if upper else []
        listeners.watch(watching, (*fds, others_end, *uppers))
        close_all([others_end, *uppers])
        return end

    def _start_listeners(self) -> "ListenerServer":
        with self._lock:
            if self._listeners is None:
                from minibuild.executor.listener.client import ListenerServer

                self._listeners = ListenerServer.start()
            return self._listeners

    def close(self) -> None:
        """Kill every step and stop the servers."""
        self._closed = True
        self._servers.close(self._unmounts.hand_over() if self._unmounts else [])
        if self._listeners is not None:
            self._listeners.close()


class LocalStep:
    """An `api.StartedStep` of a `LocalExecutor`."""

    __slots__ = ("_executor", "_request", "_running")

    def __init__(self, executor: LocalExecutor, request: Request, running: Running) -> None:
        self._executor = executor
        self._request = request
        self._running = running

    def release(self) -> bool:
        """See `api.StartedStep.release`. The step below may have made devices."""
        if self._executor.request(self._request.step) != self._request:
            return False
        self._running.release()
        return True

    def drop(self) -> None:
        """See `api.StartedStep.drop`."""
        self._running.kill()
        self._running.close()

    def wait(self, cancelled: threading.Event) -> StepExit:
        """See `api.StartedStep.wait`."""
        return self._executor.wait(self._request.step, self._running, cancelled)


def _of_a_full_disk(error: HostError) -> bool:
    """Whether a step may not have been set up because the disk is full. What cannot make its
    directories there, the kernel mounts read-only, or it says that there is no room for a mount."""
    return any(os.strerror(code) in error.message for code in (errno.ENOSPC, errno.EROFS))


def _has_another_user(step: Step) -> bool:
    """Whether processes of the step are known to be another user than root."""
    if step.user.partition(":")[0] not in ("", "0", "root"):
        return True
    return any(re.search(_BECOMES, argument) for argument in step.args)


def _may_see_devices(step: Step) -> bool:
    """Whether there are placeholders in what the step sees, or it speaks of making some."""
    if any("mknod" in argument for argument in step.args):
        return True
    trees = [mount.tree for mount in step.mounts if isinstance(mount, BindTree)]
    return any(is_marked(path) for tree in (step.rootfs, *trees) for path in tree.layers)


def _tidy(step: Step, ready: Ready) -> None:
    """Remove the traces of mount points from the layer that the step wrote."""
    upper = step.rootfs.upperdir
    if not upper:
        return
    with closing_fd(os.open(upper, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
        remove_stubs(fd, ready)
