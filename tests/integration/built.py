"""Builds from contexts of all kinds, and what came out of them.

Comes in: the command line, contexts in memory. Goes out: the files of a result.
"""

import io
import os
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

from tests.conftest import Cli
from tests.support.waiting import PATIENCE_S

FILES = {
    "Dockerfile": "FROM scratch\nCOPY . /\n",
    "a": "a\n",
    "b.log": "no\n",
    "sub/s": "s\n",
    "sub/Dockerfile": "FROM scratch\nCOPY s /here\n",
    ".dockerignore": "*.log\nDockerfile\n.dockerignore\n",
}
COPIED = {"a", "sub/s", "sub/Dockerfile"}


def tarred(files: Mapping[str, str], mode: str = "w") -> bytes:
    """The files as an archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


def zstd(data: bytes) -> bytes:
    """The data compressed as zstd."""
    import zstandard

    return zstandard.compress(data)


class Built:
    """Builds to a directory and says which files came out."""

    def __init__(self, cli: Cli, folder: Path) -> None:
        self.cli, self.out = cli, folder / "out"
        self.count = 0

    def __call__(self, *arguments: str, stdin: bytes = b"", code: int = 0) -> str:
        self.count += 1
        dest = f"{self.out}{self.count}"
        done = subprocess.run(
            [self.cli.program, "build", "--progress=plain", f"--output={dest}", *arguments],
            input=stdin,
            capture_output=True,
            env={**self.cli.environment, "MINIBUILD_ROOT": self.cli.root},
            timeout=PATIENCE_S,
        )
        said = done.stderr.decode()
        assert done.returncode == code, said
        assert "Traceback" not in said
        return said

    @property
    def files(self) -> set[str]:
        """What the last build wrote."""
        top = f"{self.out}{self.count}"
        return {
            os.path.relpath(os.path.join(folder, name), top)
            for folder, _, names in os.walk(top)
            for name in names
        }

    def text(self, name: str) -> str:
        """A file that the last build wrote."""
        return Path(f"{self.out}{self.count}", name).read_text()


def git(folder: Path, *arguments: str) -> str:
    """Run git in a repository, with an identity of its own."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_DATE": "2020-01-02T03:04:05Z",
        "GIT_COMMITTER_DATE": "2020-01-02T03:04:05Z",
    }
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    done = subprocess.run(
        ["git", *identity, "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    return done.stdout.strip()
