"""Ending builds at random moments, and looking at what they leave.

Comes in: a program, a signal, a number of times, a seed. Goes out: a line for each build, and what
was wrong: one that took too long to end, an internal error, a process or a file that stayed, a
build after it that failed. Read next: `builds`.
"""

import hashlib
import os
import random
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from tests.chaos.builds import KINDS, NAP, Kind, make_context
from tests.support import busybox, processes

LIMIT_S = 1.0
"""How long an interrupted build may take to end, on a machine that has nothing else to do."""

LONGEST_S = 8.0
_BAD = ("Traceback", "internal error", "Exception ignored", "Fatal Python error", "Bus error")


class Ended(NamedTuple):
    """How one ended: `took_s` from the signal to the end; 0 if it was over before."""

    kind: str
    after_s: float
    took_s: float
    code: int
    said: str
    wrong: tuple[str, ...]

    def __str__(self) -> str:
        wrong = "".join(f"\n    WRONG: {what}" for what in self.wrong)
        return f"{self.kind:26} {self.after_s:5.2f} s, +{self.took_s:.2f} s, {self.code}{wrong}"


class Harness:
    """Builds with one store, in a folder with the context."""

    def __init__(
        self, program: str, folder: Path, flags: Sequence[str], limit_s: float = LIMIT_S
    ) -> None:
        self._limit_s = limit_s
        self._count = 0
        self._command = [program, "build", "--progress=plain", *flags]
        self._program = program
        self._folder = folder
        self.root = str(folder / "state")
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "LC_ALL": "C.UTF-8",
            "MINIBUILD_ROOT": self.root,
            "PYTHONFAULTHANDLER": "1",
        }

    def interrupt(
        self, name: str, after_s: float, number: signal.Signals, *, beside: bool = False
    ) -> Ended:
        """Begin a build, send the signal after a while, and wait for the end. `beside`: another
        build of the same steps, which is left alone, must come to a good end."""
        kind = KINDS[name]
        if beside:
            # New steps each time, and the same ones for both.
            turn = f"\\1\nENV TURN={self._count}"
            kind = kind._replace(dockerfile=re.sub("(?m)^(FROM .*)$", turn, kind.dockerfile))
            other = self._start(kind, cache=True)
        running = self._start(kind, cache=beside)
        began = time.monotonic()
        early = _wait(running, after_s) is not None
        then = time.monotonic()
        if not early:
            running.send_signal(number)
        out, _ = running.communicate(timeout=60)
        took_s = 0.0 if early else time.monotonic() - then
        wrong = list(self._wrong(out, running.returncode, number, early=early))
        if took_s > self._limit_s:
            wrong.append(f"it went on for {took_s:.2f} s")
        if beside:
            out, _ = other.communicate(timeout=120)
            wrong += self._wrong(out, other.returncode, number, early=True)
        for word in (self.root, NAP):
            if not processes.gone(word, within_s=10):
                left = map(_command_line, processes.with_word(word))
                wrong.append(f"a process is left: {', '.join(left)}")
        return Ended(name, then - began, took_s, running.returncode, out, tuple(wrong))

    def _start(self, kind: Kind, *, cache: bool = False) -> subprocess.Popen[str]:
        self._count += 1
        dockerfile = self._folder / f"Dockerfile{self._count}"
        dockerfile.write_text(kind.dockerfile)
        Path(f"{dockerfile}.dockerignore").write_text(kind.ignored or "state\n")
        more = () if cache else ("--no-cache",)
        return subprocess.Popen(
            [*self._command, *more, "-f", str(dockerfile), *kind.flags, "."],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=self._folder,
            env=self._environment,
            start_new_session=True,
        )

    def _wrong(self, out: str, code: int, number: signal.Signals, *, early: bool) -> Iterator[str]:
        if number == signal.SIGINT and "<module>" in out and "cli/start.py" not in out:
            return  # Python itself was about to start, and says so.
        killed = {-number} if number == signal.SIGKILL else {-number, 128 + number}
        if code not in ({0} if early else {0, *killed}):
            yield f"exit code {code}:\n{out[-2000:]}"
        for word in _BAD:
            if word in out:
                yield f"{word}:\n{out[-3000:]}"

    def left(self) -> list[str]:
        """What is left in the store that no build needs."""
        found = [
            f"{folder}/{name}"
            for folder in ("ingest", "owners")
            if os.path.isdir(f"{self.root}/{folder}")
            for name in os.listdir(f"{self.root}/{folder}")
        ]
        if not os.path.exists(f"{self.root}/meta.db"):
            return found
        with closing(sqlite3.connect(f"{self.root}/meta.db")) as db:
            rows = dict(db.execute("SELECT id, owner FROM snapshots"))
        found += [f"unfinished snapshot {number}" for number, owner in rows.items() if owner]
        known = {str(number) for number in rows}
        folders = set(os.listdir(f"{self.root}/snapshots"))
        found += [f"snapshot {name}" for name in known.symmetric_difference(folders)]
        with open("/proc/self/mountinfo") as file:
            found += [f"mount {line.split()[4]}" for line in file if self.root in line]
        return found

    def damaged(self) -> list[str]:
        """Blobs that are not what their names say."""
        folder = Path(self.root, "blobs", "sha256")
        found = []
        for path in folder.iterdir():
            with open(path, "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != path.name:
                    found.append(f"blob {path.name} is damaged")
        return found

    def next_build(self) -> list[str]:
        """What is wrong with a build after all that."""
        kind = Kind("FROM busybox\nCOPY many/17 /\nRUN ls /17\n")
        running = self._start(kind)
        out, _ = running.communicate(timeout=120)
        wrong = list(self._wrong(out, running.returncode, signal.SIGINT, early=True))
        return wrong + self.left() + self.damaged()


def prepared(
    program: str, folder: Path, *, noise_mib: int = 150, limit_s: float = LIMIT_S
) -> Harness:
    """A harness with a context, a base image and a big one."""
    binary = busybox.find()
    assert binary is not None, "install busybox-static"
    make_context(folder, noise_mib)
    busybox.write_tar(binary, str(folder / "busybox.tar"))
    state = str(folder / "state")
    imported = [program, "--root", state, "image", "import"]
    subprocess.run(
        [*imported, str(folder / "busybox.tar"), "busybox"], check=True, capture_output=True
    )
    (folder / "Dockerfile").write_text(
        f"FROM busybox\nCOPY noise /n\nCOPY many /m\nRUN truncate -s {20 * noise_mib}M /zeros\n"
    )
    big = folder / "big"
    other = [program, "--root", str(folder / "other")]
    base = ("--build-context", f"busybox=oci-layout://{state}:busybox")
    output = ("-o", f"type=oci,tar=false,dest={big}")
    subprocess.run([*other, "build", *base, *output, folder], check=True, capture_output=True)
    subprocess.run([*other, "prune", "--all", "--force"], check=True, capture_output=True)
    return Harness(program, folder, ["--build-context", f"big=oci-layout://{big}"], limit_s)


def moments(seed: int, times: int, kinds: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Which build to end, and when: early and late ones alike."""
    chance = random.Random(seed)
    for turn in range(times):
        yield kinds[turn % len(kinds)], 0.05 + LONGEST_S * chance.random() ** 2


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except FileNotFoundError:
        return "gone meanwhile"


def _wait(running: subprocess.Popen[str], seconds: float) -> int | None:
    # Not Popen.wait, which would block where the pipe is full; what is said is little.
    deadline = time.monotonic() + seconds
    while running.poll() is None and (left := deadline - time.monotonic()) > 0:
        time.sleep(min(0.005, left))
    return running.poll()
