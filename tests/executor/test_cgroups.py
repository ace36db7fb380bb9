"""Cgroups of steps, for real: limits, what a lack of memory looks like, and that nothing stays."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from minibuild.executor.cgroup_parent import claim
from minibuild.executor.unified import enabled
from minibuild.linux import cgroup
from minibuild.linux.descriptors import write_text
from minibuild.linux.resources import Resources
from tests.executor.steps import Account, Case, Outcome, account, run, sh
from tests.support.waiting import PATIENCE_S

pytestmark = [pytest.mark.integration, pytest.mark.needs("busybox", "overlay")]
CHECKOUT = Path(__file__).parent.parent.parent
MIB = 1 << 20
EAT = "tail /dev/zero"
"""Reads a line that does not end into memory."""


def one(script: str, who: Account | None = None, **limits: Any) -> Outcome:
    """A step with limits."""
    step = sh(script, resources=Resources(**limits))
    return run(who or account("own"), [Case(step)], fresh=True)[0]


@pytest.mark.needs("cgroup")
def test_limits_are_in_force() -> None:
    """As the step sees them, in the files of either version."""
    script = """
    for n in 1 2 3 4 5 6 7 8; do (while :; do :; done) & done 2>/dev/null
    cd /sys/fs/cgroup; cat memory.max memory/memory.limit_in_bytes cpu.max cpu/cpu.cfs_quota_us
    cat cpu.weight cpu/cpu.shares
    for n in $(seq 600); do
        times=$(cat cpu.stat cpu/cpu.stat | grep nr_throttled)
        [ ${times#* } -gt 2 ] && break; sleep 0.1
    done; echo $times
    """
    limited = f"({script}) 2>/dev/null; true"
    found = one(limited, memory_bytes=64 * MIB, cpu_quota_us=20_000, cpu_shares=512)
    lines = found.out.splitlines()
    assert lines[0] == str(64 * MIB), found
    assert lines[1] in ("20000 100000", "20000")
    assert lines[2] in ("59", "512")
    # Eight that want all there is, and a fifth of one CPU: the kernel had to hold them back.
    assert int(lines[3].split()[1]) > 2


@pytest.mark.needs("root", "cgroup")
def test_a_set_of_cpus() -> None:
    """By default systemd lets only root limit sets of CPUs."""
    found = one(
        "nproc; cat /sys/fs/cgroup/cpuset.cpus /sys/fs/cgroup/cpuset/cpuset.cpus", cpuset_cpus="0"
    )
    assert found.out.split() == ["1", "0"], found


@pytest.mark.needs("cgroup")
@pytest.mark.parametrize("script", [f"exec {EAT}", f"{EAT}; exit 3", f"({EAT}) & wait; exit 4"])
def test_memory_that_ran_out(script: str) -> None:
    """Whichever process of the step was killed, and whatever the step made of it."""
    found = one(script, memory_bytes=64 * MIB, memory_swap_bytes=64 * MIB)
    assert found.exit is not None and found.exit.oom, found
    assert found.exit.code in (137, 3, 4)
    assert 60 * MIB < found.exit.peak_bytes <= 64 * MIB


@pytest.mark.needs("root", "cgroup")
def test_memory_of_the_whole_build_that_ran_out() -> None:
    """Where steps have no count of their own, the kernel's count of kills and what it knows of the
    largest process say nearly the same."""
    tree = next((t for t in cgroup.hierarchies() if "memory" in t.controllers), None)
    if tree is None or tree.version == 2:
        pytest.skip("in version 2 the steps of root have a count, if there is any")
    group = f"{tree.path}/minibuild.test-{os.getpid()}"
    os.mkdir(group)
    try:
        write_text(f"{group}/memory.limit_in_bytes", str(150 * MIB))
        enter = f'echo $$ > {group}/cgroup.procs; exec "$0" "$@"'
        found = one(f"{EAT}; exit $?", Account("own", ("sh", "-c", enter, sys.executable), 0))
        assert found.exit is not None and (found.exit.code, found.exit.oom) == (137, True), found
        assert 50 * MIB < found.exit.peak_bytes <= 150 * MIB
    finally:
        os.rmdir(group)


@pytest.mark.needs("cgroup")
def test_another_end_is_no_lack_of_memory() -> None:
    found = one("sh -c 'kill -9 $$'; exit $?", memory_bytes=64 * MIB)
    assert found.exit is not None and (found.exit.code, found.exit.oom) == (137, False)


@pytest.mark.needs("cgroup")
def test_steps_do_not_share_a_limit() -> None:
    """Nor does one begin with what another had used."""
    half = Case(
        sh(
            "dd if=/dev/zero of=/dev/null bs=40M count=1 2>/dev/null",
            resources=Resources(memory_bytes=64 * MIB, memory_swap_bytes=64 * MIB),
        )
    )
    for found in run(account("own"), [half, half, half], fresh=True):
        assert found.exit is not None and found.exit.code == 0, found


@pytest.mark.needs("root", "cgroup")
def test_a_limit_that_makes_no_sense() -> None:
    found = one("true", cpuset_cpus="8191")
    assert found.error[0] == "HostError"
    assert "the kernel refuses 8191 for cpuset.cpus" in found.error[1]
    assert "the CPUs of this machine are 0" in found.error[2]


@pytest.mark.needs("root")
def test_where_there_are_no_cgroups(tmp_path: Path) -> None:
    """A step runs without, and what cannot be kept has a name."""
    hide = 'umount -a -t cgroup2,cgroup; exec "$0" "$@"'
    who = Account("own", ("unshare", "--mount", "sh", "-c", hide, sys.executable), 0)
    found = one("echo ran", who, memory_bytes=64 * MIB)
    assert found.out == "ran\n"
    script = """
    import sys
    from minibuild.executor.local import start_executor
    from minibuild.linux.resources import Resources
    made = start_executor(sys.argv[1])
    print(made.unkept(Resources(memory_bytes=1 << 26, cpu_quota_us=5000)))
    made.close()
    """
    assert python(script, str(tmp_path), become=who.command[:-1]) == "['memory', 'cpu-quota']\n"


def test_a_bomb_ends_with_its_step() -> None:
    """Hundreds of processes that make others are gone as soon as the step is cancelled."""
    mark = f"mark-{os.getpid()}-{time.time_ns()}"
    # 256 of them, and no more: without a limit they would fill the machine if it is busy.
    last = "[ $1 = 0 ] && while :; do sleep 0.1; done"
    script = f"bomb() {{ : {mark}; {last}; for n in 1 2; do bomb $(($1-1)) & done; wait; }}; bomb 8"
    step = sh(script, limits=())
    found = run(account("own"), [Case(step, cancel_after_s=0.6)], fresh=True)[0]
    assert found.error[0] == "Cancelled"
    assert [p for p in Path("/proc").glob("[0-9]*/cmdline") if mark in text(p)] == []


def text(path: Path) -> str:
    """The text of a file of a process; nothing if it is gone."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def python(script: str, *words: str, become: tuple[str, ...] = (), check: bool = True) -> str:
    """What a program prints that runs as a process of its own."""
    lines = script.splitlines()
    margin = len(lines[1]) - len(lines[1].lstrip())
    source = "\n".join(line[margin:] for line in lines)
    path = os.pathsep.join([str(CHECKOUT), *(p for p in sys.path if p.endswith("-packages"))])
    done = subprocess.run(
        [*become, sys.executable, "-c", source, *words],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": path, "PATH": os.environ["PATH"]},
        check=check,
    )
    return done.stdout


def groups() -> set[str]:
    """The groups that claims of any process have made below ours."""
    trees = {tree.path for tree in cgroup.hierarchies()}
    return {str(path) for tree in trees for path in Path(tree).glob("minibuild-*")}


CLAIM = """
    import os, sys
    from minibuild.executor.cgroup_parent import claim
    held = claim(frozenset({"memory"}), insist=True, root=True)
    paths = [tree.path for tree in held.place.hierarchies]
    for path in paths:
        os.mkdir(f"{path}/1")
    print(*paths, flush=True)
    if sys.argv[1] == "killed":
        os.kill(os.getpid(), 9)
    held.release()
    """


@pytest.mark.needs("root", "cgroup")
def test_nothing_stays() -> None:
    paths = python(CLAIM, "released").split()
    assert paths and not any(os.path.exists(path) for path in paths)


@pytest.mark.needs("root", "cgroup")
def test_what_a_killed_process_left_is_swept() -> None:
    """But not what another process holds."""
    held = claim(frozenset({"memory"}), insist=True, root=True)
    try:
        ours = [tree.path for tree in held.place.hierarchies]
        paths = python(CLAIM, "killed", check=False).split()
        assert paths and all(os.path.exists(f"{path}/1") for path in paths)
        claim(frozenset({"memory"}), insist=True, root=True).release()
        assert not any(os.path.exists(path) for path in paths)
        assert all(os.path.exists(path) for path in ours)
    finally:
        held.release()


@pytest.mark.needs("root", "cgroup")
def test_a_name_that_is_swept_between_two_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process removes the new group before it is locked: it is made again."""
    made: list[str] = []
    mkdir = os.mkdir

    def swept_once(path: str, mode: int = 0o777) -> None:
        mkdir(path, mode)
        made.append(path)
        if len(made) == 1:
            os.rmdir(path)

    monkeypatch.setattr(os, "mkdir", swept_once)
    held = claim(frozenset({"memory"}), insist=True, root=True)
    try:
        assert made[0] == made[1]
        assert all(os.path.isdir(tree.path) for tree in held.place.hierarchies)
    finally:
        held.release()


def unified() -> cgroup.Hierarchy:
    """The tree of version 2, with some controller that it has."""
    for tree in cgroup.hierarchies():
        if tree.version == 2 and tree.controllers and os.access(tree.path, os.W_OK):
            return tree
    pytest.skip("no controller here belongs to version 2")


ALONE = """
    import json, os, sys
    from minibuild.executor import unified
    from minibuild.linux import cgroup

    group, controller = sys.argv[1:]
    with open(f"{group}/cgroup.procs", "w") as file:
        file.write("0")

    def state():
        own = next(tree.path for tree in cgroup.hierarchies() if tree.version == 2)
        return [own, sorted(unified.enabled(group)), sorted(os.listdir(group))]

    def named(before, after):
        return [name for name in after[2] if name not in before[2]]

    before = state()
    own = next(tree for tree in cgroup.hierarchies() if tree.version == 2)
    wanted = frozenset({controller})
    lazy = unified.prepare(own, wanted, missing=wanted, insist=False, root=True)
    unmoved = state() == before
    found = unified.prepare(own, wanted, missing=wanted, insist=True, root=True)
    during = state()
    os.mkdir(f"{group}/steps")
    has = controller in open(f"{group}/steps/cgroup.controllers").read().split()
    own = next(tree for tree in cgroup.hierarchies() if tree.version == 2)
    again = unified.prepare(own, wanted, missing=wanted, insist=True, root=True)
    unified.hand_back(group)
    held = state() != before
    os.rmdir(f"{group}/steps")
    unified.hand_back(group)
    print(json.dumps({
        "lazy": sorted(lazy.controllers), "unmoved": unmoved, "found": found.path, "has": has,
        "moved": during[0], "again": again.path, "held": held, "restored": state() == before,
    }))
    """


@pytest.mark.needs("root")
def test_a_process_that_is_alone_in_its_group() -> None:
    """It moves out of the way of the groups of steps, and back in the end. With another one in the
    group nothing of that is done."""
    tree = unified()
    if os.path.isdir("/run/systemd/system"):
        pytest.skip("systemd would be asked for a group, which is another way")
    (controller, *_) = sorted(tree.controllers)
    if controller not in enabled(tree.path):
        write_text(f"{tree.path}/cgroup.subtree_control", f"+{controller}")
    group = f"{tree.path}/minibuild.test-{os.getpid()}"
    os.mkdir(group)
    try:
        seen = json.loads(python(ALONE, group, controller))
        assert seen == {
            **{"lazy": [], "unmoved": True, "found": group, "has": True, "again": group},
            **{"moved": f"{group}/minibuild-main", "held": True, "restored": True},
        }
        with subprocess.Popen(["sleep", "1000"]) as other:
            write_text(f"{group}/cgroup.procs", str(other.pid))
            try:
                script = ALONE.split('    os.mkdir(f"{group}/steps")')[0]
                script += "    print(found.path, *found.controllers, during[0] == before[0])"
                # Root takes the nearest group above that has no processes, or goes without.
                words = python(script, group, controller).split()
                assert words in ([tree.path, controller, "True"], [group, "True"])
            finally:
                other.send_signal(signal.SIGKILL)
    finally:
        deadline = time.monotonic() + PATIENCE_S
        while os.path.exists(group) and time.monotonic() < deadline:
            cgroup.remove(group)
