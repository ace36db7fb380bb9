"""What BuildKit's caches know ops by.

Comes in: the results of a graph. Goes out: for each op a digest of what it does, and for each of
its inputs how that counts: by the key of the op that made it, together with a *selector* for the
paths that are read; or by the contents of these paths, which finds the op again where the input
was made in another way. Nothing here reads a file.

An op's digest is that of a JSON text, in which BuildKit leaves out what changes no result (where
hosts are, proxies, the ids of most cache mounts), and what selectors say.
Rules: moby/buildkit `solver/llbsolver/ops` and `solver/cachekey.go`.
Read next: `minibuild.remotecache.keys`.
"""

import os
import posixpath
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Any

from minibuild.buildkit.definition import SCRATCH, DefinitionWriter, OpBody, OpInputs, OpOutput
from minibuild.buildkit.encode import add_ops
from minibuild.buildkit.encode_source import LocalAccess
from minibuild.buildkit.gojson import NAMES, as_json, without_empty
from minibuild.digest import Digest, digest_bytes
from minibuild.graph.pattern import clean
from minibuild.graph.platform import Platform
from minibuild.graph.vertex import Note, Vertex
from minibuild.startup.tuples import NamedTuple

CONTENTS = -1
"""In place of the number of an output: a key is made of contents."""

_BIND, _CACHE = 0, 3  # of MountType


class Selector(NamedTuple):
    """Paths of an input that an op reads. `wildcard`: the path is a pattern."""

    path: str = "/"
    wildcard: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    @property
    def filters(self) -> bool:
        """Whether it may select less than the whole of one path."""
        return bool(self.wildcard or self.include or self.exclude)


class Dependency(NamedTuple):
    """An input of an op: how its key counts, and what of its contents does; None if they do not."""

    output: OpOutput
    selector: str = ""
    contents: tuple[Selector, ...] | None = None


class OpKey(NamedTuple):
    """An op by what it does. A source has no digest: it is known by what is found there."""

    digest: Digest | None
    inputs: tuple[Dependency, ...] = ()


class KeyedGraph(NamedTuple):
    """The ops of a graph by names of their own, and which output of them each vertex is."""

    ops: dict[Digest, OpKey]
    outputs: dict[Digest, OpOutput]


def keyed_graph(results: Sequence[Vertex | None], cache_namespace: str = "") -> KeyedGraph:
    """The keys of all that results stand on. `cache_namespace` is that of `encode`."""
    collected = _Collected()
    outputs = add_ops(collected, results, LocalAccess(), cache_namespace)
    return KeyedGraph(collected.ops, outputs)


def record_key(op: Digest, output: int) -> Digest:
    """The digest of a record: that of an op, or of contents, and the output."""
    return digest_bytes(f"{op}@{output}".encode())


def source_key(name: str) -> Digest:
    """The digest of a source that is known as `name`."""
    return digest_bytes(f"buildkit.source.v0:{name}".encode())


def image_key(digest: str, platform: Platform) -> Digest:
    """The digest of an image by that of its manifest, or of an index."""
    return source_key(digest_bytes(as_json({"Digest": digest, **_platform(platform)})))


class _Collected(DefinitionWriter):
    """Takes the ops of a definition, and keeps their keys alone."""

    __slots__ = ("ops",)

    def __init__(self) -> None:
        self.ops: dict[Digest, OpKey] = {}

    def append(
        self,
        kind: str,
        body: OpBody,
        inputs: OpInputs,
        note: Note,
        *,
        caps: Iterable[str] = (),
        platform: Platform | None = None,
    ) -> OpOutput:
        """See `DefinitionWriter.append`."""
        fields = without_empty(body)
        name = digest_bytes(as_json([kind, fields, inputs.outputs, platform]))
        if name not in self.ops:
            match kind:
                case "exec":
                    key = _exec_key(body, fields, inputs, platform)
                case "file":
                    key = _file_key(body, inputs)
                case "merge" | "diff":
                    said = {"Type": f"buildkit.{kind}.v0", kind.capitalize(): fields}
                    key = _key(said, [Dependency(output) for output in inputs.outputs])
                case _:
                    key = OpKey(None)
            self.ops[name] = key
        return OpOutput(name)


def _key(said: dict[str, Any], inputs: Iterable[Dependency]) -> OpKey:
    return OpKey(digest_bytes(as_json(said)), tuple(inputs))


def _platform(platform: Platform | None) -> dict[str, Any]:
    if platform is None:
        return {}
    optional = {"Variant": platform.variant, "OSVersion": platform.os_version}
    said = {name: value for name, value in optional.items() if value}
    return {"OS": platform.os, "Arch": platform.architecture, **said}


# --- Exec ---


def _exec_key(
    body: OpBody, fields: dict[str, Any], inputs: OpInputs, platform: Platform | None
) -> OpKey:
    fields["meta"].pop("proxy_env", None)
    for host in fields["meta"].get("extraHosts", ()):
        host.pop("IP", None)
    for mount in fields["mounts"]:
        mount.pop("selector", None)
        cache = mount.get("cacheOpt")
        if cache is not None and not _is_default_cache(cache, mount["dest"]):
            cache.clear()
    first = fields["mounts"][0]
    # A RUN without mounts keeps the key that it had when mounts did not count.
    if len(fields["mounts"]) == 1 and first["dest"] == "/" and not first.keys() - _ROOT:
        del fields["mounts"]
    said = {"Type": "buildkit.exec.v0", "Exec": fields, **_platform(platform)}
    return _key(said, _exec_inputs(body, inputs))


_ROOT = {"dest", "input", "output"}


def _is_default_cache(cache: dict[str, Any], dest: str) -> bool:
    """Whether a cache mount has the id that it has if none is given, with any namespace."""
    name = cache.get("ID", "")
    return not cache.get("sharing") and dest in (name, name.partition("/")[2])


def _exec_inputs(body: OpBody, inputs: OpInputs) -> list[Dependency]:
    paths: list[list[str]] = [[] for _ in inputs.outputs]
    by_contents = [False for _ in inputs.outputs]
    for mount in body["mounts"]:
        if mount.get("mountType", _BIND) not in (_BIND, _CACHE) or mount["input"] == SCRATCH:
            continue
        path = clean(f"/{mount.get('selector', '')}")
        paths[mount["input"]].append(path)
        # What a mount leaves for later steps may depend on files that were not selected.
        safe = mount["output"] == SCRATCH or mount["readonly"] or path == "/"
        by_contents[mount["input"]] = safe and mount["dest"] != "/"
    found = []
    for output, selected, read in zip(inputs.outputs, paths, by_contents, strict=True):
        contents = tuple(Selector(path) for path in _outermost(selected)) if read else None
        if contents and any(one.path == "/" for one in contents):
            contents = (Selector(),)
        found.append(Dependency(output, _join(selected) if selected else "", contents))
    return found


# --- File ---


def _file_key(body: OpBody, inputs: OpInputs) -> OpKey:
    selected: list[list[Selector]] = [[] for _ in inputs.outputs]
    bases, said, indexes = set(), [], []
    for action in body["actions"]:
        numbers = [action[key] for key in ("input", "secondaryInput", "output")]
        base, source, _ = numbers
        (kind,) = action.keys() - {"input", "secondaryInput", "output"}
        part, fields = action[kind], without_empty(action[kind])
        bases.add(base)
        for account, option in fields.get("owner", {}).items():
            tree = option.get("byName", {}).get("input", 0)
            if "byName" in option and 0 <= tree < len(selected):
                selected[tree].append(Selector(_ACCOUNTS[account]))
            fields["owner"][account] = {"User": {NAMES.get(k, k): v for k, v in option.items()}}
        if kind == "copy" and 0 <= source < len(selected):
            selected[source].append(_copied(part))
            fields["src"] = posixpath.basename(part["src"].rstrip("/")) or "/"
        said.append(as_json(fields))
        indexes.append(numbers)
    text: dict[str, Any] = {
        "Type": "buildkit.file.v0",
        "Actions": [b64encode(one).decode() for one in said],
    }
    if not _is_chain(indexes):
        text["indexes"] = indexes
    dependencies = []
    for number, (output, paths) in enumerate(zip(inputs.outputs, selected, strict=True)):
        if number in bases or not paths:
            dependencies.append(Dependency(output))
        else:
            # The selector has the paths alone, in this order, each as often as it is read.
            written = sorted((one.path for one in paths), key=os.fsencode, reverse=True)
            dependencies.append(Dependency(output, _join(written), _distinct(paths)))
    return _key(text, dependencies)


_ACCOUNTS = {"user": "/etc/passwd", "group": "/etc/group"}
"""The files that say which numbers names of owners have."""


def _copied(copy: OpBody) -> Selector:
    return Selector(
        copy["src"],
        copy["allowWildcard"] and _has_wildcard(copy["src"]),
        tuple(copy["include_patterns"]),
        tuple(copy["exclude_patterns"]),
    )


def _has_wildcard(path: str) -> bool:
    """Whether a path is a pattern. Not by a backslash alone, which escapes what is behind it."""
    rest = iter(path)
    for char in rest:
        if char == "\\":
            next(rest, None)
        elif char in "*?[":
            return True
    return False


def _is_chain(indexes: Sequence[Sequence[int]]) -> bool:
    """Whether each action works on the one before it, the first on input 0, and reads nothing or
    input 1. Such ops were in caches before the indexes were part of the key."""
    last = len(indexes) - 1
    return all(
        base == (0 if number == 0 else last + number)
        and second in (SCRATCH, 1)
        and output == (0 if number == last else SCRATCH)
        for number, (base, second, output) in enumerate(indexes)
    )


def _distinct(selectors: Sequence[Selector]) -> tuple[Selector, ...]:
    """Selectors without those that are in the directory of another one."""
    plain = [Selector(p) for p in _outermost(s.path for s in selectors if not s.filters)]
    return tuple(sorted([*plain, *(s for s in selectors if s.filters)], key=lambda s: s.path))


def _outermost(paths: Iterable[str]) -> list[str]:
    """Paths without those that are below another one, sorted."""
    all_paths = set(paths)
    return sorted(
        path
        for path in all_paths
        if not any(path != top and path.startswith(top.rstrip("/") + "/") for top in all_paths)
    )


def _join(words: Iterable[str]) -> Digest:
    return digest_bytes("\0".join(words).encode("utf-8", "surrogateescape"))
