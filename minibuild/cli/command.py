"""What a command is: a parser for its words, and a function that does it.

Every command module has a table `COMMANDS` of its names (`build`, `image ls`) and commands; the
`catalogue` says which module has which, so that only the one in use is imported.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from minibuild.cli.parser import Parser
from minibuild.errors import HostError
from minibuild.progress.console import Console, Part
from minibuild.session.environment import Environment
from minibuild.startup.tuples import NamedTuple


class Session(NamedTuple):
    """What a command gets beside its options: who calls, where state is, where to write."""

    environment: Environment
    stdout: Console
    stderr: Console
    given_root: str = ""
    debug: bool = False

    @property
    def root(self) -> str:
        """The folder of the store."""
        return self.given_root or self.environment.root

    def coloured(self, console: Console) -> bool:
        """Whether to write colours to `console`."""
        from minibuild.progress.select import is_screen

        return self.environment.colours and is_screen(console, self.environment.term)

    def say(self, *parts: Part) -> None:
        """Write a line of the command's result. Raises `HostError` if that cannot be done."""
        with writing():
            self.stdout.write(*parts, "\n")

    def flush(self) -> None:
        """Write what is held back of the result."""
        with writing():
            self.stdout.flush()

    def tell(self, *parts: Part) -> None:
        """Write a line for people, which is not part of the result."""
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
    """A command. `run` returns the exit code, or raises a `BuildError`."""

    parser: Callable[[], Parser]
    run: Callable[[argparse.Namespace, Session], int]
