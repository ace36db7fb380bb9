"""`minibuild build --step`: a build that stops before each step.

Comes in: commands, from a person or from a pipe: then they are a script. Goes out: for each step
its key, and why it runs or where it was found; after it what it changed, as a tree; or all that as
JSON, an object a line. The snapshots of earlier steps do not change, so to go back is to look at
another one. Read next: `step_text`, `minibuild.solver.stepper`.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import suppress

from minibuild.cache.results import VertexResult
from minibuild.cli import step_text
from minibuild.cli.command import Session
from minibuild.cli.run_step import running_view
from minibuild.cli.view import output, raw_terminal, step_in
from minibuild.digest import Digest
from minibuild.errors import BuildError, DefinitionError, SourceText, UsageError
from minibuild.graph.literals import parse_uint
from minibuild.graph.op import Exec, File
from minibuild.graph.vertex import Vertex, topological
from minibuild.record.changes import ChangedPath, changes
from minibuild.record.records import RecordedStep
from minibuild.record.running_build import RunningBuild
from minibuild.record.secrecy import Mask, secret_values
from minibuild.session.request import BuildRequest
from minibuild.solver.inputs import ReadParts, read_fast_parts
from minibuild.solver.key_parts import explain
from minibuild.solver.keys import VERSION, ReadyVertex, step_key
from minibuild.solver.lookup import Answer, PrecomputedKey
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.context import BuildContext

HELP = """\
n              do this step, and stop before the next
c [WHERE]      go on to a line, a stage, or the first step that writes /a/path; or to the end
s [COMMAND]    a shell in the tree, or one command
d              what the step changed
k              its key, and what the key is made of
b              look at the step before; the build stays where it is
q              end the build"""


class DoneStep(NamedTuple):
    """A step that is over: what it stood on, what came of it, and what it changed."""

    ready: ReadyVertex
    answer: Answer
    found: VertexResult
    changed: Sequence[ChangedPath]


class Stepping:
    """The stepper of one build; see `solver.stepper`."""

    def __init__(self, request: BuildRequest, session: Session, *, as_json: bool = False) -> None:
        self._request = request
        self._session = session
        self._tell = session.tell
        self._json = as_json
        self._lines = sys.stdin
        self._typed = sys.stdin.isatty()
        self._until: str | None = None
        self._wrote = False
        self._stops = True
        self._results: dict[Digest, VertexResult] = {}
        self._done: list[DoneStep] = []
        self._next: tuple[ReadyVertex, Answer] | None = None

    def begin(
        self, build: BuildContext, source: SourceText, targets: Sequence[Vertex | None]
    ) -> None:
        """See `Stepper`."""
        build.executor()  # A shell may be wanted when this process has threads.
        self._build = build
        self._running = RunningBuild(build.worker, self._request, source, topological(targets))
        self._left = [step for step in self._running.steps if step.is_step]

    def before(self, ready: ReadyVertex, answer: Answer) -> None:
        """See `Stepper`."""
        vertex, step = ready.vertex, self._running.step(ready.vertex)
        if not step.is_step:
            return
        answer = self._with_key(ready, answer)
        self._next = ready, answer
        if self._until is not None and _is_at(step, self._until):
            self._stops, self._until = True, None
        told = earlier = None
        if answer.result is None or not answer.whole:
            told = self._running.why(ready, answer, self._results)
        else:
            earlier = self._running.found(vertex, answer.result, self._results)
        self._say(step_text.NextStep(step, answer, told, earlier))
        if self._stops:
            self._ask(1 if self._wrote else 0)
            self._wrote = False

    def after(self, vertex: Vertex, found: VertexResult) -> None:
        """See `Stepper`."""
        self._results[vertex.digest] = found
        if self._next is None or self._next[0].vertex.digest != vertex.digest:
            return
        ready, answer = self._next
        self._next = None
        self._left = [one for one in self._left if one.digest != vertex.digest]
        made = found.result[-1:] if found.result != ready.base else ()
        changed: list[ChangedPath] = []
        with suppress(BuildError):  # What other machines have may be gone.
            changed = [one for key in made for one in changes(self._build.worker, key)]
        self._done.append(DoneStep(ready, answer, found, changed))
        self._say(step_text.Ended(self._running.step(vertex), found, changed))
        if self._until is not None and self._until.startswith("/"):
            path = self._until.strip("/")
            if any(one.path == path for one in changed):
                self._stops, self._until, self._wrote = True, None, True
        if not self._left and self._stops:
            self._ask(1)

    def _with_key(self, ready: ReadyVertex, answer: Answer) -> Answer:
        """The answer with the fast key of a step that runs in any case, of which none was made."""
        op = ready.vertex.op
        if answer.result or answer.precomputed or not isinstance(op, Exec | File):
            return answer
        try:
            parts = read_fast_parts(self._build, ready, op).parts
        except BuildError:
            return answer  # The step will say so.
        salt = f"+{self._request.lab}" if self._request.lab else ""
        key = step_key(op, ready.base_key, parts, f"{VERSION}{salt}")
        return answer._replace(precomputed=PrecomputedKey(key, ReadParts(parts, 0)))

    # --- Commands ---

    def _ask(self, at: int) -> None:
        """Take commands until one goes on. `at` is the step that is looked at: the next one (0), or
        one that is done, counted from the end."""
        if at and self._next is not None:
            self._tell(step_text.title(self._running.step(self._done[-at].ready.vertex)))
        while True:
            words = self._command()
            if words is None or words[0] == "q":
                raise KeyboardInterrupt
            name, rest = words
            if name == "n":
                return
            if name == "c":
                if self._goes_on(rest):
                    return
            elif name == "b":
                if at < len(self._done):
                    at += 1
                    self._tell(step_text.title(self._running.step(self._done[-at].ready.vertex)))
                else:
                    self._tell("there is no step before")
            elif name in ("s", "d", "k"):
                self._look(name, rest, at)
            else:
                self._tell(HELP)

    def _command(self) -> tuple[str, str] | None:
        """The next command and its words; None at the end of the input."""
        while True:
            try:
                self._session.stderr.write("(step) ")
                self._session.stderr.flush()
                line = self._lines.readline()
            except KeyboardInterrupt:
                self._tell("")  # What follows is no part of the prompt.
                raise
            if not line:
                self._tell("")
                return None
            if not self._typed:
                self._tell(line.strip())
            name, _, rest = line.strip().partition(" ")
            if name:
                return name, rest.strip()

    def _goes_on(self, where: str) -> bool:
        """Whether to go on, to `where`."""
        there = where.startswith("/") or not where
        later = self._left[1:] if self._next is not None else self._left
        if not there and not any(_is_at(step, where) for step in later):
            self._tell(f"no step that is left is in line {where}" if where.isdecimal() else
                       f"no step that is left is in a stage {where}")  # fmt: skip
            return False
        self._stops, self._until = False, where or None
        return True

    def _look(self, name: str, words: str, at: int) -> None:
        """Show the step that is looked at: in its tree, its changes, its key."""
        done = self._done[-at] if at else None
        ready, answer = (done.ready, done.answer) if done else (self._next or (None, None))
        if ready is None or answer is None:
            return
        if name == "s":
            self._shell(ready, done.found if done else None, words)
        elif name == "d":
            last = done or (self._done[-1] if self._done else None)
            if last is None:
                self._tell("no step is done yet")
            else:
                self._say(step_text.ChangedTree(last.changed))
        else:
            self._say(self._key(ready, answer, done.found if done else answer.result))

    def _shell(self, ready: ReadyVertex, found: VertexResult | None, words: str) -> None:
        if not words and not (self._typed and sys.stdout.isatty()):
            self._tell("a shell takes a terminal; a command does not: s ls -l /")
            return
        build, terminal = self._build, not words
        results = {**self._results, ready.vertex.digest: found or VertexResult(ready.base, None)}
        there = running_view(build, self._running, ready.vertex, results, self._tell)
        args = ("sh", "-c", words) if words else ("sh",)
        try:
            with there as view, raw_terminal(terminal):
                step = step_in(build.worker, view, args, "xterm", terminal=terminal)
                stdin = 0 if terminal else None
                code = build.executor().start(step, output, stdin).wait(build.cancelled).code
        except DefinitionError as error:
            self._tell(error.message)
        else:
            if code:
                self._tell(f"exit code {code}")

    def _key(self, ready: ReadyVertex, answer: Answer, found: VertexResult | None) -> step_text.Key:
        op, early = ready.vertex.op, answer.precomputed
        if found is not None and found.key is not None:
            key, parts = found.key, self._build.worker.cache.parts(found.key)
        elif early is not None and isinstance(op, Exec | File):
            key, parts = early.key, explain(op, ready.base_key, early.read.parts)
        else:
            return step_text.Key(None, None)
        mask = Mask(secret_values(parts["op"].get("env", ()) if parts else ()))
        return step_text.Key(key, mask.data(parts))

    # --- Words ---

    def _say(self, said: step_text.Said) -> None:
        if self._json:
            self._session.say(json.dumps(said.data()))
        else:
            self._session.say_lines(said.lines())
        self._session.flush()


def _is_at(step: RecordedStep, where: str) -> bool:
    """Whether a step is in this line, or of this stage."""
    return step.has_line(parse_uint(where)) if where.isdecimal() else step.stage == where


def check(request: BuildRequest) -> None:
    """Raise `UsageError` if standard input or output is needed for something else."""
    if "-" in (request.context, request.file):
        raise UsageError(
            "--step takes commands from standard input, and so would the build its files",
            hint="write them to a file or a folder",
        )
    if any(output.dest == "-" for output in request.outputs):
        raise UsageError(
            "--step writes to standard output, and so would the archive",
            hint="name a file with dest=FILE",
        )
