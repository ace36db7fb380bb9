"""What recorded owners cost a step: the same steps of root and of an account, in turns.

    python bench/owner_cost.py [ROUNDS [ACCOUNT]]

Run it as root, with a static busybox. The account is `nobody`, which has a single id: its steps
have calls answered by a listener. One with subordinate ids has a user namespace and no listener.
Each has a process of its own, which is asked for one step after the other. The times are those of
the executor, without what a build does besides.
"""

import os
import pickle
import pwd
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from typing import IO

from minibuild.executor.api import Step
from minibuild.executor.local import LocalExecutor, start_executor
from minibuild.linux.idmap import plan_id_maps
from minibuild.linux.namespace import (
    enter_user_namespace,
    in_user_namespace,
    needs_user_namespace,
)
from minibuild.linux.recorded import TABLE, Records
from minibuild.snapshot.api import Mount
from tests.support import busybox

FILES = 5000
STEPS = {
    "app: starts": "i=0; while [ $i -lt 300 ]; do /bin/true; i=$((i+1)); done",
    "app: reads": "for i in 1 2 3; do cat /files/*/* > /dev/null; done",
    "app: writes": "mkdir /tmp/a; cd /tmp/a; for i in $(seq 1000); do echo >$i; done; rm -r /tmp/a",
    "starts": "i=0; while [ $i -lt 300 ]; do /bin/true; i=$((i+1)); done",
    "tar -x": "mkdir /new && tar -xf /files.tar -C /new",
    "find -ls": "find /files -exec ls -ld {} + > /dev/null",
    "ls": "ls -lR /files > /dev/null",
    "chown": "chown -R app:app /files",
    "stats": "for i in 1 2 3; do find /files -mtime +9; done",
    "cp": "cp -a /files /copy",
    "rm": "rm -r /files",
    "chmod": "chmod -R g+w /files",
}
"""Of the programs of busybox: what is done to 5,000 empty files of which each tenth is `app`'s.
Those that begin with the name of a user run as that one."""
_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")


def prepare(folder: str, *, name: str = "base") -> None:
    """The tree on which the steps run."""
    base, binary = f"{folder}/{name}", busybox.find()
    assert binary is not None, "needs a static busybox"
    busybox.write_tree(binary, base)
    with open(f"{base}/etc/passwd", "a") as passwd, open(f"{base}/etc/group", "a") as group:
        passwd.write("app:x:1500:1500::/:/bin/sh\n")
        group.write("app:x:1500:\n")
    records = Records([f"{folder}/{TABLE}"])
    names = []
    for number in range(FILES):
        directory = f"files/{number // 100}"
        os.makedirs(f"{base}/{directory}", exist_ok=True)
        names.append(f"/{directory}/{number}")
        with open(base + names[-1], "x"):
            pass
        if number % 10 == 0:
            give(base + names[-1], records)
    with open(f"{base}/names", "w") as file:
        file.write("".join(f"{name}\n" for name in names))
    subprocess.run(
        [
            "tar",
            "--owner=1500",
            "--group=1500",
            "-cf",
            f"{folder}/files.tar",
            "-C",
            f"{base}/files",
            ".",
        ],
        check=True,
    )
    os.rename(f"{folder}/files.tar", f"{base}/files.tar")


def give(path: str, records: Records) -> None:
    """Make it a file of `app`."""
    try:
        os.chown(path, 1500, 1500)
    except OSError:
        with open(path) as file:
            records.write_open(file.fileno(), 1500, 1500)


def processors_ms() -> float:
    """What this process and all below it have used of the processors."""
    parents, used = {}, {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(name)], used[int(name)] = int(fields[1]), sum(map(int, fields[11:15]))
    below = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return sum(used[pid] for pid in below) * _TICK_MS


def timed(executor: LocalExecutor, folder: str, name: str) -> tuple[float, float]:
    """Milliseconds of one step on a new layer: of time, and of the processors."""
    layer = tempfile.mkdtemp(dir=folder)
    os.chmod(layer, 0o755)
    for part in ("fs", "work"):
        os.mkdir(f"{layer}/{part}")
    options = ("volatile", *(("userxattr",) if in_user_namespace() else ()))
    rootfs = Mount(("base",), f"{layer}/fs", f"{layer}/work", options, folder)
    args = ("/bin/sh", "-ec", STEPS[name])
    step = Step(rootfs, args, (("PATH", "/bin"),), user=name.rpartition(":")[0])
    before = processors_ms()
    start = time.perf_counter()
    begun = executor.start(step, lambda _, said: print(said, file=sys.stderr))
    ended = begun.wait(threading.Event())
    took = time.perf_counter() - start
    assert ended.code == 0, ended
    return took * 1e3, processors_ms() - before


def work(folder: str) -> None:
    """Answer what is asked on stdin, as one of the accounts."""
    if needs_user_namespace():
        enter_user_namespace(plan_id_maps())
    os.umask(0o022)
    prepare(folder)
    executor = start_executor(f"{folder}/run")
    while (name := pickle.load(sys.stdin.buffer)) is not None:
        pickle.dump(timed(executor, folder, name), sys.stdout.buffer)
        sys.stdout.buffer.flush()
    executor.close()


def started(account: str) -> "subprocess.Popen[bytes]":
    """A process of an account that runs steps in a folder of its own."""
    folder = tempfile.mkdtemp(prefix="owner-cost-")
    user = pwd.getpwnam(account)
    os.chown(folder, user.pw_uid, user.pw_gid)
    return subprocess.Popen(
        [sys.executable, os.path.abspath(__file__), "--work", folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path))},
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        cwd=folder,
    )


def ask(stdin: IO[bytes], stdout: IO[bytes], name: str | None) -> tuple[float, float]:
    """One step of the process with these pipes; None ends it."""
    pickle.dump(name, stdin)
    stdin.flush()
    found: tuple[float, float] = pickle.load(stdout) if name is not None else (0.0, 0.0)
    return found


def main(rounds: int, account: str) -> None:
    """Measure in turns, and print."""
    processes = {name: started(name) for name in ("root", account)}
    times: dict[tuple[str, str], list[tuple[float, float]]] = {}
    try:
        for _ in range(rounds):
            for step in STEPS:
                for name, process in processes.items():
                    assert process.stdin is not None and process.stdout is not None
                    took = ask(process.stdin, process.stdout, step)
                    times.setdefault((step, name), []).append(took)
    finally:
        for process in processes.values():
            process.communicate(pickle.dumps(None))
            shutil.rmtree(str(process.args[-1]), ignore_errors=True)  # type: ignore[index]
    print(f"{'':12} {'root':>8} {account:>8} ratio      root {account:>8} ratio   (of processors)")
    for step in STEPS:
        row = f"{step:12}"
        for kind, of in ((0, statistics.median), (1, statistics.mean)):
            root, other = (of([each[kind] for each in times[step, name]]) for name in processes)
            row += f" {root:8.1f} {other:8.1f}  {other / root:4.2f}"
        print(row)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2])
    else:
        words = [*sys.argv[1:], *("15", "nobody")[len(sys.argv) - 1 :]]
        main(int(words[0]), words[1])
