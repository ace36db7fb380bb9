"""One copy shared by several processes: its plan is a sorted list, and each takes a piece of it.

Comes in: a copy of many files, and how many processes there are. Goes out: shares, each from one
file of the walk to the next; and of what came of them, what came of the copy.

Between two system calls for a small file the interpreter is busy, and it has one lock. So a copy of
20,000 files takes as long as one processor needs, however many there are. All that a copy makes in
order, it makes in the order of the walk: fingerprints, and the table of what was put. So the pieces
of these come to the whole if they are put behind each other.

Two shares meet in the directories above the file where one ends and the next begins. Both make
them, whichever comes first, and both give them their metadata when they leave them: the last thing
that happens to such a directory is that one of the two leaves it, so its times are right. A share
walks over all that comes before it: it has to know the first name of each file with several. If
that is in another share, `Unplannable` is raised, and the copy is done by one process.
Read next: `plan`, `solver.copiers`.
"""

import stat
from collections.abc import Sequence
from itertools import chain, islice

from minibuild.fileop.api import Entry, Planned, Sink, SinkFull, SourceTree, Tally
from minibuild.fileop.dest import Unplannable
from minibuild.fileop.hasher import CopyFingerprints, ForwardingSink, sorted_prints
from minibuild.fileop.select import Selection
from minibuild.fileop.walk import FoundFile, names, place
from minibuild.graph.op import Copy
from minibuild.startup.tuples import NamedTuple

_LEAST_FILES = 2_000
"""What a share has at least: to walk and to fork for less is not worth it."""

_MARK_EVERY = 64


class Share(NamedTuple):
    """The files of a walk from `first` on, as long as they come before `end` ("": no limit)."""

    first: str = ""
    end: str = ""


def shares_of(copy: Copy, tree: SourceTree, processes: int) -> list[Share]:
    """Shares of about as many files, at most as many as there are processes. One if the copy has
    few files, names more than the contents of one directory, or chooses files by patterns: what
    becomes of a directory on the way to one depends on whether it was there before the copy."""
    chooses = copy.parents or copy.rules.include or any(p.startswith("!") for p in copy.exclude)
    if len(copy.paths) != 1 or chooses or not copy.rules.contents:
        return [Share()]
    selection = Selection(copy, tree)
    picks = list(selection.picks())
    if len(picks) != 1 or not picks[0].is_dir:
        return [Share()]
    marks, count = [""], 0
    top = f"/proc/self/fd/{tree.fd}/{picks[0].real}"
    for count, path in enumerate(names(top, selection.filters(picks[0])), 1):
        if count % _MARK_EVERY == 0:
            marks.append(path)
    number = min(processes, max(count // _LEAST_FILES, 1))
    # Names that are no text may have come in another order than that of a walk.
    cuts = sorted((marks[len(marks) * n // number] for n in range(number)), key=place)
    return [Share(*ends) for ends in zip(cuts, [*cuts[1:], ""], strict=True)]


class ShareSink(ForwardingSink):
    """Puts the entries of one share into another sink, and counts them. `tree` gets the directories
    that are in the first share as well."""

    def __init__(self, share: Share, sink: Sink, tree: Sink, tally: Tally) -> None:
        super().__init__(sink)
        self._first, self._end = (place(path) if path else b"" for path in share)
        self._made = tree if share.first else sink
        self._tally = tally
        self._began = not share.first
        self._above: list[Entry] = []
        self._first_names: set[str] = set()

    def put(self, entry: Planned, found: FoundFile | None = None) -> None:
        """Raises `Unplannable` for a file that has names in two shares."""
        assert isinstance(entry, Entry)  # Nothing is unpacked of what is in a directory.
        if found is None:
            self._made.put(entry)
            return
        at = place(found.path)
        if not self._began:
            if at < self._first:
                self._pass_over(entry)
                return
            self._begin(entry)
        elif self._end and at >= self._end:
            raise SinkFull
        if entry.hardlink:
            if entry.target not in self._first_names:
                raise Unplannable("names of one file are in two shares")
        elif found.stat.st_nlink > 1:
            self._first_names.add(entry.path)
        self._sink.put(entry, found)
        self._tally.add(entry)

    def _pass_over(self, entry: Entry) -> None:
        if stat.S_ISDIR(entry.mode):
            while self._above and not entry.path.startswith(self._above[-1].path + "/"):
                self._above.pop()
            self._above.append(entry)

    def _begin(self, entry: Entry) -> None:
        self._began = True
        for above in self._above:
            if entry.path.startswith(above.path + "/"):
                self._made.put(above)
        self._above.clear()

    def settle(self) -> None:
        super().settle()
        self._tally.tell()


def together(seen: Sequence[CopyFingerprints | None]) -> CopyFingerprints | None:
    """What was seen in all shares of a copy; None if something was not."""
    whole = [one for one in seen if one is not None]
    if len(whole) < len(seen):
        return None
    # Directories above a cut are in two shares.
    lines = chain.from_iterable(contents for one in whole for contents in one.contents)
    return CopyFingerprints(
        [sorted_prints(lines, repeated=True)], [rows for one in whole for rows in one.fresh]
    )


def has_many(path: str) -> bool:
    """Whether a directory holds enough files for two shares, as far as names tell."""
    return next(islice(names(path), 2 * _LEAST_FILES - 1, None), None) is not None
