"""How much of a machine some processes may use, and what is written to a cgroup for that.

Comes in: `Resources`, which has the fields of Docker's flags. Goes out: for either version of
cgroups the files to write, in order. Nothing is written here. The kernel's admin-guide has the
files: cgroup-v2.rst, and cgroup-v1/ for each controller. Read next: `cgroup`.
"""

from minibuild.startup.tuples import NamedTuple

DEFAULT_PERIOD_US = 100_000
"""Of which part of a second the CPU time of a quota is given out, if the options do not say."""


_DOCKER = {
    "memory_bytes": "memory",
    "memory_swap_bytes": "memory-swap",
    "cpu_period_us": "cpu-period",
    "cpu_quota_us": "cpu-quota",
}


class Resources(NamedTuple):
    """Limits; 0 and "" are none. `memory_swap_bytes` is memory and swap together, -1 without limit.

    A group gets `cpu_quota_us` of CPU time in each `cpu_period_us`: twice the period are two CPUs.
    `cpu_shares` count only when several groups want the CPU: 1024 is what others have.
    """

    memory_bytes: int = 0
    memory_swap_bytes: int = 0
    cpu_shares: int = 0
    cpu_period_us: int = 0
    cpu_quota_us: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""


UNLIMITED = Resources()


class Setting(NamedTuple):
    """A file of a cgroup and what is written to it. `optional`: it is fine if it is not there."""

    controller: str
    file: str
    value: str
    optional: bool = False


def controllers(resources: Resources) -> frozenset[str]:
    """The parts of the kernel that keep these limits."""
    return frozenset(setting.controller for setting in settings(resources, version=2))


def names(resources: Resources, *, kept_by: frozenset[str]) -> list[str]:
    """The limits that are set and are not kept by these controllers, as Docker names them."""
    found = []
    for field, value in zip(Resources._fields, resources, strict=True):
        needed = "cpuset" if field.startswith("cpuset") else field.partition("_")[0]
        if value and needed not in kept_by:
            found.append(_DOCKER.get(field, field.replace("_", "-")))
    return found


def out_of_memory(peak_bytes: int, resources: Resources) -> str:
    """What to say of processes that the kernel killed for want of memory."""
    said = "memory ran out, and the kernel killed a process of the step"
    if peak_bytes:
        said += f": the most that it had was {_size(peak_bytes)}"
    if resources.memory_bytes:
        said += f"; its limit is --memory {_size(resources.memory_bytes)}"
    return said


def _size(count: int) -> str:
    """Bytes, for people."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << power:
            return f"{count / (1 << power):.1f} {unit}"
    return f"{count} bytes"


def settings(resources: Resources, *, version: int) -> list[Setting]:
    """What to write to the group of a step for these limits."""
    memory = _memory_v2(resources) if version == 2 else _memory_v1(resources)
    cpu = _cpu_v2(resources) if version == 2 else _cpu_v1(resources)
    sets = (("cpuset.mems", resources.cpuset_mems), ("cpuset.cpus", resources.cpuset_cpus))
    return memory + cpu + [Setting("cpuset", file, text) for file, text in sets if text]


def _memory_v2(resources: Resources) -> list[Setting]:
    """Version 2 counts swap by itself."""
    found = []
    memory, both = resources.memory_bytes, resources.memory_swap_bytes
    if both:
        swap = "max" if both < 0 else str(both - memory)
        # Without swap in the kernel the file is missing, and these two are kept all the same.
        found.append(Setting("memory", "memory.swap.max", swap, optional=swap in ("max", "0")))
    if memory:
        found.append(Setting("memory", "memory.max", str(memory)))
    return found


def _memory_v1(resources: Resources) -> list[Setting]:
    """In this order: the sum must never be below the memory alone."""
    found = []
    memory, both = resources.memory_bytes, resources.memory_swap_bytes
    if memory:
        found.append(Setting("memory", "memory.limit_in_bytes", str(memory)))
    if both:
        optional = both in (-1, memory)
        found.append(Setting("memory", "memory.memsw.limit_in_bytes", str(both), optional))
    return found


def _cpu_v2(resources: Resources) -> list[Setting]:
    found = []
    if resources.cpu_shares:
        found.append(Setting("cpu", "cpu.weight", str(weight(resources.cpu_shares))))
    if resources.cpu_quota_us or resources.cpu_period_us:
        quota = str(resources.cpu_quota_us or "max")
        period = resources.cpu_period_us or DEFAULT_PERIOD_US
        found.append(Setting("cpu", "cpu.max", f"{quota} {period}"))
    return found


def _cpu_v1(resources: Resources) -> list[Setting]:
    files = (
        ("cpu.shares", resources.cpu_shares),
        ("cpu.cfs_period_us", resources.cpu_period_us),
        ("cpu.cfs_quota_us", resources.cpu_quota_us),
    )
    return [Setting("cpu", file, str(number)) for file, number in files if number]


def weight(shares: int) -> int:
    """The weight of version 2 for the shares of version 1, as runc computes it: the least (2), the
    usual (1024) and the most (262144) become 1, 100 and 10000."""
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    import math  # Most builds have no limits.

    log = math.log2(shares)
    return math.ceil(10 ** ((log * log + 125 * log) / 612 - 7 / 34))
