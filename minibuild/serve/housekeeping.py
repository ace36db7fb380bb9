"""What the store holds, and making it smaller, for `docker buildx du` and `prune`.

Comes in: a client's wish. Goes out: records of usage. The commands `du` and `prune` do the work, in
processes of their own: without root they need a user namespace, which a server with threads
cannot enter. Read next: `minibuild.worker.prune`.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from minibuild.buildkit.rpc import Failure, api_type
from minibuild.serve.answers import as_failures
from minibuild.session.environment import Environment
from minibuild.store.reserve import reserve_on_the_disk
from minibuild.worker.gc import UsageRecord
from minibuild.worker.usage_filter import parse_filter, record_type

_NANOSECONDS = 1_000_000_000
_FOR_ALL = "type!=internal,type!=frontend"
"""What BuildKit leaves unless all is to go."""


class Housekeeping:
    """The store in `root`, for the account that serves it."""

    def __init__(self, root: str, environment: Environment) -> None:
        self._root = root
        self._environment = environment

    def usage(self, filters: Sequence[str] = ()) -> list[Any]:
        """A message `UsageRecord` for each thing in the store that one of the filters means; for
        all of them if there is none. Raises `Failure`."""
        with as_failures():
            tests = [parse_filter(text) for text in filters or ("",)]
        items = json.loads(self._run("du", "--format", "json"))
        found = [UsageRecord(**item) for item in items]
        return [self._record(one) for one in found if any(test(one) for test in tests)]

    def prune(self, request: Any) -> Iterator[Any]:
        """Remove what a message `PruneRequest` allows. Gives what is gone. Raises `Failure`."""
        with reserve_on_the_disk(self._root):  # to look takes room, too
            before = {record.ID: record for record in self.usage(request.filter)}
            words = self._prune_words(request)
            for text in request.filter or ("",):
                chosen = [part for part in (text, "" if request.all else _FOR_ALL) if part]
                self._run(*words, *(f"--filter={part}" for part in chosen))
            after = {record.ID for record in self.usage()}
        yield from (record for name, record in before.items() if name not in after)

    def _prune_words(self, request: Any) -> list[str]:
        sized = request.maxUsedSpace or request.minFreeSpace
        words = ["prune", "--force", "--cache-mounts"]
        words += ["--all"] if request.all else []
        if request.keepDuration or not sized:  # Without either, age does not matter.
            words += ["--keep-duration", f"{request.keepDuration // _NANOSECONDS}s"]
        for flag, size in (
            ("--max-used-space", request.maxUsedSpace),
            ("--min-free-space", request.minFreeSpace),
            ("--reserved-space", request.reservedSpace),
        ):
            words += [flag, str(size)] if size else []
        return words

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

    def _record(self, item: UsageRecord) -> Any:
        record = api_type("UsageRecord")(
            ID=item.id,
            Size=item.size_bytes,
            Description=item.description,
            RecordType=record_type(item),
            Mutable=item.kind == "cache-mount",
        )
        record.CreatedAt.seconds = int(item.created)
        record.LastUsedAt.seconds = int(item.used)
        return record
