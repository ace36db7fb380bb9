"""How to configure each kind of container to allow what builds need.

Comes in: a kind of container, and what it forbids. Goes out: the lines to write where containers
of this kind are configured. Rules: the manuals of the runtimes. docs/ci.md has whole files.
"""

from collections.abc import Mapping, Sequence

from minibuild.startup.tuples import NamedTuple


class EngineOptions(NamedTuple):
    """How a kind of container is configured: `parts` by what they allow, joined between `head` and
    `tail`; `beside` is a line for what has to be said elsewhere."""

    head: str
    parts: Mapping[str, str]
    joint: str = " "
    tail: str = ""
    beside: Mapping[str, str] = {}


_DOCKER = {
    "seccomp": "--security-opt seccomp=unconfined",
    "apparmor": "--security-opt apparmor=unconfined",
    "selinux": "--security-opt label=disable",
    "proc": "--security-opt systempaths=unconfined",
    "ids": "--user 0",
}
_KUBERNETES = {
    "seccomp": "seccompProfile: {type: Unconfined}",
    "apparmor": "appArmorProfile: {type: Unconfined}",
    "selinux": "seLinuxOptions: {type: spc_t}",
    "proc": "procMount: Unmasked",
    "ids": "runAsUser: 0",
}
_POD = {name: "and in the pod's spec, hostUsers: false" for name in ("proc", "ids")}
FORMS: Mapping[str, EngineOptions] = {
    "Kubernetes": EngineOptions("securityContext: {", _KUBERNETES, ", ", "}", _POD),
    "GitLab on Kubernetes": EngineOptions(
        'patch = """{containers: [{name: build, securityContext: {',
        _KUBERNETES,
        ", ",
        '}}]}""" in a [[runners.kubernetes.pod_spec]] of the runner',
        _POD,
    ),
    "GitLab on docker": EngineOptions(
        "security_opt = [",
        {"seccomp": '"seccomp:unconfined"', "apparmor": '"apparmor:unconfined"'},
        ", ",
        "] in [runners.docker] of the runner",
        {"ids": 'user = "root" beside it'},
    ),
    "GitHub Actions": EngineOptions("container: {options: ", _DOCKER, tail="} in the job"),
    "docker": EngineOptions("docker run ", _DOCKER),
    "podman": EngineOptions("podman run ", {**_DOCKER, "proc": "--security-opt unmask=ALL"}),
}


def lines(kind: str, missing: Sequence[str]) -> list[str]:
    """What to write where a container of this kind is configured."""
    form = FORMS[kind]
    found = []
    if parts := [form.parts[name] for name in missing if name in form.parts]:
        found.append(f"  {kind}: {form.head}{form.joint.join(parts)}{form.tail}")
    beside = [form.beside[name] for name in missing if name in form.beside]
    return found + [f"    {line}" for line in beside[:1]]
