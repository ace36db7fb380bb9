"""A File as LLB, and back: a list of actions, each on the result of another one.

Comes in: a vertex with a File, and the outputs of its inputs; or a `FileOp` with its inputs. Goes
out: the op; or a vertex for each of its outputs. A Copy of several paths is an action for each of
them. Actions are numbered behind the inputs: an action names the tree that it changes by such a
number. So the actions of an op are a net. A File of ours is a chain, so an action that others
branch off from is a vertex of its own.
Rules: moby/buildkit `solver/pb/ops.proto`, `client/llb/fileop.go`,
`frontend/dockerfile/dockerfile2llb`, `solver/llbsolver/ops/file.go`.
Read next: `decode`.
"""

import posixpath
from collections.abc import Iterator, Sequence
from typing import Any, assert_never

from minibuild.buildkit.definition import SCRATCH, DefinitionWriter, OpBody, OpInputs, OpOutput
from minibuild.errors import DefinitionError
from minibuild.graph import op
from minibuild.graph.mode import parse_mode
from minibuild.graph.owner import parse_owner
from minibuild.graph.pattern import clean, escape_glob, has_wildcard
from minibuild.graph.vertex import Note, Vertex
from minibuild.startup.tuples import NamedTuple

_NOW = -1
_KEEP_MODE = -1


class _Action(NamedTuple):
    """An action, and the vertex that it copies from."""

    action: op.FileAction
    source: int = 0
    path: str = ""


def encode_file(
    definition: DefinitionWriter,
    vertex: Vertex,
    file_op: op.File,
    inputs: Sequence[OpOutput | None],
) -> OpOutput:
    """Append the op of a File. `inputs` are the outputs of the vertex's inputs."""
    steps = list(_single(file_op))
    numbers = OpInputs()
    base = numbers.index(inputs[0])
    sources = [numbers.index(inputs[step.source]) if step.path else SCRATCH for step in steps]
    actions = [
        {
            "input": base if index == 0 else len(numbers.outputs) + index - 1,
            "secondaryInput": secondary,
            "output": 0 if index == len(steps) - 1 else SCRATCH,
            **_encoded(step, vertex.inputs[step.source] if step.path else None, base),
        }
        for index, (step, secondary) in enumerate(zip(steps, sources, strict=True))
    ]
    body = {"actions": actions}
    return definition.append("file", body, numbers, vertex.note, caps=["file.base"])


def _single(file_op: op.File) -> Iterator[_Action]:
    """The actions, with one path in each copy."""
    for action in file_op.actions:
        if isinstance(action, op.Copy):
            yield from (_Action(action, action.input, path) for path in action.paths)
        else:
            yield _Action(action)


def _encoded(step: _Action, source: Vertex | None, base: int) -> OpBody:
    """An action by the name of its kind."""
    action = step.action
    match action:
        case op.Copy():
            return {"copy": _copy(action, step.path, source, base)}
        case op.Rm():
            rules = {"allowNotFound": action.missing_ok, "allowWildcard": action.wildcard}
            return {"rm": {"path": action.path, **rules}}
    owned = {"owner": _owner(action.owner, base), "timestamp": _time(action.time_ns)}
    match action:
        case op.Mkdir():
            made = {"path": action.path, "mode": action.mode, "makeParents": action.parents}
            return {"mkdir": made | owned}
        case op.Mkfile():
            made = {"path": action.path, "mode": action.mode, "data": action.data}
            return {"mkfile": made | owned}
        case op.Symlink():
            return {"symlink": {"oldpath": action.target, "newpath": action.path, **owned}}
        case _ as unknown:
            assert_never(unknown)


def _copy(action: op.Copy, path: str, source: Vertex | None, base: int) -> OpBody:
    rules, only = action.rules, _only_path(source)
    pivot, parents, rest = path.partition("/./")
    src = only or clean("/" + (pivot if parents else "" if action.parents else path))
    include, required = list[str](), list[str]()
    if action.parents and not only:
        include = [clean("/" + (rest if parents else path)).lstrip("/")]
        required = [] if has_wildcard(path) else [clean(f"{src}/{include[0]}")]
    mode, mode_text = _mode(action.chmod)
    return {
        "src": src,
        "dest": action.dest,
        "owner": _owner(action.chown, base),
        "mode": mode,
        "followSymlink": not only and rules.follow,
        "dirCopyContents": not only and rules.contents,
        "attemptUnpackDockerCompatibility": action.unpack,
        "createDestPath": rules.make_dest,
        "allowWildcard": not only,
        "allowEmptyWildcard": not only and rules.allow_empty,
        "timestamp": _time(rules.time_ns),
        "include_patterns": [] if only else [*include, *rules.include],
        "exclude_patterns": action.exclude,
        "alwaysReplaceExistingDestPaths": rules.replace,
        "modeStr": mode_text,
        "required_paths": required,
    }


def _time(time_ns: int | None) -> int:
    return _NOW if time_ns is None else time_ns


def _only_path(source: Vertex | None) -> str:
    """What is copied of a source that is fetched or stands in the Dockerfile: all of it, by a path
    that is no pattern. Empty for any other source."""
    match source.op if source is not None else None:
        case op.HttpSource(filename=name):
            return f"/{name}"
        case op.GitSource():
            return "/"
        case op.File(actions=(op.Mkfile(path=path),)):
            return path
    return ""


def _mode(chmod: str) -> tuple[int, str]:
    """An octal mode as a number, a symbolic one as it is written."""
    rule = parse_mode(chmod) if chmod else None
    if rule is None:
        return _KEEP_MODE, ""
    return (0, chmod) if rule.exact is None else (rule.exact, "")


def _owner(text: str, base: int) -> OpBody | None:
    """The owner of what is made. Names are looked up in the tree that the action changes."""
    if not text:
        return None
    accounts = zip(("user", "group"), parse_owner(text), strict=True)
    return {
        which: {"byID": one} if isinstance(one, int) else {"byName": {"name": one, "input": base}}
        for which, one in accounts
        if one is not None
    }


# --- And back ---


def decode_file(body: Any, inputs: Sequence[Vertex | None], note: Note) -> dict[int, Vertex]:
    """The vertices of a File, by the numbers of its outputs. Raises `DefinitionError`."""
    if not body.actions:
        raise DefinitionError("a file op without an action")
    decoder = _ActionDecoder(inputs, note)
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


class _ActionDecoder:
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
            copy = _copy_of(action.copy, _owner_of(action.copy, chain.number))
            self._results.append(_with_copy(chain, copy, self._at(action.secondaryInput)))
            return
        self._results.append(
            chain._replace(actions=(*chain.actions, _made_by(action, kind, chain)))
        )


def _made_by(action: Any, kind: str, chain: _Chain) -> op.FileAction:
    """An action that copies nothing."""
    if kind not in ("mkdir", "mkfile", "symlink", "rm"):
        raise DefinitionError(f"the action {kind or 'without a kind'} is not possible here")
    made = getattr(action, kind)
    if kind == "rm":
        return op.Rm(made.path, made.allowNotFound, made.allowWildcard)
    owner, time_ns = _owner_of(made, chain.number), _time_of(made)
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


def _copy_of(copy: Any, owner: str) -> op.Copy:
    rules = op.CopyRules(
        copy.followSymlink,
        copy.dirCopyContents,
        copy.createDestPath,
        copy.allowEmptyWildcard,
        copy.alwaysReplaceExistingDestPaths,
        _time_of(copy),
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


def _time_of(made: Any) -> int | None:
    return None if made.timestamp == _NOW else int(made.timestamp)


def _owner_of(made: Any, base: int) -> str:
    """The owner as `--chown` says it. Names are looked up in the base."""
    if not made.HasField("owner"):
        return ""
    user = _account_of(made.owner.user, base)
    group = _account_of(made.owner.group, base) if made.owner.HasField("group") else None
    return user if group is None else f"{user}:{group}"


def _account_of(option: Any, base: int) -> str:
    if option.WhichOneof("user") != "byName":
        return str(option.byID)
    if option.byName.input != base:
        raise DefinitionError("names of users of another tree than the base are not possible")
    return str(option.byName.name)
