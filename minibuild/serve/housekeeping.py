"""What the store holds, and making it smaller, for `docker buildx du` and `prune`.

Comes in: a client's wish. Goes out: records of usage. The commands `du` and `prune` do the work, in
processes of their own: without root they need a user namespace, which a server with threads
cannot enter. Read next: `minibuild.worker.prune`.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

from minibuild.buildkit.rpc import Failure, Types
from minibuild.session.environment import Environment

_KINDS = {"record": "regular", "blob": "regular", "cache mount": "exec.cachemount"}
_NANOSECONDS = 1_000_000_000


class Housekeeping:
    """The store in `root`, for the account that serves it."""

    def __init__(self, types: Types, root: str, environment: Environment) -> None:
        self._types = types
        self._root = root
        self._environment = environment

    def usage(self) -> list[Any]:
        """A message `UsageRecord` for each thing in the store. Raises `Failure`."""
        return [self._record(item) for item in json.loads(self._run("du", "--format", "json"))]

    def prune(self, request: Any) -> Iterator[Any]:
        """Remove what a message `PruneRequest` allows. Gives what is gone. Raises `Failure`."""
        before = {record.ID: record for record in self.usage()}
        words = ["prune", "--force"]
        words += ["--all"] if request.all else []
        if request.keepDuration:
            words += ["--keep-duration", f"{request.keepDuration // _NANOSECONDS}s"]
        for flag, size in (
            ("--max-used-space", request.maxUsedSpace),
            ("--min-free-space", request.minFreeSpace),
            ("--reserved-space", request.reservedSpace),
        ):
            words += [flag, str(size)] if size else []
        self._run(*words)
        after = {record.ID for record in self.usage()}
        yield from (record for name, record in before.items() if name not in after)

    def _run(self, *words: str) -> str:
        import subprocess

        done = subprocess.run(
            [sys.executable, "-P", "-m", "minibuild", "--root", self._root, *words],
            env=dict(self._environment.variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise Failure(done.stderr.strip() or f"minibuild {words[0]} failed")
        return done.stdout

    def _record(self, item: dict[str, Any]) -> Any:
        record = self._types["UsageRecord"](
            ID=item["id"],
            Size=item["size_bytes"],
            Description=item["description"],
            RecordType=_KINDS.get(item["kind"], "internal"),
        )
        record.CreatedAt.seconds = int(item["created"])
        record.LastUsedAt.seconds = int(item["used"])
        return record
