"""What a command is: a parser for its words, and a function that does it.

Every command module has a table `COMMANDS` of its names (`build`, `image ls`) and commands; the
`catalogue` says which module has which, so that only the one in use is imported.
"""

import argparse
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from typing import Any

from minibuild.buildflags.attributes import platform
from minibuild.cli.parser import Parser
from minibuild.errors import HostError
from minibuild.graph.platform import Platform
from minibuild.graph.reference import Reference
from minibuild.progress.console import Console, TextPart
from minibuild.progress.select import Mode, choose, is_screen
from minibuild.progress.trace import Renderer
from minibuild.session.environment import Environment
from minibuild.startup.tuples import NamedTuple

NO = 1
"""The exit code of a command that asks something, if the answer is no: as that of diff(1)."""


class Session(NamedTuple):
    """What a command gets beside its options: who calls, where state is, where to write. A signal
    sets `cancelled`."""

    environment: Environment
    stdout: Console
    stderr: Console
    cancelled: threading.Event
    given_root: str = ""
    debug: bool = False

    @property
    def root(self) -> str:
        """The folder of the store."""
        return self.given_root or self.environment.root

    def platform(self, text: str) -> Platform:
        """The one platform that a flag names, or that is meant without it."""
        return platform(text, self.environment)

    def say_image(self, verb: str, name: Reference, digest: str, *, quiet: bool) -> None:
        """Write what became of an image, or its digest alone."""
        self.say(digest if quiet else f"{verb} {name.familiar}  {digest}")

    def coloured(self, console: Console) -> bool:
        """Whether to write colours to `console`."""
        return self.environment.colours and is_screen(console, self.environment.term)

    def say(self, *parts: TextPart) -> None:
        """Write a line of the command's result. Raises `HostError` if that cannot be done."""
        with writing():
            self.stdout.write(*parts, "\n")

    def say_lines(self, lines: Iterable[str]) -> None:
        """Write several lines of the result."""
        for line in lines:
            self.say(line)

    def say_json(self, data: Any) -> None:
        """Write plain data as the result, for programs."""
        from json import dumps

        self.say(dumps(data, indent=2))

    def say_result(self, options: argparse.Namespace, data: Any, lines: Iterable[str]) -> None:
        """Write the result as `--format` says: as plain data, or as lines for people."""
        if options.format == "json":
            self.say_json(data)
        else:
            self.say_lines(lines)

    def renderer(self, mode: Mode) -> Renderer:
        """What shows the progress of work on standard error; to be closed."""
        colours = self.coloured(self.stderr)
        return choose(mode, self.stderr, self.environment.term, colours=colours)

    def progress(self, options: argparse.Namespace) -> AbstractContextManager[Renderer]:
        """What shows the progress of work until the block ends, as the flags of `Parser.progress`
        say."""
        return closing(self.renderer("quiet" if options.quiet else options.progress))

    def flush(self) -> None:
        """Write what is held back of the result."""
        with writing():
            self.stdout.flush()

    def tell(self, *parts: TextPart) -> None:
        """Write a line for people, which is not part of the result: if standard error is a full
        disk, or has no reader, the work goes on as well."""
        with suppress(OSError):
            self.stderr.write(*parts, "\n")


@contextmanager
def writing() -> Iterator[None]:
    """Turn the error of a full disk into one that says so."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader has enough, which is no error
    except OSError as error:
        raise HostError(
            f"cannot write to standard output: {error.strerror}",
            hint="free some space, or send it elsewhere",
        ) from error


class Command(NamedTuple):
    """A command. `flags` says what it takes, and `run` does it: it returns the exit code, None for
    0, or raises a `BuildError`."""

    flags: Callable[[Parser], None]
    run: Callable[[argparse.Namespace, Session], int | None]
