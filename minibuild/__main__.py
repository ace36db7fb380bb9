"""`python -m minibuild`: the command line, where the program is not on the path."""

import os
import sys


def _forget_the_current_directory() -> None:
    """Take it from the path, where `-m` puts it: a build may be started in a directory that
    others have filled, and a module in it is none of ours. It stays if this package is there.
    """
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if not sys.flags.safe_path and sys.path[0] != here:
        del sys.path[0]


if __name__ == "__main__":
    _forget_the_current_directory()
    from minibuild.cli.start import start

    start()
