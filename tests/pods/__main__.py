"""`python -m tests.pods [--debian TAR] [--kind NAME]... [--case NAME]...`

Builds each case in each kind of container and on this host with namespaces, and prints the table of
docs/ci.md: `same` is the digest of the host. Needs root, runc, patchelf and busybox. With a Debian
(`mmdebstrap --variant=apt bookworm TAR`) five applications are built with apt as well, and one of
them is pushed to a registry on loopback and pulled back. The status is 1 if a cell is not as it
should be.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import Cli
from tests.pods.cases import CASES, REAL, Case
from tests.pods.matrix import Pod, digest_here, pod, write_context
from tests.support import ci_image
from tests.support.containers import KINDS
from tests.support.registry import registry

_PATIENCE_S = 600.0
REFUSED = {"uid1000-seccomp"}
ONE_ID = {"uid1000"}
"""Where a RUN is refused, and where all files of a RUN belong to one user."""


def main() -> int:
    """Do it."""
    parser = argparse.ArgumentParser(prog="python -m tests.pods")
    parser.add_argument("--debian", type=Path, help="the tar of a root directory with apt")
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--case", action="append", choices=(*CASES, *REAL))
    options = parser.parse_args()
    cases = dict(CASES) | (dict(REAL) if options.debian else {})
    wanted = {name: cases[name] for name in options.case or cases}
    with tempfile.TemporaryDirectory(prefix="minibuild-pods-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        context = write_context(folder / "context")
        if options.debian:
            shutil.copy(options.debian, context / "debian.tar")
        tree = ci_image.gather(folder / "gathered")
        ci_image.build(Cli(f"{folder}/image"), tree, "debug", "-o", f"{folder}/root")
        table = Table(folder, context, wanted)
        good = all([table.row(kind) for kind in options.kind or KINDS])
        if options.debian:
            good &= table.there_and_back()
    return 0 if good else 1


class Table:
    """The cells, as they come."""

    def __init__(self, folder: Path, context: Path, cases: dict[str, Case]) -> None:
        self.folder, self.context, self.cases = folder, context, cases
        self.cli = Cli(f"{folder}/store")
        self.known = {name: digest_here(self.cli, context, case) for name, case in cases.items()}
        print("| container |", " | ".join(cases), "|", flush=True)
        print("|---|" + "---|" * len(cases), flush=True)

    def row(self, kind: str) -> bool:
        """Build all in one kind of container; whether each is as it should be."""
        with self._pod(kind) as made:
            cells = [self._cell(made, kind, name, case) for name, case in self.cases.items()]
        print(f"| {kind} |", " | ".join(word for word, _ in cells), "|", flush=True)
        return all(good for _, good in cells)

    @contextmanager
    def _pod(self, kind: str) -> Iterator[Pod]:
        uid = KINDS[kind].uid
        shutil.rmtree(self.context / "out", ignore_errors=True)
        for where, _, names in os.walk(self.context):
            for path in (where, *(f"{where}/{name}" for name in names)):
                os.chown(path, uid, uid)
        # An ordinary user cannot write to the image's own folders.
        env = {"MINIBUILD_ROOT": "/workspace/out/store", "TMPDIR": "/workspace/out"} if uid else {}
        (self.context / "out").mkdir()
        os.chown(self.context / "out", uid, uid)
        folder = self.folder / f"pod-{time.monotonic_ns()}"
        with pod(folder, self.folder / "root", kind, self.context, env) as made:
            made.container.patience_s = _PATIENCE_S
            yield made
        shutil.rmtree(folder)

    def _cell(self, made: Pod, kind: str, name: str, case: Case) -> tuple[str, bool]:
        """What became of a case, and whether that is as it should be."""
        try:
            found, said = made.digest(case), ""
        except AssertionError as error:
            found, said = "", str(error)
        if found == self.known[name]:
            return "same", True
        if "a RUN needs namespaces" in said:
            return "no RUN", kind in REFUSED
        if kind in ONE_ID and name != "COPY only":
            return "one id", True
        print(said or f"{name}: another digest", file=sys.stderr, flush=True)
        return "wrong", False

    def there_and_back(self) -> bool:
        """Push the Debian from a container without namespaces, pull it in another, and compare."""
        with registry(str(self.folder)) as running, self._pod("root-seccomp") as made:
            name = f"{running.address}/app:1"
            known = made.digest(REAL["nginx"], "-t", name, "--push")
            with self._pod("root-seccomp") as other:
                other.sh(f"minibuild image pull {name}")
                listed = other.sh("minibuild image ls")
            self.cli("image", "pull", name)
            said = self.cli("run", name).stdout
        print(f"pushed, pulled and run:\n{listed}{said}", flush=True)
        return known.removeprefix("sha256:")[:12] in listed and "nginx" in said


if __name__ == "__main__":
    sys.exit(main())
