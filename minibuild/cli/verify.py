"""`minibuild verify`: the same build twice, under other conditions, and whether it comes out alike.

Comes in: the flags of a build. Goes out: the digest that both have; or the first step and the first
file that differ, and exit code 1. Each build is a process of its own, which runs every step again.
The second has its context in another folder, its files made later and in another order, another
umask, time zone and number of steps at once, and another second on the clock.
Read next: `verdict`.
"""

import argparse
import os
import random
import signal
import time
from contextlib import ExitStack

from minibuild.cli import errors
from minibuild.cli.build import run as run_build
from minibuild.cli.build_flags import add_build_flags
from minibuild.cli.catalogue import parser_of
from minibuild.cli.command import NO, Command, Session
from minibuild.cli.parser import Parser
from minibuild.cli.verdict import compare, tell
from minibuild.errors import BuildError, UsageError
from minibuild.linux import syscalls
from minibuild.linux.signals import stopping
from minibuild.progress.console import Console
from minibuild.session.scratch import scratch_folder

DEFAULT_EPOCH = "315532800"
"""1980-01-01, the first day that zip archives can have, if no other is given. Every file of a
context is younger, so no time of it gets into the image."""

_TAKEN = (
    *("output", "push", "load", "iidfile", "metadata_file", "jobs", "cache_mount_to"),
    *("cache_to", "cache_from", "call", "check"),
)
_MARGIN_S = 0.02
"""How much later than a second begins the second build does."""


def _flags(made: Parser) -> None:
    made.usage = "minibuild verify [flags] [PATH]"
    made.description = "Build twice under other conditions, and compare."
    made.epilog = (
        "It takes the flags of `minibuild build` that say what is built and how.\n"
        "The exit code is 0 if the two images are the same, and 1 if they differ."
    )
    add_build_flags(made)
    for action in made._actions:  # They are not listed again.
        if action.dest != "help" and action.option_strings:
            action.help = argparse.SUPPRESS
    made.value("--keep DIR", "keep both images, as OCI layouts")


def _refuse_outputs(options: argparse.Namespace) -> None:
    for name in _TAKEN:
        if getattr(options, name) not in ([], "", 0, False, "false"):
            raise UsageError(
                f"--{name.replace('_', '-')} is of no use here: what is built is compared, "
                "and not kept",
                hint="see --keep for the two images",
            )


def run(options: argparse.Namespace, session: Session) -> int:
    """Build twice, and tell."""
    _refuse_outputs(options)
    if "-" in (options.path, options.file):
        raise UsageError("what is on standard input can be built only once")
    epoch = session.environment.source_date_epoch or DEFAULT_EPOCH
    given = [text for text in options.build_arg if text.startswith("SOURCE_DATE_EPOCH=")]
    epoch = given[-1].partition("=")[2] if given else epoch
    variables = {**session.environment.variables, "SOURCE_DATE_EPOCH": epoch}
    session = session._replace(environment=session.environment._replace(variables=variables))
    with ExitStack() as stack:
        work = stack.enter_context(scratch_folder("minibuild-verify-"))
        places = [os.path.join(options.keep or work, name) for name in ("first", "second")]
        for place in places:
            if os.path.exists(place):
                raise UsageError(
                    f"{place} is there already", hint="name another folder with --keep"
                )
        if code := _child(options, session, places[0], {}):
            return code
        time.sleep(_MARGIN_S + 1 - time.time() % 1)  # No second is one of both builds.
        other = {"path": _elsewhere(options.path, work), "jobs": 1}
        if code := _child(options, session, places[1], other):
            return code
        verdict = compare(*places)
        session.say_lines(tell(verdict, epoch))
    return NO if verdict.differs else 0


def _child(
    options: argparse.Namespace, session: Session, dest: str, other: dict[str, object]
) -> int:
    """One build, in a process of its own: without root it enters a user namespace for good."""
    for stream in (session.stdout, session.stderr):
        stream.flush()
    pid = os.fork()
    if pid:
        return _wait_for(pid)
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    code = 1
    try:
        code = _build(options, session, dest, other)
    finally:
        for stream in (session.stdout, session.stderr):
            stream.flush()
        os._exit(code)


def _wait_for(pid: int) -> int:
    """The exit code of a child. Ctrl-C is for it, too; a terminal sends it to both."""
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except KeyboardInterrupt:
        os.kill(pid, signal.SIGINT)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _build(
    options: argparse.Namespace, session: Session, dest: str, other: dict[str, object]
) -> int:
    missing = parser_of("build").options([])  # Flags that this command has not.
    changed = {
        **vars(missing),
        **vars(options),
        "output": [f"type=oci,tar=false,rewrite-timestamp=true,dest={dest}"],
        "no_cache": True,
        "no_record": True,
        **other,
    }
    os.umask(0o077 if other else 0o022)
    os.putenv("TZ", "Pacific/Kiritimati" if other else "UTC")
    time.tzset()
    # The id and the summary of one of two builds are not shown.
    nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - the process ends
    environment = session.environment
    if other:  # the first build has mentioned these
        unused = environment.unused(loads=False)
        kept = {k: v for k, v in environment.variables.items() if k not in unused}
        environment = environment._replace(variables=kept)
    quiet = session._replace(environment=environment, stdout=Console(nowhere))
    try:
        with stopping(session.cancelled):
            return run_build(argparse.Namespace(**changed), quiet)
    except BuildError as error:
        return errors.show(error, session)


def _elsewhere(path: str, work: str) -> str:
    """A copy of the context: other names above it, other inodes, in another order, and later."""
    import shutil

    if not os.path.isdir(path):
        return path  # a URL: it is read again

    def copy(source: str, dest: str) -> None:
        os.mkdir(dest)
        names = os.listdir(source)
        random.Random(len(names)).shuffle(names)
        for name in names:
            one, two = os.path.join(source, name), os.path.join(dest, name)
            if os.path.isdir(one) and not os.path.islink(one):
                copy(one, two)
            elif os.path.isfile(one) or os.path.islink(one):
                shutil.copy(one, two, follow_symlinks=False)
        shutil.copymode(source, dest)

    dest = os.path.join(work, "elsewhere")
    copy(path, dest)
    return dest


COMMANDS = {"verify": Command(_flags, run)}
