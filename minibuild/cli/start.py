"""The very start of the program: what has to be before its modules are loaded, and how they are.

Comes in: the process as its caller left it. Goes out: an exit code, at the end of `main`.
Read next: `startup.code_cache`, `main`.
"""

import gc
import os
import signal
import sys
from collections.abc import Callable

import minibuild
from minibuild.startup.code_cache import CodeCache

_GARBAGE_AFTER = 500_000
"""Objects between two searches for garbage. Loading modules makes many and drops none, so the
usual 700 would have the collector look through all of them again and again."""

_NO_ROOM = b"""\
error: there is not enough memory to load the program
hint: raise the limit: `ulimit -v unlimited`
"""
_HOST_ERROR = 3
"""The exit code of `errors.HostError`, a module that would need memory itself."""


def start() -> None:
    """Run the program."""
    _complete_streams()
    _end_by_interrupt()
    gc.set_threshold(_GARBAGE_AFTER)
    try:
        keep = _use_code_cache()
        from minibuild.cli.main import entry
    except (MemoryError, SystemError):
        os.write(2, _NO_ROOM)
        os._exit(_HOST_ERROR)
    entry(at_end=keep)


def _complete_streams() -> None:
    """Give those of the three standard streams that are closed to /dev/null.

    A shell, a service or a cron job may start a program without them. The next file to be opened
    would get the free number: what is then written to "standard error" would go into the code cache
    or into the store's database.
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


def _end_by_interrupt() -> None:
    """Let Ctrl-C end the process at once, as it ends one in C: there is nothing to remove yet.

    Python's own way is an exception, which ends the start with a traceback, or which a module that
    is being imported swallows.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _use_code_cache() -> Callable[[], None]:
    """Load modules from one file, beside the code of this package. Returns what to do at the end.

    It has the modules of frontends as well, whose packages are called `minibuild_*`.
    """
    cached = minibuild.__spec__ and minibuild.__spec__.cached
    if not cached:
        return lambda: None
    path = os.path.join(os.path.dirname(cached), f"modules.{sys.implementation.cache_tag}")
    cache = CodeCache(path, "minibuild")
    sys.meta_path.insert(0, cache)
    return cache.keep
