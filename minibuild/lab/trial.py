"""`lab try`: an expression worked out twice, by the model and by real snapshots.

Comes in: trees as text and an expression. Goes out: a `Trial`: the tree by each of the two, the
layers as tars and as upperdirs, how the merge was made and why, and where the two differ. The real
side is that of every build: the materialiser, the snapshotter, the rule of the solver for a Diff. A
tree that is made on another is edited through the mount of that, as a RUN does it, so its whiteouts
are those of the kernel. The value of an expression is a list of diffs, which is what a result is
everywhere here (`cache.results`): those of the model are pairs of trees in memory.
Read next: `minibuild.snapshot.merge`.
"""

import ast
from collections.abc import Callable, Mapping, Sequence

from minibuild.cache.results import DiffKey, Result
from minibuild.errors import BuildError, UsageError
from minibuild.image.listing import entries_of
from minibuild.lab import model
from minibuild.lab.model import ModelTree
from minibuild.lab.trees import Edit, edit_tree, edited, parse_tree, read_tree
from minibuild.snapshot.api import MergePolicy, MergeReport, SnapshotID, Strategy
from minibuild.snapshot.upperdir import UpperEntry, upper_entries
from minibuild.solver.diff import difference
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.worker import Worker

EMPTY_TREE = "scratch"
_GRAMMAR = "it is made of names, merge(a, b, ...) and diff(lower, upper)"
_MAX_LENGTH = 2000

DiffList = tuple[int, ...]
"""Diffs in order, lowest first, by the numbers that an engine has for them."""

DiffFunction = Callable[[DiffList, DiffList], DiffList]
"""How an engine works out what changed from a lower value to an upper one."""


class Named(NamedTuple):
    """A tree by its name."""

    name: str


class MergedValue(NamedTuple):
    """The diffs of all parts, in order."""

    parts: tuple["Expression", ...]


class Differing(NamedTuple):
    """What changed from one to the other."""

    lower: "Expression"
    upper: "Expression"


Expression = Named | MergedValue | Differing


def parse_expression(text: str) -> Expression:
    """The expression of a text. Raises `UsageError`."""
    if len(text) > _MAX_LENGTH:
        raise UsageError("the expression is too long", hint=f"at most {_MAX_LENGTH} characters")
    try:
        parsed = ast.parse(text.strip(), mode="eval").body
        return _expression(parsed)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UsageError(f"the expression {text!r} cannot be read", hint=_GRAMMAR) from None


def _expression(node: ast.expr) -> Expression:
    match node:
        case ast.Name(id=name):
            return Named(name)
        case ast.Call(func=ast.Name(id="merge"), args=parts, keywords=[]):
            return MergedValue(tuple(_expression(part) for part in parts))
        case ast.Call(func=ast.Name(id="diff"), args=[lower, upper], keywords=[]):
            return Differing(_expression(lower), _expression(upper))
        case ast.Call(func=ast.Name(id="diff")):
            raise UsageError("diff takes two trees: diff(lower, upper)")
    raise UsageError(f"{ast.unparse(node)!r} is no part of an expression", hint=_GRAMMAR)


def text_of(expression: Expression) -> str:
    """The expression as it is written."""
    match expression:
        case Named(name):
            return name
        case MergedValue(parts):
            return f"merge({', '.join(map(text_of, parts))})"
        case Differing(lower, upper):
            return f"diff({text_of(lower)}, {text_of(upper)})"


def value_of(expression: Expression, known: Mapping[str, DiffList], diff: DiffFunction) -> DiffList:
    """The diffs that an expression comes to. Raises `UsageError` for a name that is not known."""
    match expression:
        case Named(name):
            if name not in known:
                raise UsageError(
                    f"there is no tree {name!r}",
                    hint=f"give it as an argument before it is used: {name}='x y/1'",
                )
            return known[name]
        case MergedValue(parts):
            return tuple(key for part in parts for key in value_of(part, known, diff))
        case Differing(lower, upper):
            return diff(value_of(lower, known, diff), value_of(upper, known, diff))


_SNAPSHOT = regex(r"snapshot (\d+)")


class GivenTree(NamedTuple):
    """A tree that was given: `below` is what it was made on, if anything, `line` its words."""

    name: str
    below: Expression | None
    line: str
    edits: Sequence[Edit]


class TriedLayer(NamedTuple):
    """One of the diffs. `tar` are the names in its layer; `upperdir` is None if the diff is that of
    two trees of which neither was made on the other: it lies in no directory of its own."""

    made_by: str
    tar: tuple[str, ...]
    upperdir: tuple[UpperEntry, ...] | None


class TrialResult(NamedTuple):
    """What came of a merge on disk: the tree and how it was made, or the error. `upperdir` is what
    lies in the snapshot of the merge itself; `differences` say where it is not what the model has.
    """

    tree: ModelTree
    report: MergeReport | None
    upperdir: tuple[UpperEntry, ...]
    error: str
    differences: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether the model and the disk say the same."""
        return not self.error and not self.differences


class Trial(NamedTuple):
    """All that was found. `chosen` is the merge as a build makes it; `linked` the same by
    hardlinks, if that is another. Both are None if there are no snapshots here; `unable` says why.
    """

    given: Sequence[GivenTree]
    expression: Expression
    parts: tuple[str, ...]
    model: ModelTree
    layers: tuple[TriedLayer, ...]
    chosen: TrialResult | None
    linked: TrialResult | None
    unable: str = ""

    @property
    def agrees(self) -> bool:
        """Whether everything that was made on disk is what the model says."""
        return all(made.agrees for made in (self.chosen, self.linked) if made is not None)


def parse(expression: str, trees: Sequence[str]) -> tuple[Expression, list[GivenTree]]:
    """The words of the command. Each tree is `NAME=WORDS`, or `NAME:EXPRESSION=WORDS` for one that
    is made on what the expression says. Raises `UsageError`."""
    given: list[GivenTree] = []
    for word in trees:
        head, equals, line = word.partition("=")
        name, colon, below = head.partition(":")
        if not equals or not name.isidentifier():
            raise UsageError(f"{word!r} names no tree", hint="write NAME='x y/1'")
        if name in ("merge", "diff", EMPTY_TREE) or name in [g.name for g in given]:
            raise UsageError(f"the name {name!r} is taken")
        given.append(
            GivenTree(name, parse_expression(below) if colon else None, line, parse_tree(line))
        )
    return parse_expression(expression), given


# --- The model ---


class ModelEngine:
    """Diffs as pairs of trees in memory."""

    def __init__(self) -> None:
        self.pairs: list[tuple[ModelTree, ModelTree]] = []
        self.words: list[str] = []

    def edited(self, below: DiffList, given: GivenTree) -> DiffList:
        """What the edits of a tree change."""
        tree = self.tree(below)
        made = edited(tree, given.edits, 1000 * (len(self.pairs) + 1))
        on = "" if given.below is None else f", made on {text_of(given.below)}"
        return self._add(tree, made, f"{given.name}{on}")

    def _add(self, lower: ModelTree, upper: ModelTree, words: str) -> DiffList:
        """One more diff, and what it is in words."""
        self.pairs.append((lower, upper))
        self.words.append(words)
        return (len(self.pairs) - 1,)

    def tree(self, value: DiffList) -> ModelTree:
        """What diffs add up to."""
        return model.merge(self.pairs[number] for number in value)

    def diff(self, lower: DiffList, upper: DiffList) -> DiffList:
        """What changed; if `upper` goes on from `lower`, the diffs that it adds."""
        if upper[: len(lower)] == lower:
            return upper[len(lower) :]
        return self._add(self.tree(lower), self.tree(upper), "two trees compared")


def by_model(expression: Expression, given: Sequence[GivenTree]) -> Trial:
    """The expression in memory alone. Raises `UsageError`, if something in it cannot be."""
    engine = ModelEngine()
    value = _worked_out(expression, given, engine)
    parts = tuple(engine.words[number] for number in value)
    return Trial(given, expression, parts, engine.tree(value), (), None, None)


# --- Real snapshots ---


class DiskEngine:
    """Diffs as rows of a store, made and merged as builds do it."""

    def __init__(self, worker: Worker, policy: MergePolicy) -> None:
        self._worker = worker
        self._materialiser = worker.materialiser(policy=policy)

    def diff(self, lower: DiffList, upper: DiffList) -> DiffList:
        """What changed, by the rule of the solver."""
        return difference(_result(lower), _result(upper), self._worker, self._materialiser, _silent)

    def edited(self, below: DiffList, given: GivenTree) -> DiffList:
        """What the edits of a tree change, done through a mount of what is below."""
        snapshots, result = self._worker.snapshots, _result(below)
        parent = self._materialiser.snapshot(result, _silent)
        active = snapshots.prepare(parent)
        with snapshots.tree(active, readonly=False) as root:
            edit_tree(root, given.edits)
        snapshots.commit(active)
        return (self._worker.diffs.add(result, lower=parent, upper=active),)

    def layer(self, key: int, words: str) -> TriedLayer:
        """A diff as a tar and as an upperdir."""
        worker, row = self._worker, self._worker.diffs.get(DiffKey(key))
        entries = entries_of(self._materialiser.layer(DiffKey(key), "uncompressed"))
        tar = [e.entry.name + "/" * (e.entry.kind == "dir") for e in entries]
        upperdir = None
        if row.upper is not None and worker.snapshots.table.parent(row.upper) == row.lower:
            upperdir = self._upperdir(row.upper)
        return TriedLayer(words, tuple(tar), upperdir)

    def merge(self, value: DiffList, policy: MergePolicy, expected: ModelTree) -> TrialResult:
        """The tree that diffs add up to, and how it was made."""
        snapshots = self._worker.snapshots
        diffs = [self._materialiser.diff(key, _silent) for key in _result(value)]
        try:
            merged = snapshots.merge(diffs, policy)
        except BuildError as error:
            words = error.message.replace(f"{self._worker.store.root}/", "")
            return TrialResult({}, None, (), words, ())
        with snapshots.tree(merged.snapshot) as root:
            tree = read_tree(f"/proc/self/fd/{root}", snapshots.owners(merged.snapshot))
        # A snapshot that one of the diffs made is known here as its layer.
        layers = {str(diff.upper): f"layer {number}" for number, diff in enumerate(diffs)}
        reason = _SNAPSHOT.sub(lambda found: layers.get(found[1], found[0]), merged.report.reason)
        report, upperdir = merged.report._replace(reason=reason), self._upperdir(merged.snapshot)
        return TrialResult(tree, report, upperdir, "", tuple(_differences(expected, tree)))

    def _upperdir(self, snapshot: SnapshotID) -> tuple[UpperEntry, ...]:
        snapshots = self._worker.snapshots
        return tuple(upper_entries(snapshots.layer_dir(snapshot), snapshots.whiteouts))


def on_disk(
    trial: Trial,
    worker: Worker,
    policy: MergePolicy = MergePolicy(),  # noqa: B008
) -> Trial:
    """The same on disk, beside what the model said."""
    engine = DiskEngine(worker, policy)
    try:
        value = _worked_out(trial.expression, trial.given, engine)
    except UsageError:
        raise
    except BuildError as error:
        words = error.message.replace(f"{worker.store.root}/", "")
        return trial._replace(chosen=TrialResult({}, None, (), words, ()))
    layers = tuple(engine.layer(key, words) for key, words in zip(value, trial.parts, strict=True))
    chosen = engine.merge(value, policy, trial.model)
    linked = None
    if chosen.report is not None and chosen.report.strategy is Strategy.STACK:
        by_links = engine.merge(value, policy._replace(strategy=Strategy.HARDLINK), trial.model)
        if by_links.report is None or by_links.report.strategy is not Strategy.STACK:
            linked = by_links
    return trial._replace(layers=layers, chosen=chosen, linked=linked)


def _worked_out(
    expression: Expression, given: Sequence[GivenTree], engine: ModelEngine | DiskEngine
) -> DiffList:
    """The diffs that the expression comes to, once all trees are made."""
    known: dict[str, DiffList] = {EMPTY_TREE: ()}
    for one in given:
        below = () if one.below is None else value_of(one.below, known, engine.diff)
        known[one.name] = (*below, *engine.edited(below, one))
    return value_of(expression, known, engine.diff)


def _result(value: DiffList) -> Result:
    return tuple(DiffKey(key) for key in value)


def _silent(_: str) -> None:
    """Work is not reported: it is over at once."""


def _differences(expected: ModelTree, found: ModelTree) -> list[str]:
    """Where two trees differ, in words, the first being that of the model."""
    one, two = model.plain(expected), model.plain(found)
    words = []
    for path in sorted(one.keys() | two.keys()):
        if path not in two:
            words.append(f"/{path}: the model has it, the disk has not")
        elif path not in one:
            words.append(f"/{path}: the disk has it, the model has not")
        elif one[path] != two[path]:
            names = [n for n in one[path]._fields if getattr(one[path], n) != getattr(two[path], n)]
            words.append(f"/{path}: another {' and '.join(names)}")
    possible = model.link_groups(expected)
    for group in model.link_groups(found):
        if not any(group <= whole for whole in possible):
            words.append(f"{', '.join(f'/{p}' for p in sorted(group))}: hardlinks on disk alone")
    return words
