"""The very start of the program: what Ctrl-C does from now on, and when to look for garbage.

Python's own way is an exception, which ends the start with a traceback, or which a module that is
being imported swallows. There is nothing to remove yet, so the process may end at once, as one in C
does. Read next: `main`.
"""

import gc
import signal

_GARBAGE_AFTER = 100_000
"""Objects between two searches for garbage. Loading modules makes many and drops none, so the
usual 700 would have the collector look through all of them again and again."""


def start() -> None:
    """Run the program; what the console script calls."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(_GARBAGE_AFTER)
    from minibuild.cli.main import entry

    entry()
