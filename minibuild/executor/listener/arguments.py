"""The arguments of a call, taken out of its registers and out of the memory of its process, once.

Comes in: words, one for each register of a call, much as in its manual page. Goes out: a function
that reads such arguments: places first, then the rest. What means more than a number:

    path          the address of a path, which starts in the working directory
    path?         the same, or none
    dirfd path    the same behind the number of an open directory
    fd            an open file
    flags         how the first path is resolved
    text          the address of a text
    open mode     how a file is opened; so are `creat`, which has a mode alone, and `how size`
    -             what does not count
"""

import os
import struct
from collections.abc import Callable
from functools import partial
from typing import Any

from minibuild.executor.listener.notifications import Notification
from minibuild.executor.listener.process import FilePlace, Processes, signed
from minibuild.linux.syscalls import AT_FDCWD
from minibuild.startup.tuples import NamedTuple

ReadArguments = Callable[[Notification], tuple[Any, ...]]
_Part = Callable[[Notification], Any]
_HOW = struct.Struct("=QQQ")
_CREAT = os.O_CREAT | os.O_WRONLY | os.O_TRUNC


class OpenHow(NamedTuple):
    """linux/openat2.h: struct open_how."""

    flags: int
    mode: int
    resolve: int = 0


def reader(words: str, processes: Processes, meant: int = 0) -> ReadArguments:
    """What reads the arguments that these words describe. `meant` are the flags of a place where
    the call has none."""
    names = words.split()
    flags = names.index("flags") if "flags" in names else -1
    first = names.index("number") if "number" in names else 0
    numbers = slice(first, first + names.count("number"))  # They stand beside each other.
    places: list[_Part] = []
    rest: list[_Part] = []
    for at, name in enumerate(names):
        match name:
            case "path" | "path?":
                directory = at - 1 if names[at - 1 : at] == ["dirfd"] else -1
                of_it = -1 if places else flags
                read = processes.read_path if name == "path" else processes.read_path_if_any
                places.append(partial(_place, read, directory, at, of_it, meant))
            case "fd":
                places.append(partial(_open_file, at, meant))
            case "text":
                rest.append(partial(_text, processes, at))
            case "open":
                rest.append(partial(_open, at))
            case "creat":
                rest.append(partial(_creat, at))
            case "how":
                rest.append(partial(_how, processes, at))
    parts = [*places, *rest]
    if len(parts) == 1:  # So it is nearly always, and this is quicker.
        (part,) = parts
        return lambda call: (part(call), *call.arguments[numbers])
    return lambda call: (*[part(call) for part in parts], *call.arguments[numbers])


def _place(
    read: Callable[[int, int], str],
    directory: int,
    at: int,
    flags: int,
    meant: int,
    call: Notification,
) -> FilePlace:
    given = call.arguments
    start = AT_FDCWD if directory < 0 else signed(given[directory])
    path = read(call.pid, given[at])
    return FilePlace(call.pid, start, path, meant if flags < 0 else given[flags])


def _open_file(at: int, meant: int, call: Notification) -> FilePlace:
    number = max(signed(call.arguments[at]), -1)  # AT_FDCWD means nothing here
    return FilePlace(call.pid, number, "", meant)


def _text(processes: Processes, at: int, call: Notification) -> str:
    return processes.read_path(call.pid, call.arguments[at])


def _open(at: int, call: Notification) -> OpenHow:
    return OpenHow(*call.arguments[at : at + 2])


def _creat(at: int, call: Notification) -> OpenHow:
    return OpenHow(_CREAT, call.arguments[at])


def _how(processes: Processes, at: int, call: Notification) -> OpenHow:
    address, size = call.arguments[at : at + 2]
    return OpenHow(*_HOW.unpack(processes.read(call.pid, address, min(size, _HOW.size))))
