"""Commands in a container as a runtime of CI makes it, by runc: root or an ordinary user, under the
default filter of system calls or none.

Comes in: a root directory, which is not written to, and a kind. Goes out: how the command ended.
The filter is the one that Debian's containers-common has, less what it grants to privileges that
these containers do not have.
"""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from minibuild.linux import capabilities

PROFILE = Path("/usr/share/containers/seccomp.json")
_FOR_ADMIN = frozenset(
    "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount "
    "mount_setattr move_mount open_tree perf_event_open quotactl setdomainname sethostname setns "
    "syslog umount umount2 unshare".split()
)
_NEW_NAMESPACES = 0x7E020000
_PATIENCE_S = 60.0
_TYPES = ("bounding", "effective", "permitted")


class Kind(NamedTuple):
    """What a container is given."""

    uid: int = 0
    filtered: bool = True
    userns: bool = False
    unmasked: bool = False


KINDS = {
    "root-seccomp": Kind(),  # docker, podman, GitLab's docker executor, seccompDefault
    "root": Kind(filtered=False),  # Kubernetes by default
    "root-unmasked": Kind(filtered=False, unmasked=True),
    "uid1000-seccomp": Kind(1000),  # the standard "restricted"
    "uid1000": Kind(1000, filtered=False),
    "userns-root-seccomp": Kind(userns=True),  # hostUsers: false
    "userns-root": Kind(filtered=False, userns=True),
    "userns-root-unmasked": Kind(filtered=False, userns=True, unmasked=True),
}


def default_filter(names: Sequence[str]) -> dict[str, Any]:
    """The default filter for a process with these capabilities, in runc's words."""
    wide = json.loads(PROFILE.read_text())
    rules = []
    for rule in wide["syscalls"]:
        need, but = rule.get("includes", {}), rule.get("excludes", {})
        if set(need.get("caps", ())) - set(names) or set(but.get("caps", ())) & set(names):
            continue
        if "amd64" not in need.get("arches", ["amd64"]) or "amd64" in but.get("arches", ()):
            continue
        allowed = [name for name in rule["names"] if name not in _FOR_ADMIN]
        if allowed:
            made = {"names": allowed, "action": rule["action"], "args": rule.get("args") or []}
            rules.append(made | {k: rule[k] for k in ("errnoRet",) if k in rule})
    plain = {"index": 0, "value": _NEW_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    rules.append({"names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": [plain]})
    rules.append({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38, "args": []})
    return {
        "defaultAction": wide["defaultAction"],
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": rules,
    }


class Container:
    """A container with a root directory of its own above `rootfs`; commands run in it one by one,
    each in new processes, and find what the one before left."""

    def __init__(self, folder: Path, root: Path, kind: Kind, env: Mapping[str, str]) -> None:
        self.folder, self.root, self.kind, self.env = folder, root, kind, env
        self.binds: dict[str, str] = {}
        self.patience_s = _PATIENCE_S
        self._count = 0

    def spec(self, argv: Sequence[str]) -> dict[str, Any]:
        """What runc is to do."""
        call = ["runc", "spec"]
        (self.folder / "config.json").unlink(missing_ok=True)
        subprocess.run(call, cwd=self.folder, check=True)
        spec: dict[str, Any] = json.loads((self.folder / "config.json").read_text())
        kind, process, linux = self.kind, spec["process"], spec["linux"]
        names = [f"CAP_{name}" for name in capabilities.SANDBOX] if kind.uid == 0 else []
        spec["root"] = {"path": str(self.root), "readonly": False}
        process.update(
            terminal=False,
            user={"uid": kind.uid, "gid": kind.uid},
            args=list(argv),
            noNewPrivileges=kind.uid != 0,
            rlimits=[],
            cwd="/",
            env=[f"{key}={value}" for key, value in self.env.items()],
            capabilities={type_: names for type_ in _TYPES},
        )
        linux["namespaces"] = [n for n in linux["namespaces"] if n["type"] != "network"]
        if kind.filtered:
            linux["seccomp"] = default_filter(names)
        if kind.unmasked:
            linux["maskedPaths"], linux["readonlyPaths"] = [], []
        if kind.userns:
            linux["namespaces"].append({"type": "user"})
            ids = [{"containerID": 0, "hostID": 0, "size": 65536}]
            linux["uidMappings"] = linux["gidMappings"] = ids
        mounts = [m for m in spec["mounts"] if m["destination"] not in ("/sys/fs/cgroup", "/sys")]
        sys = {"destination": "/sys", "source": "/sys", "type": "none", "options": ["rbind", "ro"]}
        binds = [
            {"destination": target, "source": source, "type": "none", "options": ["bind", "rw"]}
            for target, source in self.binds.items()
        ]
        spec["mounts"] = [*mounts, sys, *binds]
        return spec

    def start(self, *argv: str) -> "subprocess.Popen[str]":
        """Start a command."""
        self._count += 1
        (self.folder / "config.json").write_text(json.dumps(self.spec(argv)))
        call = ["runc", "run", "--no-new-keyring", "-b", str(self.folder), self._name()]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(call, stdin=subprocess.DEVNULL, **pipes)  # type: ignore[call-overload]

    def _name(self) -> str:
        """As runc names it; so tests that run side by side do not meet."""
        return f"minibuild-{os.getpid()}-{id(self)}-{self._count}"

    def run(self, *argv: str, code: int | None = 0) -> str:
        """Run a command to its end; its output. `code` None is any."""
        with self.start(*argv) as process:
            try:
                out = process.communicate(timeout=self.patience_s)[0]
            except BaseException:
                subprocess.run(["runc", "delete", "--force", self._name()], check=False)
                raise
        assert code is None or process.returncode == code, out
        return out


@contextmanager
def container(
    folder: Path, rootfs: Path, kind: Kind, env: Mapping[str, str]
) -> Iterator[Container]:
    """A container over `rootfs`, as long as the block runs."""
    for name in ("upper", "work", "root"):
        (folder / name).mkdir(parents=True)
    (folder / "upper").chmod(0o755)
    data = f"lowerdir={rootfs},upperdir={folder}/upper,workdir={folder}/work"
    mount = ["mount", "-t", "overlay", "overlay", "-o", data, str(folder / "root")]
    subprocess.run(mount, check=True)
    try:
        yield Container(folder, folder / "root", kind, env)
    finally:
        subprocess.run(["umount", str(folder / "root")], check=True)
