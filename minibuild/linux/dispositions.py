"""Signals that a parent process left ignored or blocked: execve(2) does not reset them.

A shell without job control ignores SIGINT in what it starts with `&`, nohup ignores SIGHUP, and
some service managers ignore SIGCHLD. Read next: `minibuild.linux.signals`.
"""

import signal
from contextlib import suppress

# Python itself ignores these, and relies on it: a closed pipe is an exception then.
_PYTHON_IGNORES = (signal.SIGPIPE, signal.SIGXFSZ)


def restore_defaults() -> None:
    """Have the defaults in this process, and so in every step that it starts: how the builder was
    started must not change what a RUN does."""
    for number in range(1, signal.NSIG):
        # SIGKILL and SIGSTOP cannot be set, and two belong to the C library.
        with suppress(OSError, ValueError):
            if number not in _PYTHON_IGNORES:
                signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def restore_ignored_by_python() -> None:
    """Undo what Python changed at its start, as the last thing before another program."""
    for number in _PYTHON_IGNORES:
        signal.signal(number, signal.SIG_DFL)
