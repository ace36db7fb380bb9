"""What a build would find in the cache, and what it would run, without running anything.

Comes in: vertices, inputs first, and a store to read. Goes out: for each vertex its possible
`Forecast`s. Mostly there is one: a key is made of definitions, of the keys of inputs and of files
in contexts, so that of a step which would run is known before it runs. It is not where a step
reads files that another step is still to make. If they came out as in an earlier build, the step
would be found; else it runs. Then there are several outcomes, and what stands on the step is looked
up with each.
Read next: `planning`.
"""

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

from minibuild.cache.results import VertexResult
from minibuild.digest import Digest, digest_strings
from minibuild.graph.op import Exec, File, GitSource, HttpSource, LocalSource, Merge
from minibuild.graph.vertex import Vertex
from minibuild.record.causes import KeyParts, differences
from minibuild.record.records import BuildRecord
from minibuild.solver.key_parts import explain
from minibuild.solver.keys import (
    Part,
    ReadyVertex,
    canonical_reads,
    read_part,
    readers,
    step_key,
)
from minibuild.solver.lookup import Lookup, merged
from minibuild.startup.tuples import NamedTuple
from minibuild.store.database import Database

_MOST = 16
"""How many outcomes of a vertex, and how many combinations of those of its inputs, are tried."""

PartReader = Callable[[ReadyVertex, Exec | File], list[Part]]
"""Reads the parts of a fast key. Raises `DefinitionError` for what is not there."""


class Forecast(NamedTuple):
    """What may become of a vertex: whether it is found in the cache, its result (of which only the
    key counts), and of a step that would run what its key is made of."""

    cached: bool
    found: VertexResult
    parts: KeyParts | None = None


class Foreseen(NamedTuple):
    """The outcomes of a vertex, the likely one first. `hinges` are the inputs that decide between
    them. Where some outcomes were left out, it is not `complete`."""

    outcomes: tuple[Forecast, ...]
    hinges: tuple[Digest, ...] = ()
    complete: bool = True

    @property
    def likely(self) -> Forecast:
        """The outcome to expect."""
        return self.outcomes[0]

    @property
    def certain(self) -> bool:
        """Whether it is known if the vertex is found in the cache."""
        if all(outcome.found.forced and not outcome.cached for outcome in self.outcomes):
            return True
        return self.complete and len({outcome.cached for outcome in self.outcomes}) == 1


class Foresight:
    """Looks vertices up, one after the other, each with all that may become of its inputs.

    `builds` are earlier ones of the same thing: from them it is known what came from the web then.
    With `elsewhere` other machines have caches, which are not asked: what they have is not known.
    """

    def __init__(
        self,
        db: Database,
        lookup: Lookup,
        read: PartReader,
        builds: Iterable[BuildRecord],
        *,
        elsewhere: bool = False,
    ) -> None:
        self._lookup = lookup
        self._read = read
        self._kept = _KeyParts(db)
        self._builds = list(builds)
        self._elsewhere = elsewhere
        self._seen: dict[Digest, Foreseen] = {}

    def of(self, vertices: Sequence[Vertex]) -> Mapping[Digest, Foreseen]:
        """What may become of each vertex."""
        for vertex in vertices:
            self._seen[vertex.digest] = self._of(vertex)
        return self._seen

    def _of(self, vertex: Vertex) -> Foreseen:
        if isinstance(vertex.op, LocalSource):
            return Foreseen((Forecast(True, VertexResult((), None, local=vertex.op)),))
        if isinstance(vertex.op, HttpSource | GitSource):
            return self._from_web(vertex, vertex.op)
        known = {v.digest: self._seen[v.digest] for v in vertex.inputs if v is not None}
        choices, complete = _combinations(known)
        outcomes: dict[tuple[bool, Digest | None], Forecast] = {}
        hinges = {digest: None for digest, input in known.items() if len(input.outcomes) > 1}
        for choice in choices:
            ready = ReadyVertex.of(vertex, choice)
            possible = self._outcomes(ready)
            for outcome in possible:
                outcomes.setdefault((outcome.cached, outcome.found.key), outcome)
            if len(possible) > 1:
                hinges.update(dict.fromkeys(self._unread(ready)))
        found = tuple(outcomes.values())
        if self._elsewhere and not isinstance(vertex.op, Merge):
            complete = complete and all(outcome.cached for outcome in found)
        return Foreseen(found[:_MOST], tuple(hinges), complete and len(found) <= _MOST)

    def _from_web(self, vertex: Vertex, op: HttpSource | GitSource) -> Foreseen:
        """What came from there in earlier builds, the last first; or something new, unless the
        definition pins it."""
        ran, forced = dict[Digest, str](), vertex.note.ignore_cache
        for build in self._builds:
            for step in build.steps:
                if step.digest == vertex.digest and step.key is not None:
                    ran.setdefault(step.key, step.pin)
        pinned = bool(op.checksum) or (isinstance(op, GitSource) and op.ref in ran.values())
        outcomes = [
            Forecast(
                True, VertexResult((), key, forced=forced, cached=True, resolved_digest=pin)
            )
            for key, pin in ran.items()
        ]  # fmt: skip
        if not (pinned and outcomes):
            fresh = digest_strings(("new", vertex.digest))
            outcomes.append(Forecast(False, VertexResult((), fresh, forced=forced)))
        return Foreseen(tuple(outcomes[-_MOST:] if len(outcomes) > _MOST else outcomes))

    # --- One vertex whose inputs are known ---

    def _outcomes(self, ready: ReadyVertex) -> list[Forecast]:
        op = ready.vertex.op
        if isinstance(op, Merge):
            found = merged(ready.inputs)
            return [Forecast(found.cached, found)]
        if isinstance(op, Exec | File):
            return self._step(ready, op)
        answer = self._lookup.ask(ready, lambda *_: None)
        if answer.result is not None:
            return [Forecast(answer.result.cached, answer.result)]
        new = ("new", ready.vertex.digest, *map(str, ready.inputs))
        key = answer.key or digest_strings(new)
        return [Forecast(False, VertexResult((), key, forced=ready.on_forced))]

    def _step(self, ready: ReadyVertex, op: Exec | File) -> list[Forecast]:
        """As `solver.step` does it: the fast key first, then the canonical one."""
        lookup, base, forced = self._lookup, ready.base_key, ready.must_execute
        parts = self._read(ready, op)
        fast = step_key(op, base, parts, lookup.version)
        unread = canonical_reads(ready, op, parts)
        if not (forced or (ready.on_forced and unread)):
            found = lookup.find_step(fast, op)
            if found is not None:
                return [Forecast(True, found)]
        runs = Forecast(False, VertexResult((), fast, forced=forced), explain(op, base, parts))
        if not unread:
            return [runs]
        as_read = [read_part(p.name, ()) if n in unread else p for n, p in enumerate(parts)]
        wanted = {**runs.parts, "op": explain(op, base, as_read)["op"]} if runs.parts else {}
        outcomes = [runs]
        for key in self._kept.like(wanted):
            found = None if forced else lookup.find_step(key, op)
            known = found or VertexResult((), key, forced=forced)
            outcomes.append(Forecast(found is not None, known, runs.parts))
        return outcomes

    def _unread(self, ready: ReadyVertex) -> Iterator[Digest]:
        """The inputs whose files count for the key of a step, and are not known yet."""
        op = ready.vertex.op
        if isinstance(op, Exec | File):
            parts = [Part("") for _ in readers(op)]
            for reader in canonical_reads(ready, op, parts).values():
                source = ready.vertex.inputs[reader.input]
                if source is not None and not isinstance(source.op, LocalSource):
                    yield source.digest


class _KeyParts:
    """What the canonical keys of a store were made of, to find those of steps whose files are not
    known. All of them are read when the first is asked for."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._rows: list[tuple[Digest, bytes]] | None = None

    def like(self, wanted: Mapping[str, Any]) -> Iterator[Digest]:
        """The keys of the same operation on the same base that read the same, as far as that is
        known; the newest first."""
        if self._rows is None:
            rows = self._db.execute("SELECT key, parts FROM key_parts ORDER BY created DESC")
            self._rows = [(key, zlib.decompress(packed)) for key, packed in rows]
        base = f'"base": {json.dumps(wanted["base"])}'.encode()
        for key, data in self._rows:
            kept = json.loads(data) if base in data else {}
            if "op" not in kept or kept["base"] != wanted["base"]:
                continue
            if next(differences(kept, wanted), None) is None:
                yield key


def _combinations(
    known: Mapping[Digest, Foreseen],
) -> tuple[list[dict[Digest, VertexResult]], bool]:
    """The outcomes of several vertices together; and whether these are all. Of too many: that the
    likely one comes for each, and that the last one does."""
    complete = all(one.complete for one in known.values())
    counts = [one.outcomes for one in known.values()]
    chosen: Iterable[Sequence[Forecast]] = product(*counts)
    if prod(map(len, counts)) > _MOST:
        complete = False
        chosen = [[one[0] for one in counts], [one[-1] for one in counts]]
    return [
        {digest: outcome.found for digest, outcome in zip(known, choice, strict=True)}
        for choice in chosen
    ], complete
