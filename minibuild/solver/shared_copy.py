"""One copy done by this process and copy servers together, each a share of it.

Comes in: a job, its shares, and servers. Goes out: one `CopyResult`, as if the job had been done in
one piece. Read next: `fileop.share`.
"""

import threading
from collections.abc import Callable, Sequence

from minibuild.fileop.api import Progress
from minibuild.fileop.copy import CopyJob, CopyResult, Hooks, Places, copy
from minibuild.fileop.inventory import discard, join
from minibuild.fileop.share import Share, together
from minibuild.oci.content import ContentStore
from minibuild.solver.copy_server import CopyServer


def share_copy(
    job: CopyJob,
    shares: Sequence[Share],
    places: Places,
    content: ContentStore,
    hooks: Hooks,
    helpers: Sequence[CopyServer],
) -> CopyResult:
    """Do a job that makes a tree. Raises what `fileop.copy.copy` raises, when all have ended."""
    jobs = [job._replace(share=share) for share in shares]
    tables = [job.inventory, *(content.store.ingest_path() for _ in jobs[1:])]
    if job.inventory:
        jobs = [one._replace(inventory=table) for one, table in zip(jobs, tables, strict=True)]
    progress = _sums(hooks.progress, len(jobs))
    done: list[CopyResult | BaseException | None] = [None] * len(jobs)

    def run(number: int) -> None:
        mine = hooks._replace(progress=progress[number])
        try:
            if number:
                done[number] = helpers[number - 1].do(jobs[number], places, content, mine)
            else:
                done[number] = copy(jobs[number], places, content, mine)
        except BaseException as error:
            done[number] = error

    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(1, len(jobs))]
    try:
        for thread in threads:
            thread.start()
        run(0)
        for thread in threads:
            thread.join()
        return _joined(done, tables if job.inventory else [])
    except BaseException:
        discard(tables[0])
        raise
    finally:
        for table in tables[1:]:
            discard(table)


def _joined(done: Sequence[CopyResult | BaseException | None], tables: Sequence[str]) -> CopyResult:
    results: list[CopyResult] = []
    for one in done:
        if isinstance(one, BaseException):
            raise one
        assert one is not None
        results.append(one)
    if tables:
        try:
            join(tables)
        except OSError:
            discard(tables[0])  # It is a hint: the copy is whole without.
    return CopyResult(seen=together([one.seen for one in results]))


def _sums(progress: Progress | None, count: int) -> list[Progress]:
    """What each of `count` copies tells, so that `progress` hears of the sum."""
    told = [(0, 0)] * count

    def telling(number: int) -> Callable[[int, int], None]:
        def tell(files: int, size_bytes: int) -> None:
            told[number] = (files, size_bytes)
            if progress is not None:
                progress(sum(one[0] for one in told), sum(one[1] for one in told))

        return tell

    return [telling(number) for number in range(count)]
