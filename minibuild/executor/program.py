"""Finding and executing the program of a step, and saying what is wrong where that fails.

Comes in: arguments and an environment, in a process that has entered the rootfs. It does not come
back, but for a `ProgramError` with the exit code that shells and container runtimes give: 127 for
a program that is not there, 126 for one that cannot be executed. The words are those of runc,
because people search for them.
"""

import errno
import os
import stat
from typing import NoReturn

from minibuild.linux.descriptors import read_start

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ProgramError(Exception):
    """Why the program did not start."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def execute(args: tuple[str, ...], env: dict[str, str]) -> NoReturn:
    """Replace this process by the program."""
    if not args or not args[0]:
        raise ProgramError(127, "no command to run: the arguments are empty")
    _check_words(args, env)
    path = find(args[0], env.get("PATH", DEFAULT_PATH))
    try:
        os.execve(path, args, env)
    except OSError as error:
        raise _explained(args[0], path, error) from error


def _check_words(args: tuple[str, ...], env: dict[str, str]) -> None:
    """What execve(2) ends with a NUL can hold none. A value is not shown: it may be a secret."""
    if any("\0" in word for word in args):
        raise ProgramError(1, "an argument of the command contains a NUL character")
    for name, value in env.items():
        if not name:
            raise ProgramError(1, "environment variable name can't be empty")
        if "\0" in name or "\0" in value:
            raise ProgramError(1, f"environment variable can't contain null: {name}")


def find(name: str, search: str) -> str:
    """The file that `name` means: itself if it has a slash, else the first match on the path."""
    if "/" in name:
        try:
            found = os.stat(name)
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise ProgramError(127, f'exec: "{name}": stat {name}: {reason}') from error
        if stat.S_ISDIR(found.st_mode):
            raise ProgramError(126, f'exec: "{name}": is a directory')
        if not _executable(found):
            raise ProgramError(126, f'exec: "{name}": permission denied')
        return name
    denied = False
    for folder in search.split(":"):
        path = os.path.join(folder or ".", name)
        try:
            found = os.stat(path)
        except OSError as error:
            denied = denied or error.errno == errno.EACCES
            continue
        if stat.S_ISREG(found.st_mode):
            if _executable(found):
                return path
            denied = True
    if denied:
        raise ProgramError(126, f'exec: "{name}": permission denied')
    raise ProgramError(127, f'exec: "{name}": executable file not found in $PATH')


def _executable(found: os.stat_result) -> bool:
    return bool(stat.S_ISREG(found.st_mode) and found.st_mode & 0o111)


def _explained(name: str, path: str, error: OSError) -> ProgramError:
    """execve(2) says little; the first bytes of the file say more."""
    start = read_start(path, 256)
    reason = (error.strerror or "").lower()
    if error.errno == errno.ENOENT:
        interpreter = _interpreter(start)
        if interpreter.endswith("\r"):
            return ProgramError(
                127, f'exec: "{name}": its first line ends in a carriage return: save it with LF'
            )
        what = f" {interpreter}" if interpreter else ""
        return ProgramError(
            127, f'exec: "{name}": {reason}: its interpreter or loader{what} is not in the image'
        )
    if error.errno == errno.ENOEXEC:
        if start.startswith(b"\x7fELF"):
            why = f"built for another machine than {os.uname().machine}"
        elif start.startswith(b"#!"):
            why = "its first line names no interpreter"
        else:
            why = "neither a binary nor a script that begins with #!"
        return ProgramError(126, f'exec: "{name}": exec format error: {why}')
    if error.errno == errno.E2BIG:
        return ProgramError(126, f'exec: "{name}": arguments and environment are too long')
    return ProgramError(126, f'exec: "{name}": {reason}')


def _interpreter(start: bytes) -> str:
    if not start.startswith(b"#!"):
        return ""
    line = os.fsdecode(start[2:].split(b"\n")[0])
    return line.lstrip(" \t").split(" ")[0]
