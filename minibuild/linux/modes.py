"""Modes that would keep this process out of its own files: recorded beside them.

Comes in: a file or directory of the store, and the mode that the image gives it. Goes out: one
that this process can still read, write and remove. Root, also that of a user namespace, goes past
all modes; an ordinary account does not (CAP_DAC_OVERRIDE in capabilities(7)). A directory of mode
0555 is to get a file yet, a file of mode 0000 is to be packed, and a record of an owner is an
attribute, which takes the right to write (xattr(7)). So the account keeps its own rights on disk,
and the mode that is meant stands in an attribute. Few files need one. Read next: `recorded`.
"""

import errno
import os
import stat

from minibuild.linux import capabilities
from minibuild.linux.xattr import MODE


def are_recorded() -> bool:
    """Whether a mode can keep this process out of a file that belongs to it."""
    return not capabilities.has(("DAC_OVERRIDE",))


def write(target: int | str, mode: int) -> None:
    """Give a file or directory a mode, which has the type, too: an open one, or a path, which is no
    symlink. On a filesystem without attributes it gets the mode as it is, which will do for most.
    """
    on_disk = mode | (0o700 if stat.S_ISDIR(mode) else 0o600)
    os.chmod(target, stat.S_IMODE(on_disk))
    try:
        if on_disk != mode:
            os.setxattr(target, MODE, b"%o" % stat.S_IMODE(mode))
        else:
            os.removexattr(target, MODE)
    except OSError as error:
        if on_disk == mode:
            return  # There was none to remove, which is nearly always so.
        if error.errno != errno.ENOTSUP:
            raise
        os.chmod(target, stat.S_IMODE(mode))


def read(target: int | str, mode: int) -> int:
    """The mode that a file or directory is to have, of which `mode` is that on disk."""
    try:
        text = os.getxattr(target, MODE, follow_symlinks=isinstance(target, int))
        return stat.S_IFMT(mode) | int(text, 8) & 0o7777
    except (OSError, ValueError):
        return mode
