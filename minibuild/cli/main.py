"""The program: finds the command, runs it, and turns whatever happens into an exit code.

Comes in: argv and the environment. Goes out: the exit code of the command, or that of the error
it raised (see `minibuild.errors`), 130 after Ctrl-C, 141 when the reader of a pipe has left.
Only the module of the chosen command is imported: the start of the program is part of every
cached build. Read next: `catalogue`, `build`.
"""

import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn, TextIO, cast

from minibuild.cli.command import Session, writing
from minibuild.cli.process import (
    insist_on_room,
    insist_on_utf8,
    reap_children,
    stands_nowhere,
)
from minibuild.errors import BuildError, UsageError, explained, lack
from minibuild.linux.signals import stopping
from minibuild.progress.console import Console
from minibuild.session.environment import read_environment

Work = Callable[[Session], int | None]

_WITHOUT_A_STORE = ("completion", "doctor", "version")
INTERRUPTED, BROKEN_PIPE, INTERNAL = 130, 141, 1


def entry(argv: Sequence[str] | None = None, *, at_end: Callable[[], None] = lambda: None) -> int:
    """Run the program with the words after its name.

    Called without words, it takes those of the process, and the process ends here, after `at_end`.
    """
    if argv is not None:
        return _run(argv, _session())
    reap_children()
    insist_on_utf8()
    session = _session()
    # For what Python itself has to say, such as the end of a thread.
    sys.stderr = cast(TextIO, session.stderr)
    code = _run(sys.argv[1:], session)
    at_end()
    _leave(code)


def _leave(code: int) -> NoReturn:
    """End the process, without taking the interpreter apart: that takes longer than its start.

    What the build had open is closed by now; only what Python holds back has to be written.
    """
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        code = code or BROKEN_PIPE
    with suppress(OSError, ValueError):
        sys.stderr.flush()
    os._exit(code)


def _session() -> Session:
    return Session(read_environment(), Console(sys.stdout), Console(sys.stderr), threading.Event())


def _run(argv: Sequence[str], session: Session) -> int:
    words = list(argv)
    try:
        words, session = _global_flags(words, session)
        work, session = _command(words, session)
        with stopping(session.cancelled):
            code = work(session) or 0
        session.flush()
        return code
    except SystemExit as done:  # argparse has printed its help
        return done.code if isinstance(done.code, int) else 0
    except BuildError as error:
        return _show(error, session)
    except KeyboardInterrupt:
        session.tell("cancelled")
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more at exit; let that go nowhere, not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except Exception as error:
        refused = isinstance(error, PermissionError) and error.filename
        found = explained(error) if refused else lack(error)
        if isinstance(found, BuildError):
            return _show(found, session)
        if isinstance(error, FileNotFoundError) and stands_nowhere():
            hint = "change to one that exists"
            return _show(UsageError("the current directory was removed", hint=hint), session)
        from minibuild.cli.errors import show_internal

        show_internal(error, session)
        return INTERNAL


def _show(error: BuildError, session: Session) -> int:
    """Write the error; return its exit code."""
    try:
        from minibuild.cli.errors import show

        return show(error, session)
    except (ImportError, MemoryError, OSError, SystemError):
        # There is no room even for that module: without colours, then. An import may end with a
        # SystemError if memory runs out inside of it.
        os.write(2, os.fsencode(f"error: {error.message}\nhint: {error.hint}\n"))
        return error.exit_code


def _global_flags(words: list[str], session: Session) -> tuple[list[str], Session]:
    """Take the flags that stand before the command."""
    while words and words[0].startswith("-"):
        word, rest = words[0], words[1:]
        name, equals, value = word.partition("=")
        if name in ("-D", "--debug"):
            session = session._replace(debug=True)
        elif name == "--root":
            if not equals:
                value, rest = "".join(rest[:1]), rest[1:]
            if not value:
                raise UsageError("--root names no folder", hint="write --root DIR")
            session = session._replace(given_root=os.path.abspath(value))
        elif name in ("-h", "--help"):
            return ["help", *rest], session
        elif name in ("-v", "--version"):
            return ["version"], session
        else:
            from minibuild.cli.foreign_flags import FOREIGN

            hint = "flags of a command stand behind it: `minibuild build -t NAME .`"
            if instead := FOREIGN["build"].get(name):  # kaniko has no commands
                hint = f"write `minibuild build` first, and then {instead}"
            raise UsageError(f"unknown flag before the command: {name}", hint=hint)
        words = rest
    return words, session


def _command(words: list[str], session: Session) -> tuple[Work, Session]:
    """What the words ask for, and the session as its own flags change it."""
    if not words or words[0] == "help":
        return lambda session: _help(words[1:], session), session
    from minibuild.cli.catalogue import ALIASES, CATALOGUE, load, parser_of

    name, rest = words[0], words[1:]
    both = " ".join(words[:2])
    if both in CATALOGUE or both in ALIASES or (name not in ALIASES and name not in CATALOGUE):
        name, rest = both, words[2:]
    name = ALIASES.get(name, name)
    if name not in CATALOGUE:
        return lambda session: _unknown(words, session), session
    if name not in _WITHOUT_A_STORE:
        insist_on_room()
    command, parser = load(name), parser_of(name)
    with writing():
        try:
            options = parser.options(rest)
        finally:
            session.stdout.flush()  # its help, if that is asked for
    if options.debug:
        session = session._replace(debug=True)
    if options.root:
        session = session._replace(given_root=os.path.abspath(options.root))
    return lambda session: command.run(options, session), session


def _unknown(words: list[str], session: Session) -> int:
    from minibuild.cli.catalogue import CATALOGUE
    from minibuild.cli.foreign_flags import COMMANDS
    from minibuild.graph.spelling import nearest, one_of

    group = [name for name in CATALOGUE if name.startswith(words[0] + " ")]
    if group and (len(words) == 1 or words[1] in ("-h", "--help", "help")):
        session.say(_table(group))
        return 0 if len(words) > 1 else UsageError.exit_code
    if group:
        hint = one_of(words[1], (name.partition(" ")[2] for name in group))
        raise UsageError(f"unknown command: minibuild {words[0]} {words[1]}", hint=hint)
    said = words[0]
    # Docker has short forms of some: `docker pull`.
    near = next((name for name in CATALOGUE if name.endswith(f" {said}")), "")
    near = near or nearest(said, [*CATALOGUE, "image"], most=len(said) // 3)
    if os.path.exists(said) and not near:
        near = f"build {said}"
    hint = f"did you mean `minibuild {near}`?" if near else "see `minibuild --help`"
    raise UsageError(f"unknown command: minibuild {said}", hint=COMMANDS.get(said, hint))


def _help(words: list[str], session: Session) -> int:
    from minibuild.cli.catalogue import ALIASES, CATALOGUE, DOCKERS, parser_of

    name = ALIASES.get(" ".join(words), " ".join(words))
    if name in CATALOGUE:
        session.say(parser_of(name).format_help().rstrip())
        return 0
    if words:
        return _unknown([*words, "--help"], session)
    session.say(
        "usage: minibuild [--root DIR] [-D] COMMAND ...\n\n"
        "Builds OCI images from Dockerfiles, without a daemon and without root.\n\n"
        + _table(list(CATALOGUE))
        + f"\n\ndocker's names of `minibuild image` commands: {', '.join(DOCKERS)}\n\n"
        "flags of every command:\n"
        "  --root DIR       where all state is (MINIBUILD_ROOT)\n"
        "  -D, --debug      show the traceback of an error\n"
        "  -h, --help       help about a command: minibuild COMMAND --help"
    )
    return 0


def _table(names: list[str]) -> str:
    from minibuild.cli.catalogue import CATALOGUE

    width = max(15, *map(len, names))
    lines = (f"  {name:<{width}}  {CATALOGUE[name].summary}" for name in names)
    return "commands:\n" + "\n".join(lines)


if __name__ == "__main__":
    sys.exit(entry())
