"""Applying the actions of a `File` op to a tree.

Comes in: actions, the root of the destination as a descriptor (an overlay mount or a plain
directory; an empty one for --link, where all directories are made by the copy itself), and the
trees to copy from. Goes out: the changed tree. A failure leaves it half changed, and the caller
throws it away. Read next: `plan` for what goes where, `tree` for how.
"""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, assert_never

from minibuild.errors import DefinitionError
from minibuild.fileop.api import NO_HOOKS, Entry, Hooks, SourceTree, Tally, explained
from minibuild.fileop.dest import OnDisk
from minibuild.fileop.owner import has_names, lookup_owner
from minibuild.fileop.plan import goes_on, make_directories, put_copy
from minibuild.fileop.select import Selection
from minibuild.fileop.tree import TreeSink
from minibuild.graph.op import Copy, CopyRules, FileAction, Mkdir, Mkfile, Rm, Symlink
from minibuild.linux.beneath import clean, join, lstat, open_real, real_path, remove_tree
from minibuild.linux.descriptors import closing_fd

if TYPE_CHECKING:
    from minibuild.linux.recorded import Records


def apply(
    actions: Sequence[FileAction],
    root_fd: int,
    sources: Mapping[int, SourceTree],
    hooks: Hooks = NO_HOOKS,
    *,
    owners: "Records | None" = None,
) -> list[str]:
    """Do the actions in order. `sources` has the tree of each input that a `Copy` reads; `owners`
    are the records of the tree, where owners are recorded.

    Returns a sentence for each entry of an unpacked archive that this host does not permit.

    In a tree that is empty at first (as for --link) the names of users cannot be looked up, and
    using one is an error. Raises `DefinitionError`, `HostError`, `StoreError` or `Cancelled`.
    """
    tally = Tally(hooks.progress, hooks.cancelled)
    with explained("copying files"), TreeSink(root_fd, hooks, owners=owners) as tree:
        putting = _Putting(tree, root_fd, tally, owners)
        for number, action in enumerate(actions, 1):
            match action:
                case Copy():
                    more = goes_on(action, actions[number:])
                    putting.copy(action, sources[action.input], more=more)
                case Rm():
                    tree.settle()
                    for path in _removed(root_fd, action):
                        _remove(root_fd, path, action.missing_ok or action.wildcard)
                case Mkdir() | Mkfile() | Symlink():
                    putting.made(action)
                case _ as unknown:
                    assert_never(unknown)
        tree.settle()
        tally.tell()
        return tree.skipped


class _Putting:
    """What the actions of one op share."""

    def __init__(
        self, tree: TreeSink, root_fd: int, tally: Tally, owners: "Records | None"
    ) -> None:
        self._tree = tree
        self._root_fd = root_fd
        self._dest = OnDisk(root_fd, owners)
        self._tally = tally
        self._names = has_names(root_fd)

    def copy(self, action: Copy, tree: SourceTree, *, more: bool) -> None:
        """Put what a copy takes from a tree."""
        owner = self._owner(action.chown) if action.chown else None
        put_copy(action, tree, self._dest, self._tree, self._tally, owner, more=more)

    def made(self, action: Mkdir | Mkfile | Symlink) -> None:
        """Put what an action makes of nothing, and the directories above it that are missing."""
        for entry in self._entries(action):
            self._tree.put(entry)
            self._tally.add(entry)

    def _entries(self, action: Mkdir | Mkfile | Symlink) -> Iterator[Entry]:
        match action:
            case Mkdir():
                real = self._dest.resolve(action.path)
                above = real.rpartition("/")[0]
                if not action.parents and not self._dest.kind(above):
                    raise DefinitionError(f"mkdir {action.path}: no such file or directory")
                owner = self._owner(action.owner)
                return make_directories(self._dest, real, action.mode, owner, action.time_ns)
            case Mkfile():
                real = self._dest.resolve(action.path)
                entry = Entry(real, stat.S_IFREG | action.mode, *self._owner(action.owner))
                entry = entry._replace(data=action.data, mtime_ns=action.time_ns)
                return self._with_parents(entry)
            case Symlink():
                return self._with_parents(self._symlink(action))
            case _ as unknown:
                assert_never(unknown)

    def _owner(self, text: str) -> tuple[int, int]:
        return lookup_owner(self._root_fd, text, names=self._names)

    def _symlink(self, action: Symlink) -> Entry:
        head, _, name = clean(action.path).rpartition("/")
        real = join(self._dest.resolve(head), name)
        if self._dest.kind(real):
            raise DefinitionError(f"symlink {action.path}: file exists")
        owner = self._owner(action.owner)
        mode = stat.S_IFLNK | 0o777
        return Entry(real, mode, *owner, mtime_ns=action.time_ns, target=action.target)

    def _with_parents(self, entry: Entry) -> Iterator[Entry]:
        above = entry.path.rpartition("/")[0]
        yield from make_directories(self._dest, above, 0o755, (0, 0))
        yield entry


def _removed(root_fd: int, action: Rm) -> Sequence[str]:
    """The paths that an action removes."""
    if not action.wildcard:
        return (action.path,)
    rules = CopyRules(follow=False)
    copy = Copy(0, (action.path.lstrip("/"),), "/", rules=rules)
    return [pick.real for pick in Selection(copy, SourceTree(root_fd)).picks()]


def _remove(root_fd: int, path: str, missing_ok: bool) -> None:
    head, _, name = clean(path).rpartition("/")
    if not name:
        raise DefinitionError("rm /: the root of a tree cannot be removed")
    above = real_path(root_fd, head)
    if lstat(root_fd, join(above, name)) is None:
        if missing_ok:
            return
        raise DefinitionError(f"rm {path}: no such file or directory")
    with closing_fd(open_real(root_fd, above, os.O_PATH | os.O_DIRECTORY)) as fd:
        remove_tree(fd, name)
