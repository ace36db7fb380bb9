"""Steps run by the real executor, as this account or as another one, in a process of their own.

Comes in: cases, and an account. Goes out: for each, how it ended, its output, and what it left in
the upper layer. A process of its own, because an ordinary account enters a user namespace first,
which only a process with one thread can, and never leaves it. It is kept for the next cases: to
start it takes longer than most of them.

    python -m tests.executor.steps FOLDER   reads lists of cases from stdin, writes their outcomes
"""

import atexit
import functools
import os
import pickle
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from minibuild.errors import BuildError
from minibuild.executor.api import BindTree, Step, StepExit
from minibuild.executor.local import LocalExecutor, start_executor
from minibuild.linux import device
from minibuild.linux.idmap import plan_id_maps
from minibuild.linux.namespace import (
    enter_user_namespace,
    in_user_namespace,
    needs_user_namespace,
)
from minibuild.linux.recorded import TABLE, Records
from minibuild.snapshot.api import Mount
from tests.support import busybox, probes

OK = StepExit(0)
SANDBOX_CAPS = "00000000a80425fb"

CHECKOUT = Path(__file__).parent.parent.parent
LINK = stat.S_IFLNK
USERS = (
    "root:x:0:0:root:/root:/bin/sh\napp:x:1500:1600:an app:/home/app:/bin/sh\nbare:x:1501:1600::\n"
)
GROUPS = "root:x:0:\napp:x:1600:\nextra:x:1700:app\nother:x:1701:bare,app\n"


class Case(NamedTuple):
    """A step without its rootfs, and paths to remove from the base or files to put there first.

    A file of mode `LINK` is a symlink, one that says `@char 1:3` is that device, and
    `@readonly` makes the root read-only.
    A mount of `@tree` is one of the directory `tree` made by `files`.
    """

    step: Step
    without: tuple[str, ...] = ()
    files: tuple[tuple[str, str, int], ...] = ()
    cancel_after_s: float = 0


class Left(NamedTuple):
    """An entry of the upper layer."""

    type: str
    mode: int
    uid: int
    gid: int


class Outcome(NamedTuple):
    """How a case ended: an exit, or the name of an error, its message and hint."""

    exit: StepExit | None
    error: tuple[str, str, str]
    out: str
    err: str
    left: dict[str, Left]

    @property
    def names(self) -> list[str]:
        """The paths in the upper layer."""
        return sorted(self.left)


class Account(NamedTuple):
    """Who runs the steps: a word for it, and the command that becomes that account."""

    kind: str
    command: tuple[str, ...]
    uid: int


def sh(script: str, **fields: object) -> Step:
    """A step that runs a shell script."""
    return Step((), ("/bin/sh", "-c", script), **{"env": (("PATH", "/bin"),), **fields})  # type: ignore[arg-type]


def account(kind: str) -> Account:
    """The account of this kind, or a skip: `own`, `subids` or `single`."""
    if kind == "own":
        return Account(kind, (sys.executable,), os.geteuid())
    if not probes.is_root():
        pytest.skip("only root can become another account")
    if not probes.able("userns"):
        pytest.skip("no user namespaces for other accounts: this may be a chroot")
    name = "nobody" if kind == "single" else _name_with_subordinate_ids()
    entry = pwd.getpwnam(name)
    become = ("setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups")
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        # It has to reach the checkout as well, which lies below a 0700 folder on some machines.
        asks = f"import os, sys; os.stat({__file__!r}); sys.exit(sys.version_info < (3, 11))"
        if probes.succeeds(*become, python, "-c", asks):
            return Account(kind, (*become, python), entry.pw_uid)
    pytest.skip(f"{name} cannot reach a Python 3.11 and this checkout; its own run tests the same")


def _name_with_subordinate_ids() -> str:
    with open("/etc/subuid") as file:
        names = [line.partition(":")[0] for line in file]
    for name in names:
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    pytest.skip("no account has subordinate ids")


def environment() -> dict[str, str]:
    """That of a process which imports the tests, also as another account."""
    path = os.pathsep.join([str(CHECKOUT), *(p for p in sys.path if p.endswith("-packages"))])
    return {"PYTHONPATH": path, "PATH": os.environ["PATH"]}


def run(who: Account, cases: Sequence[Case], *, fresh: bool = False) -> list[Outcome]:
    """Run the cases one after the other, each in a fresh upper layer. In a `fresh` process where it
    counts what the kernel killed: it says so for all steps since a process last asked."""
    if not fresh:
        return _runner(who).run(cases)
    runner = Runner(who)
    try:
        return runner.run(cases)
    finally:
        runner.end()


@functools.cache
def _runner(who: Account) -> "Runner":
    runner = Runner(who)
    atexit.register(runner.end)
    return runner


class Runner:
    """A process of an account that runs cases until this process ends."""

    def __init__(self, who: Account) -> None:
        self._folder = tempfile.mkdtemp(prefix="minibuild-steps-")
        os.chown(self._folder, who.uid, -1)
        self._process = subprocess.Popen(
            [*who.command, "-m", "tests.executor.steps", self._folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(),
            cwd=self._folder,
        )

    def run(self, cases: Sequence[Case]) -> list[Outcome]:
        """The outcomes of the cases."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        pickle.dump(list(cases), stdin)
        stdin.flush()
        try:
            found: list[Outcome] = pickle.load(stdout)
        except EOFError:
            _runner.cache_clear()
            pytest.fail(f"what runs the steps ended with {self._process.wait()}")
        return found

    def end(self) -> None:
        """Let the process end."""
        self._process.communicate()
        shutil.rmtree(self._folder, ignore_errors=True)


class Bench:
    """A base and an executor in a folder; used inside the process that runs steps."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        binary = busybox.find()
        assert binary is not None
        busybox.write_tree(binary, self.path("base"))
        for name, text in (("passwd", USERS), ("group", GROUPS)):
            with open(self.path("base", "etc", name), "w") as file:
                file.write(text)
        self.executor: LocalExecutor = start_executor(self.path("run"))

    def path(self, *parts: str) -> str:
        """A path in the folder."""
        return os.path.join(self.folder, *parts)

    def step(self, case: Case) -> Step:
        """The step of a case with what stands for paths replaced by paths."""
        mounts = []
        for mount in case.step.mounts:
            if isinstance(mount, BindTree):
                mount = mount._replace(tree=Mount((self.path("extra", "tree"),)))
            mounts.append(mount)
        readonly = any(name == "@readonly" for name, _, _ in case.files)
        rootfs = self.readonly() if readonly else self.rootfs()
        return case.step._replace(rootfs=rootfs, mounts=tuple(mounts))

    def readonly(self) -> Mount:
        """The base, which cannot be written."""
        self.rootfs()
        options = ("userxattr",) if in_user_namespace() else ()
        return Mount(("extra", "base"), options=options, folder=self.folder)

    def rootfs(self) -> Mount:
        """The base under a fresh upper layer."""
        for name in ("upper", "work"):
            shutil.rmtree(self.path(name), ignore_errors=True)
            os.mkdir(self.path(name))
        with suppress(FileNotFoundError):
            os.unlink(self.path(TABLE))
        options = ("volatile", *(("userxattr",) if in_user_namespace() else ()))
        return Mount(("extra", "base"), "upper", "work", options, self.folder)

    def extra(self, case: Case) -> None:
        """The layer over the base that the case asks for."""
        shutil.rmtree(self.path("extra"), ignore_errors=True)
        os.mkdir(self.path("extra"))
        for name in case.without:
            os.mknod(self.path("extra", name), stat.S_IFCHR, 0)
        for name, text, mode in case.files:
            if name == "@readonly":
                continue
            os.makedirs(os.path.dirname(self.path("extra", name)), exist_ok=True)
            if mode == LINK:
                os.symlink(text, self.path("extra", name))
                continue
            if text.startswith("@char "):
                self.device(name, text.removeprefix("@char "))
                continue
            with open(self.path("extra", name), "w") as file:
                file.write(text)
            os.chmod(self.path("extra", name), mode)

    def device(self, name: str, number: str) -> None:
        """A character device, or what stands for one."""
        major, minor = number.split(":")
        fd = os.open(self.path("extra"), os.O_RDONLY)
        try:
            rdev = os.makedev(int(major), int(minor))
            device.make(fd, name, stat.S_IFCHR, rdev, fd)
        finally:
            os.close(fd)

    def outcome(self, case: Case) -> Outcome:
        """Run one case."""
        self.extra(case)
        streams: dict[int, list[bytes]] = {1: [], 2: []}
        ended, error = None, ("", "", "")
        cancelled = threading.Event()
        if case.cancel_after_s:
            threading.Timer(case.cancel_after_s, cancelled.set).start()
        try:
            ended = self.executor.start(
                self.step(case), lambda stream, data: streams[stream].append(data)
            ).wait(cancelled)
        except BuildError as failed:
            error = (type(failed).__name__, failed.message, failed.hint)
        out, err = (b"".join(streams[n]).decode() for n in (1, 2))
        owners = Records([self.path(TABLE)])
        return Outcome(ended, error, out, err, dict(_left(self.path("upper"), owners)))


def _left(upper: str, owners: Records) -> list[tuple[str, Left]]:
    found = []
    for folder, directories, files in os.walk(upper):
        for name in directories + files:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            kind = {stat.S_IFDIR: "dir", stat.S_IFREG: "file", stat.S_IFLNK: "link"}.get(
                stat.S_IFMT(status.st_mode), "other"
            )
            if kind == "other" and status.st_rdev == 0:
                kind = "whiteout"
            mode = stat.S_IMODE(status.st_mode)
            left = Left(kind, mode, *owners.owner(status, path))
            found.append((os.path.relpath(path, upper), left))
    return found


def main() -> None:
    """The program of the module's docstring."""
    if needs_user_namespace():
        enter_user_namespace(plan_id_maps())
    bench = Bench(sys.argv[1])
    with suppress(EOFError):
        while True:
            cases = pickle.load(sys.stdin.buffer)
            sys.stdout.buffer.write(pickle.dumps([bench.outcome(case) for case in cases]))
            sys.stdout.buffer.flush()
    bench.executor.close()
    for name in ("base", "extra", "upper", "work"):
        shutil.rmtree(bench.path(name), ignore_errors=True)


if __name__ == "__main__":
    # Pickled names have to be those that the reader imports.
    from tests.executor import steps

    steps.main()


def one(who: Account, case: Case | Step) -> Outcome:
    """Run a single case."""
    return run(who, [case if isinstance(case, Case) else Case(case)])[0]


def good(outcome: Outcome) -> Outcome:
    """The same, which has to have gone well."""
    assert outcome.exit == OK, outcome
    return outcome
