"""What a step costs beyond its program: the executor against the bare system calls, interleaved.

    python bench/step_cost.py [ROUNDS [empty]]

Both run `true` of a static busybox over an overlay mount with `volatile`. The root has the
directories that images have; with `empty` it has the program only, and the executor makes and
removes six mount points in it. "bare" is the least that could be called a step: fork, new mount,
ipc and uts namespaces, the overlay, pivot_root, exec, wait; no pid namespace, no /proc, /dev or
/sys, no filter, no user. Run it as root or through `unshare --map-root-user --mount`; the two
columns come from one run, so compare only them.
"""

import os
import shutil
import statistics
import sys
import tempfile
import threading
import time

from minibuild.executor.api import Step
from minibuild.executor.local import start_executor
from minibuild.linux import syscalls
from minibuild.linux.namespace import in_user_namespace
from minibuild.snapshot.api import Mount

BUSYBOX = "/bin/busybox"


def prepare(folder: str, *, empty: bool = False) -> Mount:
    """A root filesystem of one program, to be mounted."""
    usual = () if empty else ("lower/etc", "lower/dev", "lower/proc", "lower/sys")
    for name in ("lower/bin", "upper", "work", "merged", "run", *usual):
        os.makedirs(os.path.join(folder, name))
    shutil.copy(BUSYBOX, os.path.join(folder, "lower/bin/true"))
    options = ("volatile", *(("userxattr",) if in_user_namespace() else ()))
    return Mount(("lower",), "upper", "work", options, folder)


def renew(folder: str) -> None:
    """Empty the upper layer, as a new snapshot has it."""
    for name in ("upper", "work"):
        path = os.path.join(folder, name)
        shutil.rmtree(path)
        os.mkdir(path)


def bare(folder: str, data: str) -> None:
    """The least that could be called a step."""
    pid = os.fork()
    if pid == 0:
        try:
            flags = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS
            syscalls.unshare(flags)
            syscalls.mount("", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
            os.chdir(folder)
            syscalls.mount("overlay", "merged", "overlay", 0, data)
            os.chdir("merged")
            syscalls.pivot_root(".", ".")
            syscalls.umount(".", syscalls.MNT_DETACH)
            os.chdir("/")
            os.execv("/bin/true", ["true"])
        finally:
            os._exit(99)
    _, status = os.waitpid(pid, 0)
    assert status == 0, status


def main() -> None:
    """Measure and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    folder = tempfile.mkdtemp(prefix="step-cost-")
    rootfs = prepare(folder, empty="empty" in sys.argv)
    executor = start_executor(os.path.join(folder, "run"))
    step = Step(rootfs, ("/bin/true",))
    never = threading.Event()
    times: dict[str, list[float]] = {"bare": [], "executor": []}
    try:
        for number in range(rounds + 5):
            for name in times:
                renew(folder)
                start = time.perf_counter()
                if name == "bare":
                    bare(folder, rootfs.data)
                else:
                    ended = executor.start(step, lambda stream, data: None).wait(never)
                    assert ended.code == 0, ended
                if number >= 5:
                    times[name].append((time.perf_counter() - start) * 1e3)
    finally:
        executor.close()
        shutil.rmtree(folder)
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, found in times.items():
        low, high = min(found), max(found)
        print(f"{name:9} {medians[name]:6.2f} ms  ({low:.2f} to {high:.2f})")
    print(f"ratio     {medians['executor'] / medians['bare']:6.2f}")


if __name__ == "__main__":
    main()
