"""Records, read: the builds of a store, and what was said of each vertex.

Comes in: a folder of records, or a file that was exported; a person's word for one. Goes out:
`BuildRecord`s. Members that are not known are passed over, and so is a file that cannot be read: it
may be torn, or of a later version. Read next: `story`.
"""

import json
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_args

from minibuild.cache.results import VertexResult
from minibuild.digest import Digest
from minibuild.errors import SourceText, UsageError, os_errors_as
from minibuild.graph.literals import parse_uint
from minibuild.graph.op import StepKind
from minibuild.graph.vertex import Vertex
from minibuild.record.recorder import FOLDER, context_of, place_of
from minibuild.record.secrecy import Mask
from minibuild.record.writing import FORMAT, build_id, document_of, row_of
from minibuild.session.request import BuildRequest
from minibuild.startup.tuples import NamedTuple

_MAX_BYTES = 64 << 20
"""What a record may unpack to; that of a thousand steps, with all logs, is a fraction."""

_SAME_S = 0.03
"""Times that are this near are the same: filesystems and JSON round them. No build is so fast."""

STEPS = get_args(StepKind)
"""The kinds of vertices that people call steps."""


class RecordedStep(NamedTuple):
    """A vertex in one build. `state` is `ran`, `cached`, `failed`, `stopped` or empty: it was not
    needed, or never reached. Times are milliseconds since the build began. `asked` says that it was
    to run in any case, `forced` that it did for that, or for its base."""

    number: int
    kind: str
    name: str = ""
    stage: str = ""
    lines: tuple[int, ...] = ()
    inputs: tuple[int | None, ...] = ()
    digest: str = ""
    key: Digest | None = None
    result: tuple[int, ...] = ()
    state: str = ""
    started: int | None = None
    ended: int | None = None
    error: str = ""
    remarks: tuple[str, ...] = ()
    origin: str = ""
    pin: str = ""
    asked: bool = False
    forced: bool = False
    source: Mapping[str, Any] = {}
    op: Mapping[str, Any] | None = None

    @property
    def line(self) -> int:
        """Its first line in the definition; 0 if it has none."""
        return self.lines[0] if self.lines else 0

    def has_line(self, line: int) -> bool:
        """Whether a line of the definition is one of it."""
        return bool(self.lines) and self.lines[0] <= line <= self.lines[-1]

    @property
    def is_step(self) -> bool:
        """Whether it is one of those that run or are found."""
        return self.kind in STEPS

    @property
    def ran(self) -> bool:
        """Whether work was done for it."""
        return self.state in ("ran", "failed", "stopped")

    @property
    def seconds(self) -> float:
        """How long it took."""
        if self.started is None or self.ended is None:
            return 0.0
        return (self.ended - self.started) / 1000

    @property
    def context(self) -> str:
        """What people call the context that it is."""
        name = str(self.source.get("name", "context"))
        return "the context" if name == "context" else f"the context {name}"

    @property
    def text(self) -> str:
        """The instruction, without the stage and number that progress shows before it."""
        name = " ".join(self.name.split())
        if name.startswith("[") and not name.startswith("[internal]"):
            return name.partition("] ")[2] or name
        return name


class BuildRecord(NamedTuple):
    """One record. `used` is when a build last came to the same; `parts` are those of keys, if the
    record was exported with them."""

    id: str
    place: str
    started: float
    used: float
    steps: tuple[RecordedStep, ...]
    data: Mapping[str, Any]
    parts: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The definition."""
        return str(self.data.get("source", {}).get("text", ""))

    @property
    def error(self) -> str:
        """Why it failed; empty if it did not."""
        return str(self.data.get("error", ""))

    @property
    def tags(self) -> list[str]:
        """The names of its images."""
        return list(self.data.get("tags", ()))

    @property
    def context(self) -> str:
        """The build context."""
        return str(self.data.get("context", ""))

    @property
    def seconds(self) -> float:
        """How long it took."""
        return float(self.data.get("seconds", 0))

    @property
    def again(self) -> bool:
        """Whether a later build came to the same, and found everything in the cache."""
        return self.used > self.started + self.seconds + _SAME_S

    @property
    def ran(self) -> list[RecordedStep]:
        """The steps that ran."""
        return [step for step in self.steps if step.is_step and step.ran]

    @property
    def outputs(self) -> Sequence[Mapping[str, Any]]:
        """Its images."""
        return list(self.data.get("outputs", ()))


def longest_chain(build: BuildRecord, cost: Callable[[RecordedStep], float]) -> list[RecordedStep]:
    """The steps that wait for each other and together cost most, first to last."""
    longest: list[tuple[float, int | None]] = []
    for step in build.steps:  # inputs come first
        before = max(
            ((longest[i][0], i) for i in step.inputs if i is not None), default=(0.0, None)
        )
        longest.append((before[0] + cost(step), before[1]))
    chain: list[RecordedStep] = []
    number: int | None = max(range(len(longest)), key=lambda n: longest[n][0], default=None)
    while number is not None:
        chain.append(build.steps[number])
        number = longest[number][1]
    return [step for step in reversed(chain) if cost(step)]


class BuildRecords:
    """The records of a store, newest first, each read when it is asked for."""

    def __init__(self, root: str) -> None:
        self.folder = os.path.join(root, FOLDER)

    def all(self) -> Iterator[BuildRecord]:
        """All of them."""
        names = [(name, place) for place in _names(self.folder) for name in self._in(place)]
        for name, place in sorted(names, reverse=True):
            if (found := self._read(place, name)) is not None:
                yield found

    def of_place(self, place: str) -> list[BuildRecord]:
        """Those of builds of the same thing."""
        found = (self._read(place, name) for name in sorted(self._in(place), reverse=True))
        return [build for build in found if build is not None]

    def here(self, folder: str) -> list[BuildRecord]:
        """Those of the thing that was built last in a folder, or else of what was built last."""
        newest = next((build for build in self.all() if _is_in(build.context, folder)), None)
        newest = newest or next(self.all(), None)
        return [] if newest is None else self.of_place(newest.place)

    def find(self, word: str, folder: str) -> BuildRecord:
        """The build that a word means: `^1`, the digits of an id, or a file. Raises UsageError."""
        if word.startswith("^") and (word[1:] or "0").isdecimal():
            builds, back = self.here(folder), parse_uint(word[1:] or "0")
            if 0 <= back < len(builds):
                return builds[back]
            if not builds:
                raise UsageError(
                    "there is no record of a build", hint="build first; --no-record keeps none"
                )
            raise UsageError(
                f"there is no build {word}: {len(builds)} are kept here", hint=_SEE_BUILDS
            )
        if os.path.isfile(word):
            return read_file(word)
        found = [build for build in self.all() if word and build.id.startswith(word)]
        if len(found) == 1:
            return found[0]
        problem = "there is no build" if not found else "there are several builds"
        raise UsageError(f"{problem} {word!r}", hint=_SEE_BUILDS)

    def remove(self, build: BuildRecord) -> None:
        """Remove one of them."""
        for name in self._in(build.place):
            if build_id(build.place, name) == build.id:
                os.unlink(os.path.join(self.folder, build.place, name))

    def _in(self, place: str) -> list[str]:
        return [name for name in _names(os.path.join(self.folder, place)) if "." not in name]

    def _read(self, place: str, name: str) -> BuildRecord | None:
        path = os.path.join(self.folder, place, name)
        try:
            with open(path, "rb") as file:
                used = os.fstat(file.fileno()).st_mtime
                return build_of(
                    _unpacked(file.read(_MAX_BYTES)), place, build_id(place, name), used
                )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, zlib.error):
            return None


_SEE_BUILDS = "see `minibuild builds`"


def read_file(path: str) -> BuildRecord:
    """A record that was exported. Raises `UsageError` if it is none."""
    with os_errors_as(UsageError, f"cannot read {path}"), open(path, "rb") as file:
        text = file.read(_MAX_BYTES)
    try:
        data = json.loads(text)
        return build_of(data, "", str(data["id"]), float(data["started"]))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UsageError(
            f"{path} is no record of a build", hint="`minibuild builds export` writes one"
        ) from error


def _unpacked(data: bytes) -> Any:
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(data, _MAX_BYTES)
    if not unpacker.eof:
        raise ValueError("torn")
    return json.loads(text)


def build_of(data: Any, place: str, id: str, used: float) -> BuildRecord:
    if data["format"] > FORMAT:
        raise ValueError("of a later version")
    steps: list[RecordedStep] = []
    for number, row in enumerate(data["vertices"]):
        steps.append(_step(number, row, steps))
    started = float(data["started"])
    return BuildRecord(id, place, started, used, tuple(steps), data, data.get("key_parts", {}))


def unwritten(
    request: BuildRequest,
    source: SourceText,
    vertices: Sequence[Vertex],
    results: Mapping[Digest, VertexResult],
    mask: Mask,
    parts: Mapping[Digest, object],
) -> BuildRecord:
    """A build that is not over, or is only planned, in the form of a record."""
    now = time.time()
    numbers = {vertex.digest: n for n, vertex in enumerate(vertices)}
    rows = [row_of(vertex, numbers, results, {}) for vertex in vertices]
    begun = document_of(request, source, context_of(request), now)
    document = {**begun, "vertices": mask.data(rows), "key_parts": parts}
    return build_of(document, place_of(request), "", now)


def _step(number: int, row: Mapping[str, Any], before: Sequence[RecordedStep]) -> RecordedStep:
    inputs = tuple(None if i is None else int(i) for i in row.get("inputs", ()))
    if any(i is not None and not 0 <= i < number for i in inputs):
        raise ValueError("an input comes after its user")
    if "result" in row:
        result = tuple(row["result"])
    else:
        below = before[inputs[0]].result if inputs and inputs[0] is not None else ()
        result = (*below, *row.get("adds", ()))
    read = {
        "number": number,
        "lines": tuple(row.get("lines", ())),
        "inputs": inputs,
        "result": result,
        "remarks": tuple(row.get("remarks", ())),
    }
    given = {name: row[name] for name in RecordedStep._fields if name in row}
    return RecordedStep(**{**given, **read})


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_in(context: str, folder: str) -> bool:
    """Whether a context is a folder, or lies in it."""
    folder = os.path.realpath(folder)
    return (os.path.realpath(context) + "/").startswith(folder.rstrip("/") + "/")


# --- What prune asks ---


def kept_keys(root: str) -> set[Digest]:
    """The keys that records name: their parts are needed to explain them."""
    return {step.key for build in BuildRecords(root).all() for step in build.steps if step.key}


def remove_older(root: str, unused_for_s: float, now: float) -> int:
    """Remove the records that no build came to for so long; how many those were."""
    records, removed = BuildRecords(root), 0
    for place in _names(records.folder):
        folder = os.path.join(records.folder, place)
        for name in _names(folder):
            path = os.path.join(folder, name)
            if os.stat(path).st_mtime <= now - unused_for_s:
                os.unlink(path)
                removed += 1
        if not _names(folder):
            os.rmdir(folder)
    return removed
