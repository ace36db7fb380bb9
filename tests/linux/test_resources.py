"""Limits as the files of a cgroup, in both versions."""

import pytest

from minibuild.linux.resources import (
    UNLIMITED,
    Resources,
    controllers,
    names,
    out_of_memory,
    settings,
    weight,
)

MIB = 1 << 20
# What docker calls it, the limits, the files of version 2, and those of version 1.
CASES = [
    ("nothing", UNLIMITED, [], []),
    (
        "-m 64m",
        Resources(memory_bytes=64 * MIB),
        ["memory.max=67108864"],
        ["memory.limit_in_bytes=67108864"],
    ),
    (
        "-m 64m --memory-swap 96m",
        Resources(memory_bytes=64 * MIB, memory_swap_bytes=96 * MIB),
        ["memory.swap.max=33554432", "memory.max=67108864"],
        ["memory.limit_in_bytes=67108864", "memory.memsw.limit_in_bytes=100663296"],
    ),
    (
        "-m 64m --memory-swap 64m",
        Resources(memory_bytes=64 * MIB, memory_swap_bytes=64 * MIB),
        ["memory.swap.max=0?", "memory.max=67108864"],
        ["memory.limit_in_bytes=67108864", "memory.memsw.limit_in_bytes=67108864?"],
    ),
    (
        "--memory-swap -1",
        Resources(memory_swap_bytes=-1),
        ["memory.swap.max=max?"],
        ["memory.memsw.limit_in_bytes=-1?"],
    ),
    (
        "--cpu-quota 50000",
        Resources(cpu_quota_us=50_000),
        ["cpu.max=50000 100000"],
        ["cpu.cfs_quota_us=50000"],
    ),
    (
        "--cpu-quota 5000 --cpu-period 20000",
        Resources(cpu_quota_us=5_000, cpu_period_us=20_000),
        ["cpu.max=5000 20000"],
        ["cpu.cfs_period_us=20000", "cpu.cfs_quota_us=5000"],
    ),
    (
        "--cpu-period 20000",
        Resources(cpu_period_us=20_000),
        ["cpu.max=max 20000"],
        ["cpu.cfs_period_us=20000"],
    ),
    ("-c 1024", Resources(cpu_shares=1024), ["cpu.weight=100"], ["cpu.shares=1024"]),
    (
        "--cpuset-cpus 0-1 --cpuset-mems 0",
        Resources(cpuset_cpus="0-1", cpuset_mems="0"),
        ["cpuset.mems=0", "cpuset.cpus=0-1"],
        ["cpuset.mems=0", "cpuset.cpus=0-1"],
    ),
]


@pytest.mark.parametrize(("words", "limits", "second", "first"), CASES)
def test_settings(words: str, limits: Resources, second: list[str], first: list[str]) -> None:
    """A question mark: it is fine if the kernel has no such file."""
    for version, expected in ((2, second), (1, first)):
        found = settings(limits, version=version)
        said = [f"{s.file}={s.value}" + "?" * s.optional for s in found]
        assert said == expected, words


@pytest.mark.parametrize(
    ("shares", "expected"),
    [(1, 1), (2, 1), (512, 59), (1024, 100), (2048, 174), (262144, 10000), (10**9, 10000)],
)
def test_weight(shares: int, expected: int) -> None:
    assert weight(shares) == expected


def test_weight_never_falls() -> None:
    """More shares are never fewer, and always a weight that the kernel takes."""
    found = [weight(shares) for shares in range(2, 262145, 97)]
    assert found == sorted(found)
    assert found[0] >= 1 and found[-1] <= 10000


def test_which_controllers() -> None:
    limits = Resources(memory_bytes=MIB, cpu_quota_us=9000, cpu_period_us=1000, cpuset_cpus="0")
    assert controllers(limits) == {"memory", "cpu", "cpuset"}
    assert controllers(UNLIMITED) == frozenset()
    assert names(limits, kept_by=frozenset({"memory"})) == [
        "cpu-period",
        "cpu-quota",
        "cpuset-cpus",
    ]
    assert names(limits, kept_by=frozenset({"cpu", "cpuset"})) == ["memory"]


def test_what_is_said_of_a_lack_of_memory() -> None:
    said = out_of_memory(64 * MIB, Resources(memory_bytes=1 << 31))
    assert "had was 64.0 MiB; its limit is --memory 2.0 GiB" in said
    assert "had was" not in out_of_memory(0, UNLIMITED) and "limit" not in out_of_memory(
        0, UNLIMITED
    )
