"""Whether this process may use "/" for steps: a row of walls, each of which is enough to refuse.

Comes in: what the kernel says of this process, and a marker file. Goes out: nothing, or
`OwnRootRefused`. On a machine of a person this would move away all its files, so every wall stands
by itself, and what cannot be found out counts as a refusal:

1. Only uid 0 without CAP_SYS_ADMIN. With that capability it could make namespaces instead.
2. Not in the machine's first pid namespace: so this is a container.
3. "/" is a mount: no chroot, whose parent directory would be a machine's.
4. This program, its interpreter and all libraries lie in one folder at the top of "/", which stays;
   in it is the marker file. Only images that were made for this have one (docs/ci/Dockerfile).
5. "/" holds nothing else than what the marker file names, what runtimes make, and mounts. A person
   may agree to more on a terminal, which is then noted in the folder.

Read next: `preserved`, `root`, which knows what was in "/" while a step has it.
"""

import os
import stat
from collections.abc import Iterator

from minibuild.errors import HostError
from minibuild.executor.ownroot.preserved import PreservedPaths
from minibuild.linux import capabilities, capability_sets
from minibuild.linux.mountinfo import own_mounts
from minibuild.startup.tuples import NamedTuple

MARKER, AGREED = "own-root", "agreed"
"""In the folder of the program: the paths that its image has outside of it, one a line, with a
slash behind those of folders that stay; and the same of what a person agreed to."""

_FIRST_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO in the kernel's proc_ns.h
_NEEDED = "CHOWN DAC_OVERRIDE FOWNER SETGID SETUID".split()
_OF_RUNTIMES = frozenset(
    "/.dockerenv /.containerenv /run/.containerenv /etc/hosts /etc/hostname /etc/resolv.conf "
    "/etc/mtab".split()
)
_MOST_NAMED = 8
_USE_THE_IMAGE = "run it in the image that docs/ci/Dockerfile makes, with the default settings"


class OwnRootRefused(HostError):
    """Why "/" is not used for steps here. Nothing was moved."""


class ProgramHome(NamedTuple):
    """The folder of the program, and other folders that stay."""

    path: str
    folders: tuple[str, ...]

    def preserved(self) -> PreservedPaths:
        """What stays now."""
        return PreservedPaths({mount.point: mount.type for mount in own_mounts()}, self.folders)


def program_home() -> ProgramHome:
    """The home of this program, if it may use "/": all walls but the last, which is
    `root.permitted_root`. Raises `OwnRootRefused`."""
    check_process(os.geteuid(), _has_admin(), capabilities.has(_NEEDED), _pid_namespace())
    home = _home(_mapped_files())
    if "/" not in home.preserved().mounts:
        raise OwnRootRefused("/ is not a mount: this is a chroot", hint=_USE_THE_IMAGE)
    _check_writable(home)
    return home


def check_process(uid: int, admin: bool, able: bool, pid_namespace: str) -> None:
    """The walls that ask for the process alone."""
    if uid != 0:
        raise OwnRootRefused("only uid 0 can use / for steps", hint="--user 0, runAsUser: 0")
    if admin:
        raise OwnRootRefused(
            "this process has CAP_SYS_ADMIN, so steps can have namespaces",
            hint="leave out --isolation",
        )
    if pid_namespace in ("", _FIRST_PID_NAMESPACE):
        raise OwnRootRefused(
            "this is no container: its processes are those of the machine", hint=_USE_THE_IMAGE
        )
    if not able:
        raise OwnRootRefused(
            f"root lacks some of the capabilities {', '.join(_NEEDED)}",
            hint="leave the container the default capabilities",
        )


def _has_admin() -> bool:
    return bool(capability_sets.held() & capabilities.mask(["SYS_ADMIN"]))


def _pid_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _mapped_files() -> set[str]:
    """The files that this process consists of: its interpreter, its loader, its libraries. What is
    mapped and cannot be executed is data, such as that of a database on a volume."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        code = [line for line in file if "x" in line.split(" ", 2)[1]]
    paths = {line.rstrip("\n").partition("/")[2] for line in code}
    return {f"/{path}" for path in paths if path} | {os.path.realpath(__file__)}


def _home(files: set[str]) -> ProgramHome:
    """The one folder at the top of "/" that all these files are in."""
    tops = {path.split("/")[1] for path in files}
    home = f"/{min(tops)}"
    if len(tops) != 1 or not os.path.isfile(f"{home}/{MARKER}"):
        raise OwnRootRefused(
            "this program is not in a folder of its own, from which it could run without the rest "
            "of /",
            hint=_USE_THE_IMAGE,
        )
    if os.path.realpath(home) != home or os.stat(home).st_dev != os.stat("/").st_dev:
        raise OwnRootRefused(
            f"{home} is not on the filesystem of /", hint=f"mount nothing at {home} itself"
        )
    stay = (path[:-1] for path in sorted(listed(home, MARKER)) if path.endswith("/"))
    return ProgramHome(home, (home, *stay))


def listed(home: str, name: str) -> frozenset[str]:
    """The paths in one of the two files."""
    try:
        with open(f"{home}/{name}", encoding="utf-8", errors="surrogateescape") as file:
            return frozenset(line.rstrip("\n") for line in file if line.startswith("/"))
    except FileNotFoundError:
        return frozenset()


def agree(home: ProgramHome, paths: list[str]) -> None:
    """Note down what a person agreed to have moved away for the time of a step."""
    with open(f"{home.path}/{AGREED}", "a", encoding="utf-8", errors="surrogateescape") as file:
        file.writelines(f"{path}\n" for path in paths)


def _check_writable(home: ProgramHome) -> None:
    for folder in ("/", home.path):
        # No file to try it: another build that looks through / would find it.
        if not os.access(folder, os.W_OK, effective_ids=True):
            raise OwnRootRefused(
                f"cannot write to {folder}",
                hint="leave out --read-only, or readOnlyRootFilesystem: steps write to /",
            )


def foreign_paths(root: str, home: ProgramHome) -> Iterator[str]:
    """What `root` holds that is neither of the image, nor of its runtime, nor a mount. Directories
    and empty files hold nothing: a runtime makes them to mount on. Symlinks count."""
    kept = home.preserved()
    ours = listed(home.path, MARKER) | _OF_RUNTIMES
    agreed = listed(home.path, AGREED)
    yield from _foreign(root, "", kept, ours, agreed)


def _foreign(
    root: str, folder: str, kept: PreservedPaths, ours: frozenset[str], agreed: frozenset[str]
) -> Iterator[str]:
    with os.scandir(f"{root}{folder}" or "/") as entries:
        found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
    for name, status in found:
        path = f"{folder}/{name}"
        if kept.stays(f"{root.rstrip('/')}{path}") or path in agreed:
            continue
        if stat.S_ISDIR(status.st_mode):
            yield from _foreign(root, path, kept, ours, agreed)
        elif path not in ours and not (stat.S_ISREG(status.st_mode) and not status.st_size):
            yield path


def named(paths: list[str]) -> str:
    """Paths for a person: the directories that hold them, if they are many."""
    folders = sorted({path.split("/")[1] for path in paths})
    shown = paths if len(paths) <= _MOST_NAMED else [f"/{folder}" for folder in folders]
    more = f" and {len(shown) - _MOST_NAMED} more" if len(shown) > _MOST_NAMED else ""
    return ", ".join(shown[:_MOST_NAMED]) + more
