"""The very start of the program: what Ctrl-C does from now on.

Python's own way is an exception, which ends the start with a traceback, or which a module that is
being imported swallows. There is nothing to remove yet, so the process may end at once, as one in C
does. Read next: `main`.
"""

import signal


def start() -> None:
    """Run the program; what the console script calls."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from minibuild.cli.main import entry

    entry()
