"""Signals that STOPSIGNAL may name: those of Linux, with or without SIG, or a number.

The names are those of signal(7); the real-time ones are counted from either end.
"""

_NAMES = frozenset(
    "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT "
    "STOP SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX".split()
)
_FROM_RTMIN = 15
_FROM_RTMAX = 14


def is_signal(text: str) -> bool:
    """Whether `text` is a signal: a number that is not 0, or a name."""
    digits = text.removeprefix("-").removeprefix("+")
    if digits.isascii() and digits.isdigit():
        return digits.strip("0") != ""
    name = text.upper().removeprefix("SIG")
    return name in _NAMES or _is_realtime(name)


def signal_names() -> tuple[str, ...]:
    """All names, with SIG, for suggestions."""
    return tuple(f"SIG{name}" for name in sorted(_NAMES))


def _is_realtime(name: str) -> bool:
    for start, most in (("RTMIN+", _FROM_RTMIN), ("RTMAX-", _FROM_RTMAX)):
        number = name.removeprefix(start)
        if name.startswith(start):
            return number in {str(allowed) for allowed in range(1, most + 1)}
    return False
