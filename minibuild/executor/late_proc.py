"""/proc for a step whose process is there and waits for it.

Comes in: a thread that is about to start the first process of its pid namespace (`thread`). Goes
out: that process, released, with /proc in its mount namespace. /proc shows a pid namespace, and one
without a process cannot be named. So the process opens a FIFO in the step's /dev first: twice, to
say that it is there, and to wait. See posix_spawn(3), fifo(7), and proc(5) for
`ns/pid_for_children`.

The thread that started the process stands still meanwhile. So this is another one, with a mount
namespace and a working directory of its own.
"""

import _queue
import _thread
import fcntl
import os
import signal
from contextlib import suppress

from minibuild.executor.ground import Ground
from minibuild.executor.sysfiles import proc_of, protect_proc
from minibuild.executor.system import taken
from minibuild.linux import syscalls
from minibuild.linux.channel import close_all
from minibuild.linux.descriptors import closing_fd

START = ".start"
"""The FIFO in /dev."""
_NS_GET_TGID_FROM_PIDNS = 0x8004B707  # linux/nsfs.h: _IOR(0xb7, 7, int), since Linux 6.11.


class Job:
    """A step whose process is being started by the thread `task`, a path below /proc; `dev_fd` is
    its /dev, in that thread. `done` is held until the process is released, or cannot be: then there
    is an `error`, and the process was killed, if there was one."""

    __slots__ = ("dev_fd", "done", "error", "task")

    def __init__(self, task: str, dev_fd: int) -> None:
        self.task = task
        self.dev_fd = dev_fd
        self.error: Exception | None = None
        self.done = _thread.allocate_lock()
        self.done.acquire()


class LateProc:
    """The thread. It does one job after the other."""

    __slots__ = ("_ground", "_home", "_jobs")

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._home = -1
        self._jobs: _queue.SimpleQueue[Job] = _queue.SimpleQueue()
        _thread.start_new_thread(self._work, ())

    def add(self, job: Job) -> None:
        """Have a job done."""
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                self._do(job)
            except Exception as error:
                job.error = error
            finally:
                job.done.release()

    def _do(self, job: Job) -> None:
        fifo = f"/proc/{job.task}/fd/{job.dev_fd}/{START}"
        os.close(os.open(fifo, os.O_RDONLY | os.O_CLOEXEC))  # Waits until the process is there.
        namespace = os.open(f"/proc/{job.task}/ns/pid_for_children", os.O_RDONLY | os.O_CLOEXEC)
        with closing_fd(namespace):
            try:
                self._mount(job.task, namespace)
                os.close(os.open(fifo, os.O_WRONLY | os.O_CLOEXEC))
            except Exception:
                _kill_first(namespace)
                raise
        with suppress(OSError):  # Its program runs, and may have been quicker to remove it.
            os.unlink(fifo)

    def _mount(self, task: str, namespace: int) -> None:
        ground = self._ground
        if self._home < 0:
            syscalls.unshare(syscalls.CLONE_FS | syscalls.CLONE_NEWNS)
            self._home = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        with closing_fd(proc_of(namespace)) as fd:
            syscalls.move_mount(fd, ground.proc)
        protect_proc(ground.proc, ground.proc_readonly, ground.masks)
        mounts = os.open(f"/proc/{task}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        proc = taken(ground.proc)
        for path in (ground.proc_readonly, ground.proc):
            syscalls.umount(path, syscalls.MNT_DETACH)
        syscalls.setns(mounts, syscalls.CLONE_NEWNS)
        try:
            syscalls.move_mount(proc, "/proc")
        finally:
            syscalls.setns(self._home, syscalls.CLONE_NEWNS)
            close_all((mounts, proc))


def _kill_first(namespace: int) -> None:
    """Kill the first process of a pid namespace."""
    os.kill(fcntl.ioctl(namespace, _NS_GET_TGID_FROM_PIDNS, 1), signal.SIGKILL)
