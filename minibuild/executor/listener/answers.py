"""How each kind of call is answered, by its name: a table.

Comes in: names as in `calls`. Goes out: for each a `CallAnswer`: what its arguments are, what is
checked, and who acts. Most calls have two forms: one whose path starts in the working directory,
and a younger one that begins with the number of an open directory; some have one more for an open
file. Read next: `arguments`, then those who check (`permissions`, `guards`) and act (`stat_calls`,
`creating_calls`, `device_calls`, `chown_calls`, `id_calls`).
"""

import stat
from collections.abc import Callable
from functools import partial

from minibuild.executor.listener.chown_calls import ChownCalls
from minibuild.executor.listener.creating_calls import CreatingCalls
from minibuild.executor.listener.device_calls import DEVICES, DeviceCalls
from minibuild.executor.listener.guards import Guards
from minibuild.executor.listener.id_calls import ASKED, IdCalls
from minibuild.executor.listener.identity import CHANGES, Identity
from minibuild.executor.listener.notifications import Notification
from minibuild.executor.listener.permissions import Permissions
from minibuild.executor.listener.process import FilePlace
from minibuild.executor.listener.stat_calls import StatCalls
from minibuild.linux.syscalls import AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW
from minibuild.startup.tuples import NamedTuple


class CallAnswer(NamedTuple):
    """How calls of one kind are answered. `words` describe their arguments, and `meant` are the
    flags of their path, where a call has none. `check` gets who calls, if that is not root, and the
    arguments; it raises `PermissionError` for a user who is refused. `act` gets the call besides,
    and says what it returns. If that is None, or there is nothing to do, the kernel goes on.

    Those `of_users` are left to the kernel where a process is what the kernel takes it for. What
    `changes` where paths lead, or who may follow them, ends what is known of that. Whatever else is
    wrong with a call that `looks`, the kernel says it.
    """

    words: str
    check: Callable[..., object] | None = None
    act: Callable[..., int | None] | None = None
    meant: int = 0
    of_users: bool = False
    changes: bool = False
    looks: bool = False


_of_users = partial(CallAnswer, of_users=True)


def looking(looks: StatCalls, permissions: Permissions) -> dict[str, CallAnswer]:
    """Calls that look at files."""
    look = partial(CallAnswer, check=permissions.find, act=looks.stat, looks=True)
    return {
        "stat": look("path number"),
        "lstat": look("path number", meant=AT_SYMLINK_NOFOLLOW),
        "fstat": look("fd number", meant=AT_EMPTY_PATH),
        "newfstatat": look("dirfd path? number flags"),
        "statx": look("dirfd path? flags - number", act=partial(looks.stat, extended=True)),
    }


def making(
    nodes: DeviceCalls, creations: CreatingCalls, permissions: Permissions
) -> dict[str, CallAnswer]:
    """Calls that make files."""
    new = permissions.check_making
    mkdir, symlink = (new, creations.mkdir), (new, creations.symlink)
    opens = (permissions.check_open, creations.open)

    def node(
        who: Identity, call: Notification, place: FilePlace, mode: int, number: int
    ) -> int | None:
        # The kernel takes the lower half of both registers.
        mode, number = mode & 0xFFFF, number & 0xFFFFFFFF
        if stat.S_IFMT(mode) in DEVICES:
            return nodes.make(who, call, place, mode, number)
        return creations.mknod(who, call, place, mode)

    return {
        "mknod": CallAnswer("path number number", new, node),
        "mknodat": CallAnswer("dirfd path number number", new, node),
        "mkdir": _of_users("path number", *mkdir),
        "mkdirat": _of_users("dirfd path number", *mkdir),
        "open": _of_users("path open mode", *opens),
        "openat": _of_users("dirfd path open mode", *opens),
        "openat2": _of_users("dirfd path how size", *opens),
        "creat": _of_users("path creat", *opens),
        "symlink": _of_users("text path", *symlink),
        "symlinkat": _of_users("text dirfd path", *symlink),
    }


def owning(owners: ChownCalls, ids: IdCalls, permissions: Permissions) -> dict[str, CallAnswer]:
    """Calls about owners, and about who the process is."""
    give = partial(CallAnswer, check=permissions.find, act=owners.chown)
    attribute = partial(CallAnswer, check=owners.check_attribute, act=owners.attribute)
    execute = partial(CallAnswer, check=ids.check_entering, act=ids.execute)
    return {
        **{name: CallAnswer("", act=partial(ids.change, name=name)) for name in CHANGES},
        **{name: _of_users("", act=partial(ids.ask, name=name)) for name in ASKED},
        "getresuid": _of_users("number number number", act=partial(ids.tell, kind="user")),
        "getresgid": _of_users("number number number", act=partial(ids.tell, kind="group")),
        "setgroups": CallAnswer("number number", act=ids.setgroups),
        "getgroups": CallAnswer("number number", act=ids.getgroups),
        "execve": execute("path"),
        "execveat": execute("dirfd path - - flags"),
        "chown": give("path number number"),
        "lchown": give("path number number", meant=AT_SYMLINK_NOFOLLOW),
        "fchown": give("fd number number", meant=AT_EMPTY_PATH),
        "fchownat": give("dirfd path number number flags"),
        "setxattr": attribute("path text"),
        "removexattr": attribute("path text"),
        "lsetxattr": attribute("path text", meant=AT_SYMLINK_NOFOLLOW),
        "lremovexattr": attribute("path text", meant=AT_SYMLINK_NOFOLLOW),
        "fsetxattr": attribute("fd text"),
        "fremovexattr": attribute("fd text"),
        "chroot": CallAnswer("path", ids.check_root, ids.root),
        "prctl": CallAnswer("- number", act=ids.keep),
        "pretended": CallAnswer("", act=lambda who, call: 0),
    }


def guarding(guards: Guards) -> dict[str, CallAnswer]:
    """Calls that are refused to some users: most are checked, and the kernel does them."""
    changing = partial(_of_users, changes=True)
    chmod = partial(changing, check=guards.check_chmod, act=guards.chmod)
    ask = partial(_of_users, act=guards.access, looks=True)
    return {
        "unlink": changing("path", guards.unlink),
        "rmdir": changing("path", guards.unlink),
        "unlinkat": changing("dirfd path", guards.unlink),
        "rename": changing("path path", guards.rename),
        "renameat": changing("dirfd path dirfd path", guards.rename),
        "renameat2": changing("dirfd path dirfd path number", guards.rename),
        "link": changing("path path", guards.link),
        "linkat": changing("dirfd path dirfd path flags", guards.link),
        "truncate": _of_users("path", guards.truncate),
        "chmod": chmod("path number"),
        "fchmod": chmod("fd number"),
        "fchmodat": chmod("dirfd path number"),
        "fchmodat2": chmod("dirfd path number flags"),
        "utime": _of_users("path number", guards.times),
        "utimes": _of_users("path number", guards.times),
        "futimesat": _of_users("dirfd path? number", guards.times),
        "utimensat": _of_users("dirfd path? number flags", partial(guards.times, special=True)),
        "chdir": _of_users("path", guards.chdir),
        "fchdir": _of_users("fd", guards.chdir),
        "access": ask("path number"),
        "faccessat": ask("dirfd path number"),
        "faccessat2": ask("dirfd path number flags"),
    }
