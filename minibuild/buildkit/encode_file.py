"""A File as LLB: a list of actions, each on the result of the one before.

Comes in: a vertex with a File, and the outputs of its inputs. Goes out: its `FileOp`. A Copy of
several paths is an action for each of them. Actions are numbered behind the inputs: an action
names the tree that it changes by such a number.
Rules: moby/buildkit `client/llb/fileop.go` and `frontend/dockerfile/dockerfile2llb`.
Read next: `encode`.
"""

import posixpath
from collections.abc import Iterator, Sequence
from typing import Any, assert_never

from minibuild.buildkit.definition import SCRATCH, DefinitionWriter, Inputs, OpOutput
from minibuild.graph import op
from minibuild.graph.mode import parse_mode
from minibuild.graph.owner import parse_owner
from minibuild.graph.pattern import clean, has_wildcard
from minibuild.graph.vertex import Vertex
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
    numbers = Inputs()
    base = numbers.index(inputs[0])
    sources = [numbers.index(inputs[step.source]) if step.path else SCRATCH for step in steps]
    body = definition.types["FileOp"]()
    for index, (step, secondary) in enumerate(zip(steps, sources, strict=True)):
        message = body.actions.add(
            input=base if index == 0 else len(numbers.outputs) + index - 1,
            secondaryInput=secondary,
            output=0 if index == len(steps) - 1 else SCRATCH,
        )
        source = vertex.inputs[step.source] if step.path else None
        _encode(message, step, source, base)
    return definition.append("file", body, numbers, vertex.note, caps=["file.base"])


def _single(file_op: op.File) -> Iterator[_Action]:
    """The actions, with one path in each copy."""
    for action in file_op.actions:
        if isinstance(action, op.Copy):
            yield from (_Action(action, action.input, path) for path in action.paths)
        else:
            yield _Action(action)


def _encode(message: Any, step: _Action, source: Vertex | None, base: int) -> None:
    action = step.action
    match action:
        case op.Copy():
            _copy(message.copy, action, step.path, source)
            _own(message.copy, action.chown, base)
            return
        case op.Rm():
            message.rm.path, message.rm.allowNotFound = action.path, action.missing_ok
            message.rm.allowWildcard = action.wildcard
            return
        case op.Mkdir():
            made = message.mkdir
            made.path, made.mode, made.makeParents = action.path, action.mode, action.parents
        case op.Mkfile():
            made = message.mkfile
            made.path, made.mode, made.data = action.path, action.mode, action.data
        case op.Symlink():
            made = message.symlink
            made.oldpath, made.newpath = action.target, action.path
        case _ as unknown:
            assert_never(unknown)
    made.timestamp = _time(action.time_ns)
    _own(made, action.owner, base)


def _copy(message: Any, action: op.Copy, path: str, source: Vertex | None) -> None:
    rules = action.rules
    message.dest, message.timestamp = action.dest, _time(rules.time_ns)
    message.createDestPath, message.alwaysReplaceExistingDestPaths = rules.make_dest, rules.replace
    _mode(message, action.chmod)
    message.attemptUnpackDockerCompatibility = action.unpack
    only = _only_path(source)
    if only:
        message.src = only
        return
    pivot, parents, rest = path.partition("/./")
    message.src = clean("/" + (pivot if parents else "" if action.parents else path))
    if action.parents:
        rest = rest if parents else path
        message.include_patterns.append(rest)
        if not has_wildcard(rest):
            message.required_paths.append(posixpath.join(message.src, rest))
    message.exclude_patterns.extend(action.exclude)
    message.include_patterns.extend(rules.include)
    message.followSymlink, message.dirCopyContents = rules.follow, rules.contents
    message.allowWildcard, message.allowEmptyWildcard = True, rules.allow_empty


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


def _mode(message: Any, chmod: str) -> None:
    """An octal mode as a number, a symbolic one as it is written."""
    rule = parse_mode(chmod) if chmod else None
    if rule is None:
        message.mode = _KEEP_MODE
    elif rule.exact is not None:
        message.mode = rule.exact
    else:
        message.modeStr = chmod


def _own(message: Any, text: str, base: int) -> None:
    """The owner of what is made. Names are looked up in the tree that the action changes."""
    if not text:
        return
    user, group = parse_owner(text)
    _part(message.owner.user, user, base)
    if group is not None:
        _part(message.owner.group, group, base)


def _part(message: Any, part: int | str, base: int) -> None:
    if isinstance(part, int):
        message.byID = part
    else:
        message.byName.name, message.byName.input = part, base
