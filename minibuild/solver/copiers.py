"""Who copies: this process, one thread at a time, and copy servers beside it.

Comes in: jobs from many threads. Goes out: `CopyResult`. Walking, hashing and copying small files
holds the interpreter lock between two system calls, so one thread does it here, and others give
their jobs to whichever server is idle. A job that comes alone is shared with the idle servers, if
it has many files: each does a share of it, and what comes of these comes to the whole.
Read next: `copy_server`, `fileop.share`.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from minibuild.oci.content import ContentStore
from minibuild.oci.parallel import in_parallel

if TYPE_CHECKING:  # A build may only run steps.
    from minibuild.fileop.api import Hooks, Progress
    from minibuild.fileop.copy import CopyJob, CopyResult, CopyTrees
    from minibuild.fileop.share import Share
    from minibuild.solver.copy_server import CopyServer

_MAX_SERVERS = 3


class Copiers:
    """This process and its copy servers. Safe in threads."""

    def __init__(self) -> None:
        self._here_is_free = True
        self._servers: list[CopyServer] = []
        self._idle: list[CopyServer] = []
        self._changed = threading.Condition()

    def start_servers(self, jobs: int, at_once: int) -> None:
        """Have servers for as many copies as can be done at once. There are none where this
        process has threads already, for it cannot fork then."""
        wanted = min(jobs, at_once, len(os.sched_getaffinity(0)), _MAX_SERVERS + 1) - 1
        if self._servers or wanted < 1 or len(os.listdir("/proc/self/task")) > 1:
            return
        from minibuild.solver.copy_server import CopyServer

        try:
            for _ in range(wanted):
                self._servers.append(CopyServer.start())
        except OSError:
            pass  # No more processes or descriptors for this user: it goes without.
        self._idle = list(self._servers)

    @contextmanager
    def here(self) -> Iterator[None]:
        """The right to work on many files in this process."""
        with self._changed:
            self._changed.wait_for(lambda: self._here_is_free)
            self._here_is_free = False
        try:
            yield
        finally:
            self._give_back(None)

    def do(
        self,
        job: "CopyJob",
        places: "CopyTrees",
        content: ContentStore,
        hooks: "Hooks",
        *,
        shared: bool = False,
    ) -> "CopyResult":
        """Do a job, here or elsewhere. Raises what `fileop.copy.copy` raises, and `Unplannable` if
        it was shared and cannot be: then it is to be done again, not `shared`, on a new tree."""
        from minibuild.fileop.copy import copy

        can_go = bool(self._servers) and _can_go(job, places, hooks)
        if shared and can_go and job.form == "tree" and (helpers := self._take_all()):
            try:
                return self._share(job, places, content, hooks, helpers)
            finally:
                for helper in (None, *helpers):
                    self._give_back(helper)
        server = self._take(elsewhere=can_go)
        try:
            if server is None:
                return copy(job, places, content, hooks)
            return server.do(job, places, content, hooks)
        finally:
            self._give_back(server)

    def _take_all(self) -> "list[CopyServer]":
        """This process and all servers, if none of them has a job; else nothing."""
        with self._changed:
            if not self._here_is_free or len(self._idle) < len(self._servers):
                return []
            self._here_is_free, taken, self._idle = False, self._idle, []
            return taken

    def _share(
        self,
        job: "CopyJob",
        places: "CopyTrees",
        content: ContentStore,
        hooks: "Hooks",
        helpers: "Sequence[CopyServer]",
    ) -> "CopyResult":
        """Do a job in several processes, if it has so many files."""
        from minibuild.fileop.copy import copy
        from minibuild.fileop.share import shares_of

        (one,) = job.copies if len(job.copies) == 1 else (None,)
        shares: Sequence[Share] = ()
        # Without privileges a process cannot write into a directory that another one has closed.
        if one is not None and os.geteuid() == 0:
            shares = shares_of(one, places.sources[one.input], 1 + len(helpers))
        if len(shares) < 2:
            return copy(job, places, content, hooks)
        return share_copy(job, shares, places, content, hooks, helpers)

    def _take(self, *, elsewhere: bool) -> "CopyServer | None":
        with self._changed:
            self._changed.wait_for(lambda: self._here_is_free or (elsewhere and self._idle))
            # A job that comes alone is done here: it shares the interpreter lock with no other.
            if self._here_is_free:
                self._here_is_free = False
                return None
            return self._idle.pop()

    def _give_back(self, server: "CopyServer | None") -> None:
        with self._changed:
            if server is None:
                self._here_is_free = True
            elif server.alive:
                self._idle.append(server)
            self._changed.notify_all()

    def close(self) -> None:
        """Stop the servers. No job is running any more."""
        for server in self._servers:
            server.close()
        self._servers, self._idle = [], []


def _can_go(job: "CopyJob", places: "CopyTrees", hooks: "Hooks") -> bool:
    """Whether a job can be done in another process: it asks nothing that only this one knows."""
    from minibuild.solver.copy_server import MAX_DIRECTORIES

    return (
        job.earlier is None and hooks.copied is None and 2 + len(places.sources) <= MAX_DIRECTORIES
    )


def share_copy(
    job: "CopyJob",
    shares: "Sequence[Share]",
    places: "CopyTrees",
    content: ContentStore,
    hooks: "Hooks",
    helpers: "Sequence[CopyServer]",
) -> "CopyResult":
    """Do a job that makes a tree, here and by helpers, each a share of it. Raises what
    `fileop.copy.copy` raises, when all have ended."""
    from minibuild.fileop.copy import CopyResult, copy
    from minibuild.fileop.inventory import discard, join
    from minibuild.fileop.share import together

    jobs = [job._replace(share=share) for share in shares]
    tables = [job.inventory, *(content.store.ingest_path() for _ in jobs[1:])]
    if job.inventory:
        jobs = [one._replace(inventory=table) for one, table in zip(jobs, tables, strict=True)]
    progress = _sums(hooks.progress, len(jobs))

    def run(number: int) -> "CopyResult":
        do = helpers[number - 1].do if number else copy
        mine = hooks._replace(progress=progress[number])
        return do(jobs[number], places, content, mine)

    try:
        done = in_parallel(run, range(len(jobs)), len(jobs))
        if job.inventory:
            with suppress(OSError):  # It is a hint: the copy is whole without.
                join(tables)
        return CopyResult(seen=together([one.seen for one in done]))
    except BaseException:
        discard(tables[0])
        raise
    finally:
        for table in tables[1:]:
            discard(table)


def _sums(progress: "Progress | None", count: int) -> "list[Progress]":
    """What each of `count` copies tells, so that `progress` hears of the sum."""
    told = [(0, 0)] * count

    def telling(number: int) -> Callable[[int, int], None]:
        def tell(files: int, size_bytes: int) -> None:
            told[number] = (files, size_bytes)
            if progress is not None:
                progress(sum(one[0] for one in told), sum(one[1] for one in told))

        return tell

    return [telling(number) for number in range(count)]
