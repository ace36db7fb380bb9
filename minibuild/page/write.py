"""A page, written to a file: of a build that just ended, or of any that there is a record of.

Comes in: a path. Goes out: the file, whole or not at all. Read next: `facts`.
"""

from minibuild.errors import StoreError
from minibuild.exporter.destination import open_file
from minibuild.page.document import document
from minibuild.page.facts import facts
from minibuild.record.recorder import place_of
from minibuild.record.records import BuildRecord, BuildRecords
from minibuild.session.request import BuildRequest
from minibuild.worker.worker import Worker


def page_of(worker: Worker, build: BuildRecord) -> str:
    """The page of a build, compared with the one before it."""
    return document(facts(worker, BuildRecords(worker.store.root), build))


def write_page(worker: Worker, build: BuildRecord, path: str) -> None:
    """Write the page of a build."""
    page = page_of(worker, build)
    with open_file(path) as file:
        file.write(page.encode(errors="replace"))


def write_newest(worker: Worker, request: BuildRequest, since: float, path: str) -> None:
    """Write the page of a build that began since then, or was found to be the same as before."""
    newest = next(iter(BuildRecords(worker.store.root).of_place(place_of(request))), None)
    if newest is None or max(newest.started, newest.used) < since:
        raise StoreError(
            f"there is no record of the build to make {path} from",
            hint="records are kept in the folder `builds` of the store: see `minibuild doctor`",
        )
    write_page(worker, newest, path)
