"""What overlayfs says of layers that steps wrote, one after the other and at once.

    python -m tests.executor.in_use FOLDER   writes names and what was found, a line each

In a process of its own, which an account can be given.
"""

import errno
import os
import shutil
import signal
import sys
import tempfile
import threading
from contextlib import suppress

from minibuild.errors import BuildError
from minibuild.executor.local import LocalExecutor, start_executor
from minibuild.linux import syscalls
from minibuild.linux.idmap import plan_id_maps
from minibuild.linux.namespace import enter_user_namespace, in_user_namespace, needs_user_namespace
from minibuild.linux.root_mount import contain_mounts
from minibuild.snapshot.api import Mount
from minibuild.snapshot.unmounts import Unmounts
from tests.executor.steps import sh
from tests.support import busybox

SCRIPT = "touch /x; chown 1500 /x; readlink /proc/self/ns/mnt"


def delay(namespace: str) -> None:
    """Stop the processes of ours in a mount namespace for a while: what answers calls of a step."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            program = os.readlink(f"/proc/{name}/exe")
            if os.readlink(f"/proc/{name}/ns/mnt") == namespace and "python" in program:
                os.kill(int(name), signal.SIGSTOP)
                threading.Timer(0.3, os.kill, (int(name), signal.SIGCONT)).start()


class Layers:
    """Layers in a folder that steps write, one after the other."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._mark = ("userxattr",) if in_user_namespace() else ()
        binary = busybox.find()
        assert binary is not None
        busybox.write_tree(binary, f"{folder}/base")
        os.mkdir(f"{folder}/merged")

    def written(
        self, executor: LocalExecutor, name: str, script: str = SCRIPT, shared: str = ""
    ) -> str:
        """The path of a layer, after a step has written it. It finds the folder `shared` at /s."""
        for directory in (name, f"{name}-work"):
            os.mkdir(f"{self.folder}/{directory}")
        rootfs = Mount(("base",), name, f"{name}-work", self._mark, self.folder)
        step = executor.start(sh(SCRIPT)._replace(rootfs=rootfs), lambda *_: None)
        assert step.wait(threading.Event()).code == 0
        return f"{self.folder}/{name}"

    def in_use(self, layer: str) -> bool:
        """Whether a mount has this upperdir. With `index=on` the kernel allows no second one."""
        os.chdir(self.folder)
        work = tempfile.mkdtemp(dir=self.folder)  # With an index it belongs to one upperdir.
        options = ("lowerdir=base", f"upperdir={layer}", f"workdir={work}", "index=on", *self._mark)
        try:
            syscalls.mount("overlay", "merged", "overlay", 0, ",".join(options))
        except OSError as error:
            assert error.errno == errno.EBUSY
            return True
        syscalls.umount("merged", 0)
        return False


def together(layers: Layers, executor: LocalExecutor) -> None:
    """Two steps that wait for each other, and look at files meanwhile."""
    shared = f"{layers.folder}/shared"
    os.mkdir(shared)
    for turn in range(2):
        scripts = [
            f"touch /s/{mine}; until [ -e /s/{other} ]; do :; done; chown 7 /s/{mine}"
            for mine, other in ((f"{turn}-0", f"{turn}-1"), (f"{turn}-1", f"{turn}-0"))
        ]
        threads = [
            threading.Thread(target=layers.written, args=(executor, f"{turn}{n}", script, shared))
            for n, script in enumerate(scripts)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def say(when: str, *found: bool) -> None:
    """Write a line."""
    sys.stdout.write(f"{when}: {' '.join(map(str, found))}\n")


def main(folder: str) -> None:
    """Say what is in use, and when."""
    if needs_user_namespace():
        enter_user_namespace(plan_id_maps())
    syscalls.unshare(syscalls.CLONE_NEWNS)
    contain_mounts()
    layers, lock = Layers(folder), f"{folder}/lock"
    plain = start_executor(f"{folder}/run")
    say("nothing is kept", layers.in_use(layers.written(plain, "one")))
    plain.close()
    unmounts = Unmounts(lock)
    executor = start_executor(f"{folder}/run", unmounts=unmounts)
    two, three = layers.written(executor, "two"), layers.written(executor, "three")
    say("kept", layers.in_use(two), layers.in_use(three))
    unmounts.before_mount([f"{folder}/base", two])
    say("needed", layers.in_use(two), layers.in_use(three))
    together(layers, executor)
    executor.close()
    Unmounts(lock).before_mount([])
    say("at the end, after another has waited", layers.in_use(three))
    for name in os.listdir(folder):
        shutil.rmtree(f"{folder}/{name}", ignore_errors=True)  # Workdirs cannot be read outside.


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except BuildError as error:
        sys.exit(f"{error.message} ({error.hint})")
