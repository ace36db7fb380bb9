"""Copying in another process: the same outcome as here, whatever happens to it."""

import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minibuild.errors import Cancelled, DefinitionError, HostError
from minibuild.fileop import share
from minibuild.fileop.api import Hooks, SourceTree
from minibuild.fileop.checksum import content_digests
from minibuild.fileop.copy import CopyJob, CopyResult, CopyTrees, Form
from minibuild.fileop.copy import copy as do
from minibuild.fileop.dest import Unplannable
from minibuild.graph.op import Copy
from minibuild.oci.content import ContentStore
from minibuild.solver.copiers import Copiers, share_copy
from minibuild.solver.copy_server import CopyServer
from minibuild.store.layout import Store
from tests.fileop.trees import make
from tests.support.descriptors import open_descriptors, opened_since
from tests.support.waiting import PATIENCE_S

ME = f"{os.getuid()}:{os.getgid()}"
TREE = {"a": "a" * 5000, "big": "b" * 200_000, "d/x": "x", "d/same": "= a", "d/up": "-> ../a"}
NO_HOOKS = Hooks()
COPY = Copy(3, (".",), "/", chown=ME)


@pytest.fixture
def server() -> Iterator[CopyServer]:
    started = CopyServer.start()
    yield started
    started.close()


@pytest.fixture
def source(tmp_path: Path) -> Iterator[SourceTree]:
    make(str(tmp_path / "from"), TREE)
    fd = os.open(tmp_path / "from", os.O_RDONLY)
    yield SourceTree(fd, ignore=("d/x",))
    os.close(fd)


class Target:
    """A directory to write to, and what is in it."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        self.fd = os.open(path, os.O_RDONLY)

    def look(self) -> list[tuple[str, int, int, str]]:
        found = []
        for path in sorted(self.path.rglob("*")):
            status = path.lstat()
            data = os.readlink(path) if path.is_symlink() else ""
            data = path.read_text() if path.is_file() else data
            name = str(path.relative_to(self.path))
            # A directory's size is the filesystem's affair.
            found.append((name, status.st_mode, status.st_mtime_ns, data))
        return found


def _there(
    server: CopyServer,
    job: CopyJob,
    places: CopyTrees,
    content: ContentStore,
    hooks: Hooks = NO_HOOKS,
) -> CopyResult:
    return server.do(job, places, content, hooks)


@pytest.mark.parametrize("form", ["tree", "layer", "both"])
def test_the_outcome_is_that_of_doing_it_here(
    form: Form, server: CopyServer, source: SourceTree, tmp_path: Path, store: Store
) -> None:
    content, job = ContentStore(store), CopyJob((COPY,), form, watched=True)
    here, there = Target(tmp_path / "here"), Target(tmp_path / "there")
    root = -1 if form == "layer" else here.fd
    mine = do(job, CopyTrees(root, None, {3: source}), content, Hooks())
    root = -1 if form == "layer" else there.fd
    theirs = _there(server, job, CopyTrees(root, None, {3: source}), content)
    assert theirs == mine
    assert mine.seen is not None
    assert mine.seen.contents == [content_digests(COPY, source)]
    assert there.look() == here.look()
    assert (form == "tree") == (mine.layer is None)
    assert os.listdir(store.path("ingest")) == []


def test_one_job_after_the_other(
    server: CopyServer, source: SourceTree, tmp_path: Path, store: Store
) -> None:
    content, job = ContentStore(store), CopyJob((COPY,), "layer")
    places = CopyTrees(-1, None, {3: source})
    first, *others = (_there(server, job, places, content).layer for _ in range(3))
    assert first is not None and others == [first] * 2


def test_blocks_of_earlier_layers_are_known_there(
    server: CopyServer, tmp_path: Path, store: Store
) -> None:
    made = random.Random(1)
    make(str(tmp_path / "large"), {f"f{n:02}": made.randbytes(40_000).hex() for n in range(40)})
    content, job = ContentStore(store), CopyJob((COPY,), "layer")
    fd = os.open(tmp_path / "large", os.O_RDONLY)
    try:
        places = CopyTrees(-1, None, {3: SourceTree(fd)})
        mine = do(job, places, content, Hooks())
        (noted,) = os.listdir(store.path("blocks"))
        os.unlink(store.path("blocks", noted))
        assert [_there(server, job, places, content).layer for _ in range(2)] == [mine.layer] * 2
        assert os.listdir(store.path("blocks")) == [noted]
    finally:
        os.close(fd)


def test_a_base_and_its_directories(
    server: CopyServer, source: SourceTree, tmp_path: Path, store: Store
) -> None:
    base, content = Target(tmp_path / "base"), ContentStore(store)
    (tmp_path / "base/srv").mkdir(mode=0o711)
    job = CopyJob((COPY._replace(dest="/srv/"),), "layer")
    places = CopyTrees(-1, base.fd, {3: source})
    assert _there(server, job, places, content).layer is not None


def test_what_goes_wrong_there_goes_wrong_here(
    server: CopyServer, source: SourceTree, tmp_path: Path, store: Store
) -> None:
    """And the server is good for another job."""
    content, places = ContentStore(store), CopyTrees(-1, None, {3: source})
    with pytest.raises(DefinitionError, match='"/missing": not found') as caught:
        _there(server, CopyJob((Copy(3, ("missing",), "/"),), "layer"), places, content)
    assert caught.value.hint
    assert os.listdir(store.path("ingest")) == []
    two = (COPY._replace(dest="/z/"), COPY._replace(dest="/a/"))
    with pytest.raises(Unplannable):
        _there(server, CopyJob(two, "layer"), places, content)
    assert server.alive
    assert _there(server, CopyJob((COPY,), "layer"), places, content).layer is not None


def test_it_is_killed_when_the_build_is_cancelled(
    server: CopyServer, tmp_path: Path, store: Store
) -> None:
    make(str(tmp_path / "from"), {f"f{n:05}": "x" * 3000 for n in range(6000)})
    fd, cancelled = os.open(tmp_path / "from", os.O_RDONLY), threading.Event()
    told: list[int] = []

    def progress(files: int, size_bytes: int) -> None:
        told.append(files)
        cancelled.set()

    hooks = Hooks(progress, cancelled)
    with pytest.raises(Cancelled):
        _there(server, CopyJob((COPY,), "layer"), CopyTrees(-1, None, {3: SourceTree(fd)}),
               ContentStore(store), hooks)  # fmt: skip
    os.close(fd)
    assert told and max(told) < 6000
    assert not server.alive
    assert os.listdir(store.path("ingest")) == []


def test_a_server_that_dies(server: CopyServer, source: SourceTree, store: Store) -> None:
    os.kill(server._pid, signal.SIGKILL)
    with pytest.raises(HostError, match="died"):
        _there(
            server, CopyJob((COPY,), "layer"), CopyTrees(-1, None, {3: source}), ContentStore(store)
        )
    assert not server.alive


def test_copiers_use_all_there_are(
    source: SourceTree, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two jobs at once, two processes; a job that asks what only this process knows stays."""
    content, copiers, pids = ContentStore(store), Copiers(), []
    # Started here: libraries may have threads in this process by now, and then it would not.
    copiers._servers = [CopyServer.start()]
    copiers._idle = list(copiers._servers)
    original = CopyServer.do

    def noted(server: CopyServer, *args: object) -> CopyResult:
        pids.append(server._pid)
        return original(server, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(CopyServer, "do", noted)
    places, job = CopyTrees(-1, None, {3: source}), CopyJob((COPY,), "layer")
    try:
        with copiers.here():
            done = copiers.do(job, places, content, Hooks())
        assert len(pids) == 1 and done.layer is not None
        assert copiers.do(job, places, content, Hooks()) == done
        assert len(pids) == 1, "alone it is done here"
        waits = threading.Thread(
            target=copiers.do, args=(job, places, content, Hooks(copied=lambda path: False))
        )
        with copiers.here():
            waits.start()
            waits.join(0.2)
            assert waits.is_alive()
        waits.join(PATIENCE_S)
        assert not waits.is_alive() and len(pids) == 1
    finally:
        copiers.close()
    assert not os.path.exists(f"/proc/{pids[0]}")


def test_a_machine_without_room_for_a_process(
    source: SourceTree, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr(os, "fork", refused)
    copiers, before = Copiers(), open_descriptors()
    with pytest.raises(BlockingIOError):
        CopyServer.start()
    copiers.start_servers(jobs=16, at_once=2)
    assert copiers._servers == [] and not opened_since(before)
    places, job = CopyTrees(-1, None, {3: source}), CopyJob((COPY,), "layer")
    assert copiers.do(job, places, ContentStore(store), Hooks()).layer is not None


@pytest.mark.parametrize(("jobs", "at_once", "threads", "servers"), [(16, 3, 1, 1), (16, 3, 2, 0)])
def test_as_many_servers_as_processors_but_one_and_none_beside_threads(
    jobs: int, at_once: int, threads: int, servers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr(os, "listdir", lambda path: ["thread"] * threads)
    copiers = Copiers()
    copiers.start_servers(jobs, at_once)
    try:
        assert len(copiers._servers) == servers
    finally:
        copiers.close()


@pytest.mark.parametrize(("jobs", "at_once"), [(1, 10), (16, 1), (16, 0)])
def test_no_server_where_nothing_is_done_at_once(jobs: int, at_once: int) -> None:
    copiers = Copiers()
    copiers.start_servers(jobs, at_once)
    assert copiers._servers == []


@pytest.fixture
def copiers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Copiers]:
    made, listdir = Copiers(), os.listdir
    with monkeypatch.context() as patch:
        # Other tests may have left threads here, beside which there would be no server.
        one = {"/proc/self/task": ["thread"]}
        patch.setattr(os, "listdir", lambda path: one.get(path) or listdir(path))
        made.start_servers(4, 4)
    yield made
    made.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="copies are shared with privileges only")
def test_a_copy_that_is_shared_comes_to_the_same(
    server: CopyServer, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share, "_LEAST_FILES", 100)
    many = {f"{n // 40}/{n:03}": f"{n}" for n in range(400)}
    make(str(tmp_path / "from"), {**many, "9/last": "= 9/399"})
    content, told = ContentStore(store), list[tuple[int, int]]()
    hooks = Hooks(lambda *counts: told.append(counts))
    source_fd = os.open(tmp_path / "from", os.O_RDONLY)
    source = SourceTree(source_fd, local=True)
    alone, shared, again = (Target(tmp_path / name) for name in ("alone", "shared", "again"))
    tables = [store.ingest_path() for _ in range(3)]

    def run(target: Target, table: str, processes: int) -> CopyResult:
        job = CopyJob((COPY,), "tree", watched=True, inventory=table)
        shares, places = (
            share.shares_of(COPY, source, processes),
            CopyTrees(target.fd, None, sources),
        )
        assert len(shares) == processes
        if processes == 1:
            return do(job, places, content, hooks)
        return share_copy(job, shares, places, content, hooks, [server])

    sources = {3: source}
    whole = run(alone, tables[0], 1)
    parts = run(shared, tables[1], 2)
    assert whole.seen is not None and parts.seen is not None
    assert parts.seen.contents == whole.seen.contents
    assert b"".join(parts.seen.fresh) == b"".join(whole.seen.fresh)
    assert parts._replace(seen=None) == whole._replace(seen=None)
    assert shared.look() == alone.look()
    assert told[-1] == (401, 1090)
    assert sum(os.path.exists(table) for table in tables) == 2
    # A name in the first share of a file that is in the last one: it has to be done alone.
    os.link(tmp_path / "from/9/399", tmp_path / "from/0/000-too")
    with pytest.raises(Unplannable):
        run(again, tables[2], 2)
    assert not os.path.exists(tables[2]) and len(os.listdir(store.path("ingest"))) == 2
    os.close(source_fd)


@pytest.mark.skipif(os.geteuid() != 0, reason="copies are shared with privileges only")
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one processor")
@pytest.mark.parametrize("files", [3, 300])
def test_a_job_of_many_files_is_shared(
    files: int, copiers: Copiers, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(str(tmp_path / "from"), {f"{n:03}": f"{n}" for n in range(files)})
    shares: list[int] = []

    def shared_copy(job: CopyJob, into: list[object], *rest: Any) -> CopyResult:
        shares.append(len(into))
        return CopyResult()

    monkeypatch.setattr("minibuild.fileop.share._LEAST_FILES", 100)
    monkeypatch.setattr("minibuild.solver.copiers.share_copy", shared_copy)
    target, source_fd = Target(tmp_path / "to"), os.open(tmp_path / "from", os.O_RDONLY)
    places = CopyTrees(target.fd, None, {3: SourceTree(source_fd, local=True)})
    copiers.do(CopyJob((COPY,), "tree"), places, ContentStore(store), NO_HOOKS, shared=True)
    assert shares == ([2] if files == 300 else [])
    assert len(target.look()) == (0 if shares else files)
    os.close(source_fd)
