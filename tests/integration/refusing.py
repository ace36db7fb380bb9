"""The program on a machine whose kernel refuses something, for tests of what it does then.

    python -m tests.integration.refusing idmapped,overlay build ...

`idmapped` are mounts that show files under another owner, `overlay` is overlayfs over a context.
"""

import errno
import os
import sys
from typing import NoReturn

from minibuild.cli.main import entry
from minibuild.executor import context


def _refuse(*args: object, **named: object) -> NoReturn:
    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


def main(refused: str, *arguments: str) -> int:
    """The program's exit status. The step server is a clone of this process, and as crippled."""
    if "idmapped" in refused:
        context.show_as_root = _refuse  # type: ignore[attr-defined]  # imported there
    if "overlay" in refused:
        context._overlay = _refuse
    return entry(list(arguments))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
