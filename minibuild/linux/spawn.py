"""posix_spawn(3) through libc itself: a program in a new process that waits at a FIFO before it.

Comes in: a program, in a thread whose namespaces, ids and filter it is to have. Goes out: its
process. libc uses clone(2) with CLONE_VM and CLONE_VFORK: nothing is copied, and the thread stands
still until the program is executed. Python's own function keeps the interpreter lock meanwhile, so
the thread that is to open the FIFO could not run.
"""

import ctypes
import os
from collections.abc import Iterable
from ctypes import c_char_p, c_int, c_short, c_uint, c_void_p

from minibuild.linux.syscalls import function

_SETSID, _SETSIGDEF = 0x80, 0x04
_ROOM = 1024
"""More than the types of libc take: posix_spawnattr_t has 336 bytes, sigset_t has 128."""
_FD = 3

_spawn = function("posix_spawn", c_void_p, c_char_p, c_void_p, c_void_p, c_void_p, c_void_p)
_init_actions = function("posix_spawn_file_actions_init", c_void_p)
_destroy_actions = function("posix_spawn_file_actions_destroy", c_void_p)
_add_open = function("posix_spawn_file_actions_addopen", c_void_p, c_int, c_char_p, c_int, c_uint)
_add_close = function("posix_spawn_file_actions_addclose", c_void_p, c_int)
_init_attributes = function("posix_spawnattr_init", c_void_p)
_set_flags = function("posix_spawnattr_setflags", c_void_p, c_short)
_set_defaults = function("posix_spawnattr_setsigdefault", c_void_p, c_void_p)


class Spawner:
    """Starts programs as leaders of sessions, with the defaults for all signals."""

    __slots__ = ("_attributes",)

    def __init__(self) -> None:
        self._attributes = ctypes.create_string_buffer(_ROOM)
        _init_attributes(self._attributes)
        _set_flags(self._attributes, _SETSID | _SETSIGDEF)
        # All bits, also for the two signals that libc keeps for itself: else it ignores those.
        _set_defaults(self._attributes, b"\xff" * _ROOM)

    def start(self, path: str, args: tuple[str, ...], env: dict[str, str], fifo: str) -> int:
        """Start a program in a process that first opens the FIFO to write, closes it, and opens it
        to read, which waits until another has it open to write. Returns its number."""
        actions = ctypes.create_string_buffer(_ROOM)
        _init_actions(actions)
        try:
            for flags in (os.O_WRONLY, os.O_RDONLY):
                _add_open(actions, _FD, os.fsencode(fifo), flags, 0)
                _add_close(actions, _FD)
            pid = c_int(-1)
            argv = _strings(args)
            envp = _strings(f"{name}={value}" for name, value in env.items())
            raw = os.fsencode(path)
            code = _spawn(ctypes.byref(pid), raw, actions, self._attributes, argv, envp)
        finally:
            _destroy_actions(actions)
        if code:
            raise OSError(code, os.strerror(code), path)
        return pid.value


def _strings(values: Iterable[str]) -> "ctypes.Array[c_char_p]":
    raw = [os.fsencode(value) for value in values]
    return (c_char_p * (len(raw) + 1))(*raw, None)
