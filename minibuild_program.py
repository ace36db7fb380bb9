"""The program: Ctrl-C ends it from the first line on.

A module beside the packages, because to load one of theirs Python loads the package first, and
Ctrl-C in that time would show a traceback, Python's way (see `minibuild.cli.start`). pip writes the
script that calls it: that knows how to start Python where the path has a space or is long.
"""

import _signal

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:  # nohup has it ignored
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def start() -> None:
    """Run it."""
    from minibuild.cli.start import start

    start()
