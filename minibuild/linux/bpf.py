"""Programs of the kernel's virtual machine that decide which devices a cgroup may open.

Comes in: rules. Goes out: a program in the kernel, attached to a group of version 2, where it
stays as long as the group. There is no file to write such rules to, as version 1 has it. Only root
of the machine may do this. See bpf(2), and cgroup-v2.rst, "Device controller".
"""

import ctypes
import struct
from collections.abc import Iterable
from ctypes import c_int, c_long, c_uint, c_void_p

from minibuild.linux.descriptors import closing_fd
from minibuild.linux.syscalls import check, function, number_of

# linux/bpf.h
_PROG_LOAD, _PROG_ATTACH = 5, 8
_PROG_TYPE_CGROUP_DEVICE, _CGROUP_DEVICE = 15, 6
_ALLOW_MULTI = 2
_CHARACTER, _MAKE = 2, 1
_LOAD_WORD, _AND, _SHIFT_RIGHT, _UNEQUAL = 0x61, 0x57, 0x77, 0x55
_SET, _COPY, _EXIT = 0xB7, 0xBF, 0x95
_CONTEXT, _TYPE, _ACCESS, _MAJOR, _MINOR, _RESULT = 1, 2, 3, 4, 5, 0  # registers

_bpf = function("syscall", c_long, c_int, c_void_p, c_uint)


def device_program(devices: Iterable[tuple[int, int]]) -> bytes:
    """A program that lets nodes be made, and opens of them these character devices only: by their
    major and minor number, of which -1 stands for all.

    It gets a `struct bpf_cgroup_dev_ctx`: what is wanted and of which type in one word, then the
    two numbers. It answers 1 to allow it.
    """
    rules: list[bytes] = []
    for major, minor in devices:
        any_minor = minor < 0
        rules.append(_instruction(_UNEQUAL, _MAJOR, jump=2 if any_minor else 3, number=major))
        if not any_minor:
            rules.append(_instruction(_UNEQUAL, _MINOR, jump=2, number=minor))
        rules += _answer(1)
    code = [
        _instruction(_LOAD_WORD, _TYPE, _CONTEXT, 0),
        _instruction(_LOAD_WORD, _MAJOR, _CONTEXT, 4),
        _instruction(_LOAD_WORD, _MINOR, _CONTEXT, 8),
        _instruction(_COPY, _ACCESS, _TYPE),
        _instruction(_AND, _TYPE, number=0xFFFF),
        _instruction(_SHIFT_RIGHT, _ACCESS, number=16),
        _instruction(_UNEQUAL, _ACCESS, jump=2, number=_MAKE),
        *_answer(1),
        _instruction(_UNEQUAL, _TYPE, jump=len(rules), number=_CHARACTER),
    ]
    return b"".join([*code, *rules, *_answer(0)])


def _instruction(code: int, target: int, source: int = 0, jump: int = 0, number: int = 0) -> bytes:
    """A `struct bpf_insn`. `jump` is also the offset of what is loaded."""
    registers = target | source << 4
    if struct.pack("=H", 1) != b"\1\0":  # The two halves of the byte are a bit field.
        registers = target << 4 | source
    return struct.pack("=BBhi", code, registers, jump, number)


def _answer(number: int) -> list[bytes]:
    return [_instruction(_SET, _RESULT, number=number), _instruction(_EXIT, 0)]


def attach_to_group(group_fd: int, program: bytes) -> None:
    """Have a program decide on devices for a cgroup and all below it. The groups above may have
    programs of their own: a device is open to whom all of them allow it."""
    code = ctypes.create_string_buffer(program, len(program))
    licence = ctypes.create_string_buffer(b"MIT")
    load = struct.pack(
        "=IIQQIIQII16s",
        *(_PROG_TYPE_CGROUP_DEVICE, len(program) // 8),
        *(ctypes.addressof(code), ctypes.addressof(licence)),
        *(0, 0, 0),  # no log
        *(0, 0, b"minibuild"),
    )
    with closing_fd(_call(_PROG_LOAD, load)) as fd:
        _call(_PROG_ATTACH, struct.pack("=IIII", group_fd, fd, _CGROUP_DEVICE, _ALLOW_MULTI))


def _call(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return check(_bpf(number_of("bpf"), command, buffer, len(attributes)), "bpf")
