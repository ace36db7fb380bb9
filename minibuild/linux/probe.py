"""What this machine can do, asked by trying it: the checks of `minibuild doctor`.

Comes in: the folder where the store is, or is to be. Goes out: findings, each with what to do if
it is not as it should be. What would change this process (namespaces, mounts) is tried in a
forked one. Numbers of versions and settings are only read where trying does not say why.
Read next: `namespace`, which uses what is checked here.
"""

import errno
import os
from collections.abc import Callable

from minibuild.linux import idmap, syscalls, xattr
from minibuild.linux.advice import user_namespace_advice
from minibuild.linux.descriptors import read_text
from minibuild.linux.namespace import (
    enter_user_namespace,
    errno_of_user_namespace,
    in_user_namespace,
    needs_user_namespace,
)
from minibuild.linux.root_mount import contain_mounts
from minibuild.startup.tuples import NamedTuple

OLDEST_KERNEL = (5, 6)
ROOTLESS_OVERLAY_KERNEL = (5, 11)
LITTLE_BYTES = 2 << 30


class HostCheck(NamedTuple):
    """One check: what was asked, whether the answer is good, what was found, what to do."""

    name: str
    ok: bool
    found: str
    advice: str = ""


def check_host(folder: str) -> list[HostCheck]:
    """All findings, in an order that is good to read. `folder` or a parent of it must exist."""
    folder = existing_parent(folder)
    findings = [kernel(), openat2()]
    if needs_user_namespace():
        findings.append(user_namespaces())
    if findings[-1].ok:
        findings.append(mount_api())
        if needs_user_namespace():
            findings.append(subordinate_ids())
    findings += [overlay(folder), seccomp(), attributes(), disk(folder)]
    return findings


def existing_parent(folder: str) -> str:
    """The folder itself, or the nearest one above it that is there."""
    folder = os.path.abspath(folder)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


def parse_release(release: str) -> tuple[int, int]:
    """Major and minor number of a kernel release such as `6.1.0-13-amd64`."""
    digits = "".join(c if c.isdigit() else " " for c in release).split()
    return (int(digits[0]), int(digits[1])) if len(digits) > 1 else (0, 0)


def kernel() -> HostCheck:
    """The version of the kernel."""
    release = os.uname().release
    version = parse_release(release)
    if version < OLDEST_KERNEL:
        return HostCheck("kernel", False, release, "Linux 5.6 is the oldest that works")
    if version < ROOTLESS_OVERLAY_KERNEL and needs_user_namespace():
        advice = "Linux 5.11 and later mount overlays without root; until then trees are copied"
        return HostCheck("kernel", True, release, advice)
    return HostCheck("kernel", True, release)


def openat2() -> HostCheck:
    """openat2(2), which keeps hostile paths inside a root."""
    try:
        flags = os.O_PATH | os.O_DIRECTORY
        os.close(syscalls.openat2(syscalls.AT_FDCWD, "/", flags, resolve=syscalls.RESOLVE_IN_ROOT))
    except OSError as error:
        advice = "Linux 5.6 has it; in a container its seccomp profile may be too old"
        return HostCheck("openat2", False, str(error.strerror), advice)
    return HostCheck("openat2", True, "works")


def mount_api() -> HostCheck:
    """fsopen(2) and fsmount(2): mounts that belong to no directory."""

    problem = in_namespaces(lambda: os.close(syscalls.new_filesystem("tmpfs")))
    if problem:
        advice = "Linux 5.2 has it; in a container its seccomp profile may forbid it"
        return HostCheck("mount api", False, problem, advice)
    return HostCheck("mount api", True, "works")


def user_namespaces() -> HostCheck:
    """Whether this account may make user namespaces that are good for mounting."""
    code = errno_of_user_namespace()
    if code:
        reason = os.strerror(code)
        found = f"{reason}: all works but a RUN that is not cached"
        return HostCheck("user namespaces", False, found, user_namespace_advice(code))
    problem = in_namespaces(lambda: syscalls.mount("tmpfs", "/", "tmpfs"))
    if problem:
        advice = user_namespace_advice(errno.EPERM)
        return HostCheck("user namespaces", False, f"no mounts inside: {problem}", advice)
    return HostCheck("user namespaces", True, "work")


def subordinate_ids() -> HostCheck:
    """newuidmap(1), newgidmap(1) and the ranges that they may map for this account."""
    name = "subordinate ids"
    plan = idmap.plan_id_maps()
    if plan.way == "direct":
        return HostCheck(name, True, "not needed: this process may map any id")
    if plan.way == "single":
        missing, advice = _why_single_id()
        less = "builds work and record owners, but a RUN may change files of them all"
        return HostCheck(name, False, f"one id only: {missing}", f"{less}; {advice}")
    problem = in_namespaces(lambda: None)
    if problem:
        return HostCheck(name, False, problem, "reinstall the package uidmap (shadow-utils)")
    count = sum(r.size for r in plan.uids)
    if count < 65536:
        return HostCheck(name, False, f"{count} ids", "images use ids up to 65535: grant 65536")
    return HostCheck(name, True, f"{count} ids")


def _why_single_id() -> tuple[str, str]:
    """What this account lacks, and what gives it that."""
    account = idmap.account_names(os.geteuid())[0]
    if "\nNoNewPrivs:\t1" in read_text("/proc/self/status"):
        # newuidmap(1) is set-user-id root.
        return "no_new_privs is set", "in a container, run it as uid 0, which has all of its ids"
    installs = "as root: `apt-get install uidmap` (elsewhere the package is shadow-utils)"
    if idmap.has_subordinate_ids():
        return "newuidmap and newgidmap are not installed", installs
    free = idmap.free_here()
    grants = f"`usermod --add-subuids {free} --add-subgids {free} {account}`"
    missing = f"{account} has no range in /etc/subuid and /etc/subgid"
    if idmap.find_helpers():
        return missing, f"as root: {grants}"
    return f"no newuidmap, and {missing}", f"{installs}, and {grants}"


def overlay(folder: str, *, userxattr: bool | None = None) -> HostCheck:
    """An overlay mount on the filesystem of `folder`, with a whiteout made through it."""
    if userxattr is None:
        userxattr = needs_user_namespace() or in_user_namespace()
    name = "overlay with userxattr" if userxattr else "overlay"
    problem = in_namespaces(lambda: _try_overlay(folder, userxattr))
    if problem and needs_user_namespace() and errno_of_user_namespace():
        return HostCheck(name, False, "needs a user namespace: snapshots are copies")
    if problem:
        return HostCheck(
            name,
            False,
            f"{problem} ({folder})",
            "snapshots will be copies, which is slow: put the store on ext4, xfs or btrfs with "
            "MINIBUILD_ROOT, and not on another overlay or on NFS",
        )
    return HostCheck(name, True, f"works in {folder}")


def _try_overlay(folder: str, userxattr: bool) -> None:
    """In a process of its own. What it makes is below one folder, removed at the end."""
    from minibuild.linux.beneath import remove_path

    scratch = os.path.join(folder, f".probe-{os.getpid()}")
    os.mkdir(scratch)
    try:
        os.chdir(scratch)
        for directory in ("lower", "upper", "work", "merged"):
            os.mkdir(directory)
        os.mkdir("lower/gone")
        data = "lowerdir=lower,upperdir=upper,workdir=work" + (",userxattr" if userxattr else "")
        syscalls.mount("overlay", "merged", "overlay", 0, data)
        try:
            os.rmdir("merged/gone")
            os.mkdir("merged/gone")  # Over a whiteout: needs an extended attribute.
        finally:
            syscalls.umount("merged", syscalls.MNT_DETACH)
    finally:
        os.chdir("/")
        remove_path(scratch)


def seccomp() -> HostCheck:
    """Filters in the kernel, and the library that compiles them."""
    if not os.path.exists("/proc/sys/kernel/seccomp/actions_avail"):
        return HostCheck("seccomp", False, "not in this kernel", "steps run without a filter")
    try:
        import pyseccomp  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        advice = "install libseccomp 2.5 (libseccomp2 in Debian, libseccomp elsewhere)"
        return HostCheck("seccomp", False, f"libseccomp cannot be loaded: {error}", advice)
    return HostCheck("seccomp", True, "works")


def attributes() -> HostCheck:
    """The library for extended attributes; that of Python does as well."""
    if xattr.is_pyxattr():
        return HostCheck("attributes", True, "by pyxattr")
    advice = "`pip install 'minibuild[pyxattr]'` has pyxattr do it, if there is a C compiler"
    return HostCheck("attributes", True, "by Python's own calls: there is no pyxattr", advice)


def disk(folder: str) -> HostCheck:
    """Room for the store."""
    found = os.statvfs(folder)
    free = found.f_bavail * found.f_frsize
    text = f"{free / (1 << 30):.1f} GiB free in {folder}"
    if found.f_files and not found.f_favail:
        return HostCheck("disk", False, f"no inodes left in {folder}", "remove files, or `prune`")
    if free < LITTLE_BYTES:
        return HostCheck("disk", False, text, "`minibuild prune`, or set MINIBUILD_ROOT elsewhere")
    return HostCheck("disk", True, text)


def in_namespaces(act: Callable[[], None]) -> str:
    """Call `act` in a forked process with a mount namespace, in a user namespace if this account
    needs one. "" if it went well, else what was raised."""
    message_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if needs_user_namespace():
                enter_user_namespace(idmap.plan_id_maps())
            else:
                syscalls.unshare(syscalls.CLONE_NEWNS)
                contain_mounts()
            act()
        except BaseException as error:
            os.write(write_fd, (str(error) or type(error).__name__).encode())
        finally:
            os._exit(0)
    os.close(write_fd)
    with os.fdopen(message_fd, encoding="utf-8", errors="replace") as file:
        message = file.read()
    os.waitpid(pid, 0)
    return message
