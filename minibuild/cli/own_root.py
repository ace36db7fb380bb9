"""The question before the container's own root is used for steps where that may lose something.

Comes in: a person at a terminal, who wrote `--isolation=own-root`. Goes out: nothing, if "/" holds
nothing of theirs or they agree to have it moved; else `OwnRootRefused`.
"""

import os
import sys

from minibuild.cli.command import Session
from minibuild.errors import UsageError
from minibuild.executor.ownroot.permit import agree
from minibuild.executor.ownroot.root import permitted_root, root_here

_MOST_FOLDERS = 20


def ask(session: Session) -> None:
    """Ask whether what "/" holds may be moved away for each step."""
    root = root_here()
    home, folders = root.home, _by_folder(root.foreign())
    root.close()
    if not folders:
        return
    if not (sys.stdin.isatty() and session.stderr.isatty()):
        permitted_root()  # There is no one to ask, so this says why not.
    session.tell("Each RUN of this build gets / of this container. What is there now is moved to")
    session.tell(f"{home.path}/roots and back. If the container dies meanwhile, it is lost:")
    for folder, (count, size) in sorted(folders.items())[:_MOST_FOLDERS]:
        files = f"{count:,} file{'' if count == 1 else 's'}"
        session.tell(f"  {folder}  {files}, {size / 1e6:.1f} MB")
    if len(folders) > _MOST_FOLDERS:
        session.tell(f"  and {len(folders) - _MOST_FOLDERS} more")
    session.tell('Programs of yours that need these files fail meanwhile. Type "yes" to go on:')
    if sys.stdin.readline().strip() != "yes":
        raise UsageError("not agreed to, so nothing was done")
    agree(home, sorted(folders))


def _by_folder(foreign: list[str]) -> dict[str, tuple[int, int]]:
    """What is not of the image, by its folder at the top: how many files, and how many bytes."""
    found: dict[str, tuple[int, int]] = {}
    for path in foreign:
        top = "/" + path.split("/")[1]
        count, size = found.get(top, (0, 0))
        found[top] = count + 1, size + os.lstat(path).st_size
    return found
