"""The records of BuildKit's caches: which layers an op gave, found by what it was done on.

Comes in: the member `records` of a cache. Goes out: the records of an op, by its digest and the
records of its inputs; and back. Each input of a record is a list of *links*, which are
alternatives: to the op that made the input, with a selector for what is read of it, or to the
contents that were read. A record without inputs is a *root*: an image, or contents. One without
layers still leads to those behind it.

A record of an op is reached from records of all its inputs. So equal steps in different builds are
one record where any alternative is the same, and a walk from the roots finds what a build can use.
Rules: moby/buildkit `cache/remotecache/v1`, `solver/cachemanager.go`.
Read next: `document`, which holds them.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from minibuild.buildkit.cachekeys import Dependency, record_key
from minibuild.buildkit.definition import OpOutput
from minibuild.digest import Digest
from minibuild.events import rfc3339
from minibuild.oci.document import Member
from minibuild.remotecache.keys import BuildkitKeys
from minibuild.startup.tuples import NamedTuple

Link = tuple[str, int]
"""A selector, and the number of a record."""


class ChainRecord(NamedTuple):
    """An op, or a root. `layers` are numbers of layers, lowest first; with `stack` it is one, with
    all that this one stands on. `created` is in seconds."""

    digest: Digest
    inputs: tuple[tuple[Link, ...], ...] = ()
    layers: tuple[int, ...] = ()
    stack: bool = False
    created: float = 0.0


# --- Reading --------------------------------------------------------------------------------------


def parse_records(records: Sequence[Member], first: int = 0) -> tuple[ChainRecord, ...]:
    """Records, of which the first is record `first` of the document. Raises `ImageError`."""
    end = first + len(records)
    return tuple(_record(member, first, end) for member in records)


def _record(member: Member, first: int, end: int) -> ChainRecord:
    inputs = tuple(
        tuple(
            (link["selector"].text(), link["link"].whole(first, end - 1) - first)
            for link in links.items()
        )
        for links in member["inputs"].items()
    )
    results = [
        (r["createdAt"].text(), (r["layer"].whole(),), True) for r in member["layers"].items()
    ] + [
        (r["createdAt"].text(), tuple(n.whole() for n in r["layers"].items()), False)
        for r in member["chains"].items()
    ]
    # Times of this form sort as text.
    _, layers, stack = max(results, default=("", (), False))
    return ChainRecord(member["digest"].digest(), inputs, layers, stack)


class Chains:
    """The records of a document, to be walked from the roots."""

    def __init__(self, records: Sequence[ChainRecord]) -> None:
        self.records = records
        self._roots: dict[Digest, set[int]] = {}
        self._users: dict[tuple[int, int, str, Digest], set[int]] = {}
        for number, record in enumerate(records):
            if not record.inputs:
                self._roots.setdefault(record.digest, set()).add(number)
            for index, links in enumerate(record.inputs):
                for selector, source in links:
                    user = source, index, selector, record.digest
                    self._users.setdefault(user, set()).add(number)
        self._found: dict[OpOutput, frozenset[int]] = {}
        self._version = -1

    def find(self, keys: BuildkitKeys, output: OpOutput) -> frozenset[int]:
        """The records of an output, as far as the keys are known."""
        if keys.version != self._version:
            self._found.clear()
            self._version = keys.version
        pending = [output]  # no recursion: a chain of a thousand steps is one of a thousand inputs
        while pending:
            op = keys.op(pending[-1])
            unknown = [d.output for d in op.inputs if d.output not in self._found]
            if pending[-1] in self._found:
                pending.pop()
            elif unknown:
                pending.extend(unknown)
            else:
                self._found[pending[-1]] = self._records(keys, pending[-1])
        return self._found[output]

    def contents_of(self, keys: BuildkitKeys, output: OpOutput, index: int) -> set[Digest]:
        """The roots for what was read of input `index` of an output, where the record that is
        found for it says that."""
        records = (self.records[number] for number in self.find(keys, output))
        links = (record.inputs[index] for record in records if index < len(record.inputs))
        return {self.records[n].digest for found in links for selector, n in found if not selector}

    def _records(self, keys: BuildkitKeys, output: OpOutput) -> frozenset[int]:
        op = keys.op(output)
        if not op.inputs or op.digest is None:
            return frozenset().union(*(self._roots.get(d, ()) for d in keys.roots(output)))
        digest = record_key(op.digest, output.number)
        found: set[int] | None = None
        for index, dependency in enumerate(op.inputs):
            users = self._users_of(keys, dependency, index, digest)
            found = users if found is None else found & users
            if not found:
                return frozenset()
        return frozenset(found or ())

    def _users_of(
        self, keys: BuildkitKeys, dependency: Dependency, index: int, digest: Digest
    ) -> set[int]:
        """The records of an op that have an input as their input `index`."""
        users: set[int] = set()
        for source in self._found[dependency.output]:
            users |= self._users.get((source, index, dependency.selector, digest), set())
        contents = keys.contents(dependency)
        for source in self._roots.get(contents, ()) if contents else ():
            users |= self._users.get((source, index, "", digest), set())
        return users


# --- Writing --------------------------------------------------------------------------------------


ContentRoots = Callable[[OpOutput, int], Iterable[Digest]]
"""Roots for what was read of an input of an output, as another cache has it."""


def records_of(
    keys: BuildkitKeys,
    layers: Callable[[OpOutput], tuple[tuple[int, ...], float]],
    elsewhere: ContentRoots = lambda output, index: (),
) -> list[ChainRecord]:
    """The records of all ops that a build knows; `layers` are those of an output, with the time
    when it was made, if they are to be in the cache."""
    made: list[ChainRecord] = []
    roots: dict[Digest, int] = {}
    known: dict[OpOutput, list[int]] = {}

    def root(digest: Digest) -> int:
        if digest not in roots:
            roots[digest] = len(made)
            made.append(ChainRecord(digest))
        return roots[digest]

    def links(output: OpOutput, index: int, dependency: Dependency) -> tuple[Link, ...]:
        by_op = [(dependency.selector, n) for n in known.get(dependency.output, ())]
        contents = keys.contents(dependency)
        found: Iterable[Digest] = () if contents is None else (contents,)
        if contents is None and dependency.contents is not None:
            found = sorted(elsewhere(output, index))
        return (*by_op, *(("", root(digest)) for digest in found))

    for output in keys.outputs:
        op = keys.op(output)
        if op.digest is None:
            known[output] = [root(digest) for digest in keys.roots(output)]
            continue
        inputs = tuple(links(output, *item) for item in enumerate(op.inputs))
        if not all(inputs):
            continue  # Nothing is known of an input that would be the same in another build.
        chain, created = layers(output)
        known[output] = [len(made)]
        digest = record_key(op.digest, output.number)
        made.append(ChainRecord(digest, inputs, chain, created=created))
    return made


def record_values(
    records: Iterable[ChainRecord], first: int, is_stack: Callable[[Sequence[int]], bool]
) -> list[dict[str, Any]]:
    """Records as JSON objects; the first of them is record `first` of the document. `is_stack`
    says whether a layer with all that it stands on is just these layers."""
    made = []
    for record in records:
        value: dict[str, Any] = {}
        if record.layers:
            when = {"createdAt": rfc3339(record.created)}
            if is_stack(record.layers):
                value["layers"] = [{"layer": record.layers[-1], **when}]
            else:
                value["chains"] = [{"layers": list(record.layers), **when}]
        value["digest"] = record.digest
        if record.inputs:
            value["inputs"] = [
                [
                    {**({"selector": selector} if selector else {}), "link": first + number}
                    for selector, number in links
                ]
                for links in record.inputs
            ]
        made.append(value)
    return made
