"""What the doctor says of containers: from a /proc made by hand, and marks that runtimes leave."""

import tomllib
from pathlib import Path

import pytest

from minibuild.cli.doctor import container
from minibuild.linux.container import FORMS, lines

POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}
MASKED = "23 22 0:21 / /proc rw - proc proc rw\n24 23 0:22 / /proc/kcore rw - tmpfs tmpfs rw\n"
OPEN = "23 22 0:21 / /proc rw - proc proc rw\n"


@pytest.fixture
def made(tmp_path: Path) -> "Host":
    return Host(tmp_path)


class Host:
    """A root with what is looked at in one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "proc/self/attr").mkdir(parents=True)
        (root / "run").mkdir()
        self.status()

    def status(self, seccomp: int = 0, new: int = 0, mounts: str = OPEN, profile: str = "") -> None:
        own = self.root / "proc/self"
        (own / "status").write_text(f"Name:\tpython\nNoNewPrivs:\t{new}\nSeccomp:\t{seccomp}\n")
        (own / "mountinfo").write_text(mounts)
        (own / "attr/current").write_text(profile)

    def mark(self, path: str) -> None:
        (self.root / path).touch()


def test_no_container(made: Host) -> None:
    """Nor is one where a job of CI runs on the machine itself."""
    ci = {"GITLAB_CI": "true", "GITHUB_ACTIONS": "true"}
    assert container(ci, works=False, uid=1000, root=str(made.root)) is None


@pytest.mark.parametrize(
    ("variables", "mark", "kind"),
    [
        (POD, "", "Kubernetes"),
        ({**POD, "GITLAB_CI": "true"}, "", "GitLab on Kubernetes"),
        ({"GITLAB_CI": "true"}, ".dockerenv", "GitLab on docker"),
        ({"GITHUB_ACTIONS": "true"}, ".dockerenv", "GitHub Actions"),
        ({}, ".dockerenv", "docker"),
        ({}, "run/.containerenv", "podman"),
    ],
)
def test_kinds(made: Host, variables: dict[str, str], mark: str, kind: str) -> None:
    if mark:
        made.mark(mark)
    found = container(variables, works=True, uid=0, root=str(made.root))
    assert found is not None and found.ok and found.found == f"{kind}: open"
    made.status(seccomp=2, profile="docker-default (enforce)\n")
    found = container(variables, works=True, uid=0, root=str(made.root))
    assert found is not None and found.ok, "what works needs no advice"
    found = container(variables, works=False, uid=0, root=str(made.root))
    assert found is not None and not found.ok
    first, line = found.advice.splitlines()
    assert first == "RUN needs namespaces, which are refused. Write"
    assert line.startswith(f"  {kind}: ") and "apparmor" in line.lower() and "seccomp" in line


def test_the_lines(made: Host) -> None:
    """As they are to be written."""
    kinds = {kind: lines(kind, ["seccomp", "apparmor"])[0] for kind in FORMS}
    profiles = "seccompProfile: {type: Unconfined}, appArmorProfile: {type: Unconfined}"
    options = "--security-opt seccomp=unconfined --security-opt apparmor=unconfined"
    patch = f'patch = """{{containers: [{{name: build, securityContext: {{{profiles}}}}}]}}"""'
    assert kinds == {
        "Kubernetes": f"  Kubernetes: securityContext: {{{profiles}}}",
        "GitLab on Kubernetes": f"  GitLab on Kubernetes: {patch} in a "
        "[[runners.kubernetes.pod_spec]] of the runner",
        "GitLab on docker": '  GitLab on docker: security_opt = ["seccomp:unconfined", '
        '"apparmor:unconfined"] in [runners.docker] of the runner',
        "GitHub Actions": f"  GitHub Actions: container: {{options: {options}}} in the job",
        "docker": f"  docker: docker run {options}",
        "podman": f"  podman: podman run {options}",
    }
    assert tomllib.loads(patch)


def test_a_masked_proc(made: Host) -> None:
    made.status(mounts=MASKED)
    found = container(POD, works=True, uid=0, root=str(made.root))
    assert found is not None and not found.ok
    assert found.found == "Kubernetes: masked parts of /proc"
    assert found.advice.splitlines()[1:] == [
        "  Kubernetes: securityContext: {procMount: Unmasked}",
        "    and in the pod's spec, hostUsers: false",
    ]


def test_what_a_kind_has_no_word_for_is_not_advised(made: Host) -> None:
    made.mark(".dockerenv")
    made.status(mounts=MASKED)
    found = container({"GITLAB_CI": "true"}, works=True, uid=0, root=str(made.root))
    assert found is not None and found.ok and "masked" in found.found


def test_one_id(made: Host) -> None:
    made.status(new=1)
    for uid, ok in ((0, True), (1000, False)):
        found = container(POD, works=True, uid=uid, root=str(made.root))
        assert found is not None and found.ok is ok


def test_selinux(made: Host) -> None:
    made.mark("run/.containerenv")
    made.status(seccomp=2, profile="system_u:system_r:container_t:s0:c1,c2\0")
    found = container({}, works=False, uid=0, root=str(made.root))
    assert found is not None
    assert found.advice.splitlines()[1] == (
        "  podman: podman run --security-opt seccomp=unconfined --security-opt label=disable"
    )


def test_of_an_unknown_kind(made: Host) -> None:
    """All lines are shown."""
    made.status(seccomp=2)
    found = container({}, works=False, uid=0, root=str(made.root))
    assert found is not None and found.found.startswith("of an unknown kind")
    shown = found.advice.splitlines()
    assert [line.split(":")[0].strip() for line in shown[1:]] == list(FORMS)


def test_steps_that_can_do_without(made: Host) -> None:
    """Namespaces would be better; what /proc shows makes no difference."""
    made.status(seccomp=2, mounts=MASKED)
    found = container(POD, works=False, own_root=True, uid=0, root=str(made.root))
    assert found is not None and found.advice.splitlines() == [
        "with namespaces, several RUNs can run at once, and none sees this container. Write",
        "  Kubernetes: securityContext: {seccompProfile: {type: Unconfined}}",
    ]
