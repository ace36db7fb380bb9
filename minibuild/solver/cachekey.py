"""Cache keys: what a vertex depends on, and nothing else.

Comes in: an op and what is known of its inputs. Goes out: a key, and the parts it is made of.

What a vertex depends on is of two kinds. The *base* of a step (the root filesystem of an Exec,
the tree a File works on) is known by its key: it was made by steps whose keys say everything.
What is *copied or mounted* is known by its contents: the digest of what the step would read
(paths, types, modes, owners, data; never times). So touching a file changes nothing, a stage that
was built again with the same outcome changes nothing, and files that no step reads do not count.

Reading contents has a price where they are the result of another step. So every vertex has two
keys: a *fast* one, in which such inputs count by their keys, and a *canonical* one, in which they
count by their contents. A fast key that has a record saves the reading; the canonical key is what
later steps depend on, and it is the same whichever way it was found. BuildKit calls the two
definition-based and content-based.
Read next: `keyring`.
"""

from collections.abc import Sequence
from typing import Any

from minibuild.digest import DiffID, Digest, digest_json, digest_strings
from minibuild.graph.op import Copy, File, Merge, Op
from minibuild.graph.vertex import plain
from minibuild.startup.tuples import NamedTuple

VERSION = "2"
"""Part of every key: raised when a step of equal definition would give another result."""

Contents = tuple[tuple[str, str], ...]
"""What a step reads from one input: (path, digest of everything about it), sorted by path."""


class Part(NamedTuple):
    """What one input adds to a key: the digest of its contents where they are known, else its own
    key (None: scratch)."""

    name: str
    identity: Digest | None = None
    contents: Contents | None = None


def read_part(name: str, contents: Contents) -> Part:
    """The part of an input whose contents were read. They are hashed here and not again for each
    of the keys that the part goes into."""
    return Part(name, digest_strings(word for entry in contents for word in entry), contents)


def step_key(op: Op, base: Digest | None, parts: Sequence[Part]) -> Digest:
    """The key of an Exec or File on the base `base` that reads `parts` from other inputs."""
    return digest_json(
        {
            "version": VERSION,
            "op": plain(_by_effect(op, parts)),
            "base": base,
            "parts": [part.identity or "scratch" for part in parts],
        }
    )


def shape_key(op: File, base: Digest | None) -> Digest:
    """What the keys of a copy have in common, whatever files it reads: equal keys are of equal
    shape. `op` only copies."""
    parts = [read_part("", ()) for _ in op.actions]
    return digest_strings(("shape", step_key(op, base, parts)))


def image_key(diff_ids: Sequence[DiffID]) -> Digest:
    """The key of an image's root filesystem: its layers, whatever the image is called."""
    return digest_strings(("image", VERSION, *diff_ids))


def combined_key(op: Op, inputs: Sequence[Digest | None]) -> Digest:
    """The key of a Merge or a Diff: the kind and the inputs in order, no contents needed."""
    kind = "merge" if isinstance(op, Merge) else "diff"
    return digest_strings((kind, VERSION, *(key or "scratch" for key in inputs)))


def explain(op: Op, base: Digest | None, parts: Sequence[Part]) -> dict[str, Any]:
    """The parts of a key in a form that can be kept and compared with those of another."""
    return {
        "op": plain(_by_effect(op, parts)),
        "base": base,
        "parts": {
            part.name: part.identity
            if part.contents is None
            # A few digits are enough to see that a file changed.
            else {path: digest[-16:] for path, digest in part.contents}
            for part in parts
        },
    }


def _by_effect(op: Op, parts: Sequence[Part]) -> Op:
    """The op without what counts only through the contents it selects.

    Patterns of `--exclude` are such: leaving out a file that was never there changes nothing. They
    count where the contents were not read, for the input's own key does not know of them.
    """
    if not isinstance(op, File):
        return op
    rest = iter(parts)
    actions = []
    for action in op.actions:
        if isinstance(action, Copy):
            part = next(rest, None)
            if part is not None and part.contents is not None:
                action = action._replace(exclude=())
        actions.append(action)
    return File(tuple(actions))
