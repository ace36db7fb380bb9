"""Cases built in containers, and on this host with namespaces: the digests are to be the same.

Comes in: a root directory with the image of minibuild. Goes out: a `Pod`, in which commands run,
and the digests of cases.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import Cli
from tests.pods.cases import FILES, Case, dockerfile
from tests.support import busybox, ci_image
from tests.support.containers import KINDS, Container, container

EPOCH = 1700000000
_RESULT = "result.json"


def write_context(folder: Path) -> Path:
    """A context for all cases."""
    folder.mkdir(parents=True)
    binary = busybox.find()
    assert binary is not None
    busybox.write_tar(binary, str(folder / "rootfs.tar"))
    (folder / "a").write_text("a")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / ".dockerignore").write_text("key*\nout\nlog\nDockerfile*\n")
    call = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")]
    subprocess.run(call, check=True)
    for where, _, names in os.walk(folder):
        for path in (where, *(f"{where}/{name}" for name in names)):
            os.chown(path, 0, 0)
    return folder


def flags(case: Case) -> list[str]:
    """The flags with which a digest says what is in an image, and nothing of the time."""
    output = ("-o", "type=image,rewrite-timestamp=true", "--build-arg")
    return [*case.flags, *output, f"SOURCE_DATE_EPOCH={EPOCH}", "--metadata-file", _RESULT]


def _digest(context: Path) -> str:
    path = context / _RESULT
    digest: str = json.loads(path.read_text())["containerimage.digest"]
    path.unlink()
    return digest


def digest_here(cli: Cli, context: Path, case: Case) -> str:
    """The digest of a case, built on this host."""
    (context / "Dockerfile").write_text(dockerfile(case, cache=os.urandom(4).hex()))
    cli("build", *flags(case), ".", cwd=str(context))
    return _digest(context)


class Pod:
    """A container of one kind with minibuild's image, and a context at /workspace."""

    def __init__(self, made: Container, context: Path) -> None:
        self.container = made
        self.context = context

    def sh(self, command: str, code: int | None = 0) -> str:
        """Run a command of the shell, with the context as its directory; what it wrote."""
        return self.container.run("/busybox/sh", "-c", f"cd /workspace; {command}", code=code)

    def build(self, text: str, *given: str, code: int | None = 0) -> str:
        """Build a Dockerfile."""
        (self.context / "Dockerfile").write_text(text)
        words = " ".join(f"'{word}'" for word in given)
        return self.sh(f"minibuild build --progress=plain {words} .", code)

    def digest(self, case: Case, *more: str) -> str:
        """The digest of a case, built in it."""
        self.build(dockerfile(case, cache=os.urandom(4).hex()), *flags(case), *more)
        return _digest(self.context)


@contextmanager
def pod(
    folder: Path, image: Path, kind: str, context: Path, env: Mapping[str, str] = {}
) -> Iterator[Pod]:
    """A container as long as the block runs."""
    folder.mkdir(parents=True)
    hosts, resolv_conf = folder / "hosts", folder / "resolv.conf"
    hosts.write_text("127.0.0.1 localhost\n")
    shutil.copy("/etc/resolv.conf", resolv_conf)
    variables = {**ci_image.ENVIRONMENT, **env}
    with container(folder / "container", image, KINDS[kind], variables) as made:
        made.binds |= {"/workspace": str(context), "/etc/hosts": str(hosts)}
        made.binds["/etc/resolv.conf"] = str(resolv_conf)
        yield Pod(made, context)
