"""A `FileOp` as a File.

Comes in: an op and its inputs. Goes out: a vertex. An op may be any net of actions; ours is a
chain, each action on the result of the one before, and so is what BuildKit's frontend and most
programs make. Copies have the flags of COPY and ADD, or those of a single file. Rules:
moby/buildkit `solver/pb/ops.proto`, `solver/llbsolver/ops/file.go`. Read next: `decode`.
"""

from collections.abc import Sequence
from typing import Any

from minibuild.buildkit.definition import SCRATCH
from minibuild.errors import DefinitionError
from minibuild.graph import op
from minibuild.graph.pattern import escape_glob
from minibuild.graph.vertex import Note, Vertex

_NOW = -1
_KEEP_MODE = -1
_AS_COPY = (True, True, True, True, True)
_AS_ONE_FILE = (False, False, True, False, False)


def decode_file(body: Any, inputs: Sequence[Vertex | None], note: Note) -> Vertex:
    """The vertex of a File. Raises `DefinitionError`."""
    if not body.actions:
        raise DefinitionError("a file op without an action")
    decoder = _Decoder(inputs, body.actions[0].input)
    for number, action in enumerate(body.actions):
        decoder.add(number, action, is_last=number == len(body.actions) - 1)
    return Vertex(op.File(tuple(decoder.actions)), decoder.inputs, note)


class _Decoder:
    """The actions so far, and the inputs that they need: first the base."""

    def __init__(self, given: Sequence[Vertex | None], base: int) -> None:
        self.actions: list[op.FileAction] = []
        self._given = given
        self._base = base
        self.inputs: list[Vertex | None] = [self._at(base)]

    def _at(self, number: int) -> Vertex | None:
        if number == SCRATCH:
            return None
        if not 0 <= number < len(self._given):
            raise DefinitionError(
                f"a file op names input {number}, and has {len(self._given)}",
                hint="a copy from the result of another action of the op is not possible here",
            )
        return self._given[number]

    def add(self, number: int, action: Any, *, is_last: bool) -> None:
        """Take one action."""
        on = self._base if number == 0 else len(self._given) + number - 1
        if action.input != on or (action.output == 0) != is_last:
            raise DefinitionError(
                "actions that are no chain are not possible here",
                hint="let each action go on from the one before, and the last be the output",
            )
        kind = action.WhichOneof("action")
        if kind == "copy":
            self._add_copy(self._copy(action.copy), self._at(action.secondaryInput))
        elif kind == "mkdir":
            self._now(action.mkdir)
            owner = self._owner(action.mkdir)
            self.actions.append(op.Mkdir(action.mkdir.path, action.mkdir.mode & 0o7777, owner))
        elif kind == "mkfile":
            self._now(action.mkfile)
            owner = self._owner(action.mkfile)
            made = action.mkfile
            self.actions.append(op.Mkfile(made.path, made.data, made.mode & 0o7777, owner))
        elif kind == "symlink":
            self._now(action.symlink)
            owner = self._owner(action.symlink)
            self.actions.append(op.Symlink(action.symlink.newpath, action.symlink.oldpath, owner))
        elif kind == "rm" and not action.rm.allowWildcard:
            self.actions.append(op.Rm(action.rm.path, action.rm.allowNotFound))
        else:
            raise DefinitionError(f"the action {kind or 'without a kind'} is not possible here")

    @staticmethod
    def _now(made: Any) -> None:
        if made.timestamp != _NOW:
            raise DefinitionError("actions with a time of their own are not possible here")

    def _add_copy(self, copy: op.Copy, source: Vertex | None) -> None:
        """Copies from one tree into one directory are one action, as those of an instruction."""
        own = source is not None and not isinstance(source.op, op.LocalSource)
        copy = copy._replace(keep_owner=own)
        last = self.actions[-1] if self.actions else None
        if isinstance(last, op.Copy) and copy.dest.endswith("/"):
            same = last == copy._replace(input=last.input, paths=last.paths)
            if same and self.inputs[last.input] == source:
                self.actions[-1] = last._replace(paths=(*last.paths, *copy.paths))
                return
        self.inputs.append(source)
        self.actions.append(copy._replace(input=len(self.inputs) - 1))

    def _copy(self, copy: Any) -> op.Copy:
        self._now(copy)
        flags = (
            copy.followSymlink,
            copy.dirCopyContents,
            copy.createDestPath,
            copy.allowWildcard,
            copy.allowEmptyWildcard,
        )
        if flags not in (_AS_COPY, _AS_ONE_FILE) or copy.alwaysReplaceExistingDestPaths:
            raise DefinitionError(
                f"a copy of {copy.src!r} with these flags is not possible here",
                hint="it has those of COPY (followSymlink, dirCopyContents, createDestPath, "
                "allowWildcard, allowEmptyWildcard), or createDestPath alone",
            )
        return op.Copy(
            0,
            tuple(self._paths(copy, is_pattern=flags == _AS_COPY)),
            copy.dest,
            self._owner(copy),
            copy.modeStr or ("" if copy.mode == _KEEP_MODE else f"{copy.mode:o}"),
            unpack=copy.attemptUnpackDockerCompatibility,
            parents=bool(copy.include_patterns),
            exclude=tuple(copy.exclude_patterns),
        )

    @staticmethod
    def _paths(copy: Any, *, is_pattern: bool) -> list[str]:
        path = copy.src.lstrip("/") or "."
        if not is_pattern:
            return [escape_glob(path)]
        if not copy.include_patterns:
            return [path]
        pivot = "" if path == "." else f"{path}/./"
        return [f"{pivot}{pattern}" for pattern in copy.include_patterns]

    def _owner(self, made: Any) -> str:
        """The owner as `--chown` says it. Names are looked up in the base."""
        if not made.HasField("owner"):
            return ""
        user = self._part(made.owner.user)
        group = self._part(made.owner.group) if made.owner.HasField("group") else None
        return user if group is None else f"{user}:{group}"

    def _part(self, option: Any) -> str:
        if option.WhichOneof("user") != "byName":
            return str(option.byID)
        if option.byName.input != self._base:
            raise DefinitionError("names of users of another tree than the base are not possible")
        return str(option.byName.name)
