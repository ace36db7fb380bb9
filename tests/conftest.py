"""What all tests share: abilities of the host, golden files, a store, a userland, the program.

Comes in: `@pytest.mark.needs(...)`, `--update-golden`, CI in the environment. Read next:
`support/probes.py`.
"""

import gc
import os
import shutil
import signal
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from minibuild.store.layout import Store
from tests.support import busybox, probes
from tests.support.waiting import PATIENCE_S

CHECKOUT = Path(__file__).parent.parent

# What is made while tests are collected stays: to look for garbage in it takes a third of the time.
gc.disable()

# Tests fork. A process that is forked from one with clients of gRPC must not go on with their work.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# How long an example takes, or making it up, is no outcome: a machine may have much else to do.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--update-golden` writes what was expected anew; look at the difference in git then."""
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files")


def pytest_configure(config: pytest.Config) -> None:
    """Have children begin with the default for signals that are ignored here, as after
    `make test &` and nohup: some tests send them. This process goes on to ignore them; but what is
    handled, by a function that does nothing, execve(2) resets, and what is ignored it does not."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda number, frame: None)


def pytest_collection_finish() -> None:
    """Leave out of each later collection of garbage what is there for good: ten thousand tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)
    gc.enable()


def pytest_report_header() -> str:
    """The account and the abilities, so that a log says what it proves."""
    names = " ".join(name for name in probes.PROBES if probes.able(name))
    return f"account: {probes.account()}; abilities: {names}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what the host cannot do; in CI, fail what a host set up for the tests could do."""
    for mark in item.iter_markers("needs"):
        if unknown := [name for name in mark.args if name not in probes.PROBES]:
            pytest.fail(f"no probe for {unknown}; tests/support/probes.py has them")
        missing = [name for name in mark.args if not probes.able(name)]
        if os.environ.get("CI") and not probes.ACCOUNT_ONLY.issuperset(missing):
            pytest.fail(f"this machine lacks {missing}, which CI has to have")
        if missing:
            pytest.skip(f"needs {', '.join(missing)}")


@pytest.fixture(autouse=True)
def same_process(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test may take the others along into a user namespace: it cannot be left again."""
    before = os.readlink("/proc/self/ns/user")
    yield
    if os.readlink("/proc/self/ns/user") != before:
        pytest.exit(f"{request.node.nodeid} entered a user namespace with all tests in it", 1)


class Golden:
    """Compares text with a file that a person has reviewed."""

    def __init__(self, update: bool) -> None:
        self.update = update

    def __call__(self, path: str | Path, text: str) -> None:
        path = Path(path)
        if self.update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        if not path.exists():
            pytest.fail(f"{path} is missing; make it with --update-golden and review it")
        assert text == path.read_text(), f"differs from {path}; see --update-golden"


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """`golden(path, text)` asserts that the file holds the text."""
    return Golden(request.config.getoption("--update-golden"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    opened = Store(str(tmp_path / "store"))
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def busybox_rootfs(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A root filesystem as a directory, owned by this account. Read it only: tests share it."""
    binary = busybox.find()
    if binary is None:
        pytest.skip("needs a static busybox")
    folder = str(tmp_path_factory.mktemp("busybox") / "rootfs")
    busybox.write_tree(binary, folder)
    return folder


@pytest.fixture(scope="session")
def busybox_tar(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same root filesystem as a tar."""
    binary = busybox.find()
    if binary is None:
        pytest.skip("needs a static busybox")
    path = str(tmp_path_factory.mktemp("busybox") / "busybox.tar")
    busybox.write_tar(binary, path)
    return path


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a short name, for sockets: those of pytest are too deep for one."""
    with tempfile.TemporaryDirectory(prefix="mb-", dir="/tmp") as folder:
        yield Path(folder)


class Cli:
    """The installed `minibuild` with a store of its own."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.program = os.path.join(sysconfig.get_path("scripts"), "minibuild")
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/nonexistent"),
            "LC_ALL": "C.UTF-8",
            "MINIBUILD_ROOT": root,
        }

    def start(
        self, *arguments: str, env: Mapping[str, str] | None = None, cwd: str | None = None
    ) -> subprocess.Popen[str]:
        """Start it, in a process group of its own, with its output in pipes."""
        return subprocess.Popen(
            [self.program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd=cwd,
            env={**self.environment, **(env or {})},
            start_new_session=True,
        )

    def __call__(
        self,
        *arguments: str,
        code: int = 0,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end; another exit code than `code` fails the test with all output."""
        process = self.start(*arguments, env=env, cwd=cwd)
        stdout, stderr = process.communicate(timeout=PATIENCE_S)
        if process.returncode != code or "Traceback (most recent call last)" in stderr:
            pytest.fail(
                f"minibuild {' '.join(arguments)} ended with {process.returncode}, not {code}\n"
                f"--- stdout\n{stdout}\n--- stderr\n{stderr}",
                pytrace=False,
            )
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)

    def has_busybox(self, store: str) -> None:
        """Begin with a copy of `busybox_store`, which is the quickest way to have the image."""
        shutil.copytree(store, self.root)


@pytest.fixture(scope="session")
def busybox_store(tmp_path_factory: pytest.TempPathFactory, busybox_tar: str) -> str:
    """A store with busybox:latest. Copy it: tests share it."""
    root = str(tmp_path_factory.mktemp("busybox-store") / "root")
    Cli(root)("image", "import", busybox_tar, "busybox:latest")
    return root


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    """`cli("build", ...)` runs the installed program with a fresh store; the store goes after.

    Rootless stores hold files of ids that only the user namespace can remove, so an ordinary
    `rm` may leave some; the folder of the whole test run is removed by whoever made it.
    """
    command = Cli(str(tmp_path / "minibuild-root"))
    if not os.access(command.program, os.X_OK):
        pytest.fail("minibuild is not installed in this environment: run make test, or .ci/setup")
    yield command
    shutil.rmtree(command.root, ignore_errors=True)
