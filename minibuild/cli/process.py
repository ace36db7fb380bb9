"""What the process has to be like before anything is done: its streams, its encoding, its place,
its signals.

A shell, a service or a cron job may start a program without standard streams, in a locale of the
last century, in a directory that is gone, or with signals ignored.
"""

import os
import signal
import sys


def complete_streams() -> None:
    """Give those of the three standard streams that are closed to /dev/null.

    The next file to be opened would get the free number: what is then written to "standard error"
    would go into the store's database.
    """
    if None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    sys.stdin = sys.stdin or os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)


def reap_children() -> None:
    """Let this process wait for its children: while SIGCHLD is ignored, the kernel drops their
    exit codes, and waitpid(2) fails with ECHILD."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def insist_on_utf8() -> None:
    """Start anew in Python's UTF-8 mode where the locale has another encoding.

    A Dockerfile is UTF-8, and so are the names in layers and the words of a step: the same
    Dockerfile must not give another image because of LANG. See PEP 540.
    """
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def stands_nowhere() -> bool:
    """Whether the current directory was removed."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False
