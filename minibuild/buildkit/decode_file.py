"""A `FileOp` as Files.

Comes in: an op and its inputs. Goes out: a vertex for each of its outputs. The actions of an op are
a net: each goes on from an input or from the result of another action. A File of ours is a chain,
so an action that others branch off from is a vertex of its own. Rules: moby/buildkit
`solver/pb/ops.proto`, `solver/llbsolver/ops/file.go`. Read next: `decode`.
"""

import posixpath
from collections.abc import Sequence
from typing import Any

from minibuild.buildkit.definition import SCRATCH
from minibuild.errors import DefinitionError
from minibuild.graph import op
from minibuild.graph.pattern import escape_glob, has_wildcard
from minibuild.graph.vertex import Note, Vertex
from minibuild.startup.tuples import NamedTuple

_NOW = -1
_KEEP_MODE = -1


def decode_file(body: Any, inputs: Sequence[Vertex | None], note: Note) -> dict[int, Vertex]:
    """The vertices of a File, by the numbers of its outputs. Raises `DefinitionError`."""
    if not body.actions:
        raise DefinitionError("a file op without an action")
    decoder = _Decoder(inputs, note)
    outputs = {}
    for number, action in enumerate(body.actions):
        decoder.add(action)
        if action.output != SCRATCH:
            outputs[action.output] = decoder.result(number)
    return outputs


def pick(inputs: Sequence[Vertex | None], number: int) -> Vertex | None:
    """The input of this number; scratch is the empty tree. Raises `DefinitionError`."""
    if number == SCRATCH:
        return None
    if not 0 <= number < len(inputs):
        raise DefinitionError(f"an op names input {number}, and has {len(inputs)}")
    return inputs[number]


def as_tree(vertex: Vertex | None) -> Vertex | None:
    """A folder of the client as a result, where one is needed: a copy of it."""
    if vertex is None or not isinstance(vertex.op, op.LocalSource):
        return vertex
    return Vertex(op.File((op.Copy(1, (".",), "/"),)), (None, vertex), vertex.note)


class _Chain(NamedTuple):
    """Actions on a base. `number` is that of the base among the inputs of the op."""

    number: int
    actions: tuple[op.FileAction, ...] = ()
    inputs: tuple[Vertex | None, ...] = ()


class _Decoder:
    """The results of the actions so far."""

    def __init__(self, given: Sequence[Vertex | None], note: Note) -> None:
        self._given = given
        self._note = note
        self._results: list[_Chain] = []

    def result(self, number: int) -> Vertex:
        """The result of an action as a vertex."""
        chain = self._results[number]
        return Vertex(op.File(chain.actions), chain.inputs, self._note)

    def _at(self, number: int) -> Vertex | None:
        """An input of the op, or what another of its actions made."""
        made = number - len(self._given)
        return self.result(made) if 0 <= made < len(self._results) else pick(self._given, number)

    def add(self, action: Any) -> None:
        """Take one action."""
        base = self._at(action.input)
        made = action.input - len(self._given)
        chain = self._results[made] if made >= 0 else _Chain(action.input, (), (as_tree(base),))
        kind = action.WhichOneof("action")
        if kind == "copy":
            copy = _copy(action.copy, _owner(action.copy, chain.number))
            self._results.append(_with_copy(chain, copy, self._at(action.secondaryInput)))
            return
        self._results.append(chain._replace(actions=(*chain.actions, _made(action, kind, chain))))


def _made(action: Any, kind: str, chain: _Chain) -> op.FileAction:
    """An action that copies nothing."""
    if kind not in ("mkdir", "mkfile", "symlink", "rm"):
        raise DefinitionError(f"the action {kind or 'without a kind'} is not possible here")
    made = getattr(action, kind)
    if kind == "rm":
        return op.Rm(made.path, made.allowNotFound, made.allowWildcard)
    owner, time_ns = _owner(made, chain.number), _time(made)
    if kind == "mkdir":
        return op.Mkdir(made.path, made.mode & 0o7777, owner, made.makeParents, time_ns)
    if kind == "mkfile":
        return op.Mkfile(made.path, made.data, made.mode & 0o7777, owner, time_ns)
    return op.Symlink(made.newpath, made.oldpath, owner, time_ns)


def _with_copy(chain: _Chain, copy: op.Copy, source: Vertex | None) -> _Chain:
    """Copies from one tree into one directory are one action, as those of an instruction."""
    own = source is not None and not isinstance(source.op, op.LocalSource)
    copy = copy._replace(keep_owner=own)
    last = chain.actions[-1] if chain.actions else None
    if isinstance(last, op.Copy) and copy.dest.endswith("/"):
        same = last == copy._replace(input=last.input, paths=last.paths)
        if same and chain.inputs[last.input] == source:
            grown = last._replace(paths=(*last.paths, *copy.paths))
            return chain._replace(actions=(*chain.actions[:-1], grown))
    copy = copy._replace(input=len(chain.inputs))
    return chain._replace(actions=(*chain.actions, copy), inputs=(*chain.inputs, source))


def _copy(copy: Any, owner: str) -> op.Copy:
    rules = op.CopyRules(
        copy.followSymlink,
        copy.dirCopyContents,
        copy.createDestPath,
        copy.allowEmptyWildcard,
        copy.alwaysReplaceExistingDestPaths,
        _time(copy),
    )
    path = copy.src.lstrip("/") or "."
    paths = [path if copy.allowWildcard else escape_glob(path)]
    parents = bool(copy.include_patterns) and _are_parents(copy)
    if parents:
        pivot = "" if path == "." else f"{path}/./"
        paths = [f"{pivot}{pattern}" for pattern in copy.include_patterns]
    elif copy.include_patterns:
        rules = rules._replace(include=tuple(copy.include_patterns))
    if not has_wildcard("".join(paths)):
        rules = rules._replace(allow_empty=True)
    return op.Copy(
        0,
        tuple(paths),
        copy.dest,
        owner,
        copy.modeStr or ("" if copy.mode == _KEEP_MODE else f"{copy.mode:o}"),
        unpack=copy.attemptUnpackDockerCompatibility,
        parents=parents,
        exclude=tuple(copy.exclude_patterns),
        rules=rules,
    )


def _are_parents(copy: Any) -> bool:
    """Whether patterns of what to include are the sources of a COPY --parents: those that are no
    patterns have to be there."""
    return all(
        has_wildcard(pattern) or posixpath.join(copy.src, pattern) in copy.required_paths
        for pattern in copy.include_patterns
    )


def _time(made: Any) -> int | None:
    return None if made.timestamp == _NOW else int(made.timestamp)


def _owner(made: Any, base: int) -> str:
    """The owner as `--chown` says it. Names are looked up in the base."""
    if not made.HasField("owner"):
        return ""
    user = _part(made.owner.user, base)
    group = _part(made.owner.group, base) if made.owner.HasField("group") else None
    return user if group is None else f"{user}:{group}"


def _part(option: Any, base: int) -> str:
    if option.WhichOneof("user") != "byName":
        return str(option.byID)
    if option.byName.input != base:
        raise DefinitionError("names of users of another tree than the base are not possible")
    return str(option.byName.name)
