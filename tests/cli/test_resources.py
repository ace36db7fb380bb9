"""--resource and its relatives, from words to limits."""

import pytest

from minibuild.buildflags.resources import resources
from minibuild.cli.build_flags import limits
from minibuild.cli.catalogue import parser_of
from minibuild.errors import UsageError
from minibuild.linux.resources import UNLIMITED, Resources

MIB, GIB = 1 << 20, 1 << 30
SOUND = [
    ("", UNLIMITED),
    ("--resource memory=2g", Resources(memory_bytes=2 * GIB)),
    ("-m 512m", Resources(memory_bytes=512 * MIB)),
    ("--memory=1.5g", Resources(memory_bytes=3 * GIB // 2)),
    # As buildx has it: the older form counts less, wherever it stands.
    ("--resource memory=1g -m 2g", Resources(memory_bytes=GIB)),
    ("--resource memory=1g --resource memory=3g", Resources(memory_bytes=3 * GIB)),
    ("-m 1g --memory-swap -1", Resources(memory_bytes=GIB, memory_swap_bytes=-1)),
    ("--resource memory-swap=-1", Resources(memory_swap_bytes=-1)),
    ("-m 1g --memory-swap 1g", Resources(memory_bytes=GIB, memory_swap_bytes=GIB)),
    ("--cpu-shares 512", Resources(cpu_shares=512)),
    ("-c 512", Resources(cpu_shares=512)),
    (
        "--resource cpu-quota=50000 --resource cpu-period=20000",
        Resources(cpu_quota_us=50_000, cpu_period_us=20_000),
    ),
    ("--cpu-quota -1 --cpu-shares 0 -m 0", UNLIMITED),
    ("--cpuset-cpus 0-3,7 --cpuset-mems 0", Resources(cpuset_cpus="0-3,7", cpuset_mems="0")),
    ("--resource cpuset-cpus=1", Resources(cpuset_cpus="1")),
    ("--cpus 1.5", Resources(cpu_quota_us=150_000)),
    ("--cpus=.25", Resources(cpu_quota_us=25_000)),
    ("--resource cpus=2 --cpus 1", Resources(cpu_quota_us=200_000)),
    ("--cpus 2", Resources(cpu_quota_us=200_000)),
]


@pytest.mark.parametrize(("words", "expected"), SOUND)
def test_sound(words: str, expected: Resources) -> None:
    assert resources(limits(parser_of("build").options(words.split()))) == expected


WRONG = [
    ("--resource memory", "invalid resource 'memory', expected key=value"),
    ("--resource bogus=1", "unknown resource 'bogus'"),
    ("--resource cpu-shares=many", "invalid value 'many' for resource cpu-shares"),
    ("-m lots", "invalid size 'lots' for --memory"),
    ("-m -1", "invalid size '-1' for --memory"),
    ("--memory-swap 1g", "memory-swap is memory and swap together"),
    ("-m 2g --memory-swap 1g", "memory-swap is below memory"),
    ("--cpuset-cpus 3-1", "invalid value '3-1' for resource cpuset-cpus"),
    ("--cpuset-cpus a", "invalid value 'a'"),
    ("--cpuset-cpus 0-999999999", "invalid value"),
    ("--cpus 0", "invalid value '0' for --cpus"),
    ("--cpus 0.001", "invalid value"),
    ("--cpus x", "invalid value"),
    ("--cpus 1 --cpu-quota 5000", "say the same twice"),
]


@pytest.mark.parametrize(("words", "says"), WRONG)
def test_wrong(words: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        resources(limits(parser_of("build").options(words.split())))
