"""What the process has to be like before anything is done: its encoding, its place, its signals,
and its limits.

A shell, a service or a cron job may start a program in a locale whose encoding is not UTF-8, in a
directory that is gone, with signals ignored, or with narrow limits.
"""

import os
import signal
import sys

from minibuild.errors import HostError

_UNLIMITED = sys.maxsize
_DESCRIPTORS = 64
_MEMORY = ("Max address space", "Max data size")
_NEEDED = (
    ("Max address space", 256, "have memory of", "-v"),
    ("Max data size", 256, "have data of", "-d"),
    ("Max file size", 16, "write files of", "-f"),
)
"""Limits in MiB, what they are on, and the flag of `ulimit`."""

_STACK_BYTES = 2 << 20
_STARTED_FOR_IT = "saving-memory"


def reap_children() -> None:
    """Let this process wait for its children: while SIGCHLD is ignored, the kernel drops their
    exit codes, and waitpid(2) fails with ECHILD."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def insist_on_utf8() -> None:
    """Start again in Python's UTF-8 mode where the locale has another encoding.

    A Dockerfile is UTF-8, and so are the names in layers and the words of a step: the same
    Dockerfile must not give another image because of LANG. See PEP 540.
    """
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def insist_on_room() -> None:
    """Have room for the files that a build opens and for its memory, as far as limits go.

    Raises `HostError` where that is impossible. A build that runs out of it in the middle says so
    less clearly, and Python itself may crash.
    """
    try:
        with open("/proc/self/limits", encoding="utf-8") as file:
            limits = {line[:26].rstrip(): line[26:].split()[:2] for line in file}
    except OSError:
        return  # No /proc here: what needs it says so.
    soft, hard = map(_number, limits["Max open files"])
    if soft < _DESCRIPTORS:
        _raise_descriptors(soft, hard)
    for name, needed_mib, what, flag in _NEEDED:
        limit, _ = map(_number, limits[name])
        if limit >> 20 < needed_mib:
            raise HostError(
                f"this process may {what} {limit >> 20} MiB, and needs {needed_mib}",
                hint=f"raise the limit: `ulimit {flag} unlimited`",
            )
    if any(_number(limits[name][0]) < _UNLIMITED for name in _MEMORY):
        _save_memory()


def _number(text: str) -> int:
    return int(text) if text.isdigit() else _UNLIMITED


def _raise_descriptors(soft: int, hard: int) -> None:
    if hard < _DESCRIPTORS:
        raise HostError(
            f"this process may open {soft} files at a time, and needs {_DESCRIPTORS}",
            hint="raise the limit on open files: `ulimit -n 1024`",
        )
    import resource

    _, given = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_DESCRIPTORS, given))


def _save_memory() -> None:
    """Take less of what is only reserved: the C library reserves 128 MiB for each thread."""
    import threading

    threading.stack_size(_STACK_BYTES)
    if _STARTED_FOR_IT not in sys._xoptions:
        os.putenv("MALLOC_ARENA_MAX", "1")  # It is read once, at the start.
        os.execv(sys.executable, [sys.executable, "-X", _STARTED_FOR_IT, *sys.orig_argv[1:]])


def stands_nowhere() -> bool:
    """Whether the current directory was removed."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False
