"""What each RUN gets: `memory=2g`, `cpu-quota=50000`, `nofile=1024:2048`, `db:10.0.0.7`.

Comes in: the texts of `--resource`, as buildx takes them, with `cpus=1.5`, which `docker run` has;
of `--ulimit` and `--add-host`. Goes out: `Resources`, limits, hosts; or a `UsageError`. A later
text counts more than an earlier one. A number of 0 or below is no limit, but for -1 as memory and
swap: that is all the swap there is.
"""

from collections.abc import Sequence
from typing import Any

from minibuild.buildflags.attributes import size_bytes
from minibuild.errors import UsageError
from minibuild.graph.address import is_ip_address
from minibuild.graph.op import Ulimit
from minibuild.graph.spelling import one_of
from minibuild.linux.resources import DEFAULT_PERIOD_US, Resources

KEYS = {
    "memory": "memory_bytes",
    "memory-swap": "memory_swap_bytes",
    "cpu-shares": "cpu_shares",
    "cpu-period": "cpu_period_us",
    "cpu-quota": "cpu_quota_us",
    "cpuset-cpus": "cpuset_cpus",
    "cpuset-mems": "cpuset_mems",
}
_LAST_IN_A_SET = 8192
_LEAST_QUOTA_US = 1000


def resources(texts: Sequence[str]) -> Resources:
    """The limits that the texts ask for. Raises `UsageError`."""
    values: dict[str, Any] = {}
    cpus = ""
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise UsageError(
                f"invalid resource {text!r}, expected key=value",
                hint="write it like --resource memory=2g",
            )
        if key == "cpus":
            cpus = value
            continue
        if key not in KEYS:
            raise UsageError(f"unknown resource {key!r}", hint=one_of(key, (*KEYS, "cpus")))
        values[KEYS[key]] = _value(key, value)
    found = Resources(**values)
    return _checked(_with_cpus(found, cpus) if cpus else found)


def _value(key: str, text: str) -> int | str:
    if key.startswith("cpuset"):
        return _set(key, text)
    if key == "memory-swap" and text == "-1":
        return -1
    if key.startswith("memory"):
        return size_bytes(text, key)
    try:
        return max(int(text), 0)
    except ValueError:
        raise UsageError(
            f"invalid value {text!r} for resource {key}", hint="it is a whole number"
        ) from None


def _set(key: str, text: str) -> str:
    """A set of numbers, such as 0-3,5, as it is written."""
    for part in filter(None, (part.strip() for part in text.split(","))):
        first, dash, last = part.partition("-")
        numbers = [word.strip() for word in ((first, last) if dash else (first,))]
        sound = all(word.isascii() and word.isdecimal() and len(word) < 6 for word in numbers)
        if not sound or not int(numbers[0]) <= int(numbers[-1]) <= _LAST_IN_A_SET:
            raise UsageError(
                f"invalid value {text!r} for resource {key}",
                hint="it is a list of numbers and ranges, such as 0-3,5",
            )
    return text.strip()


def _with_cpus(found: Resources, text: str) -> Resources:
    """So many CPUs: a quota of so many periods."""
    try:
        quota_us = (
            round(float(text) * DEFAULT_PERIOD_US) if text.replace(".", "").isdecimal() else 0
        )
    except (ValueError, OverflowError):
        quota_us = 0
    if quota_us < _LEAST_QUOTA_US:
        raise UsageError(f"invalid value {text!r} for --cpus", hint="it is a number, such as 1.5")
    if found.cpu_quota_us or found.cpu_period_us:
        raise UsageError("--cpus and a quota or a period say the same twice", hint="give one")
    return found._replace(cpu_quota_us=quota_us)


def _checked(found: Resources) -> Resources:
    """Limits that the kernel would refuse together are an error before the build."""
    memory, both = found.memory_bytes, found.memory_swap_bytes
    if both > 0 and not memory:
        raise UsageError("memory-swap is memory and swap together", hint="set memory, too")
    if 0 < both < memory:
        raise UsageError(
            "memory-swap is below memory", hint="it is memory and swap together: the same or more"
        )
    return found


# --- Limits of processes, and hosts ---


_LIMITS = frozenset(
    (
        "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime "
        "sigpending stack"
    ).split()
)


def ulimit(text: str) -> Ulimit:
    """`NAME=SOFT[:HARD]`; -1 is unlimited."""
    name, equals, rest = text.partition("=")
    name = name.strip().lower()
    if not equals:
        raise UsageError(
            f"invalid ulimit {text!r}: it must be NAME=SOFT[:HARD]",
            hint="write it like --ulimit nofile=1024:2048",
        )
    if name not in _LIMITS:
        raise UsageError(f"unknown ulimit {name!r}", hint=one_of(name, sorted(_LIMITS)))
    soft_text, colon, hard_text = rest.partition(":")
    try:
        soft = int(soft_text)
        hard = int(hard_text) if colon else soft
    except ValueError:
        raise UsageError(
            f"invalid ulimit {text!r}: the limits must be whole numbers", hint="-1 is unlimited"
        ) from None
    if hard != -1 and (soft == -1 or soft > hard):
        raise UsageError(f"invalid ulimit {text!r}: the soft limit is above the hard one")
    return Ulimit(name, soft, hard)


def add_host(text: str, gateway: str) -> tuple[str, str]:
    """`HOST:IP` or `HOST=IP`, the address in brackets or not; `host-gateway` is `gateway`."""
    name, separator, address = text.partition("=")
    if not separator:
        name, separator, address = text.partition(":")
    if not name or not separator or not address:
        raise UsageError(
            f"bad format for add-host: {text!r}", hint="write it like --add-host db:10.0.0.7"
        )
    if address == "host-gateway":
        return name, gateway
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if not is_ip_address(address):
        raise UsageError(
            f"invalid IP address in add-host: {address!r}",
            hint="give an IPv4 or IPv6 address, or host-gateway",
        )
    return name, address
