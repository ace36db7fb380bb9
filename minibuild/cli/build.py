"""`minibuild build`: options in, an image out, progress on the way.

Comes in: options. Goes out: the exit code; progress and summary on standard error, the image id
on standard output with --quiet, a tar there with `-o -`. Read next: `minibuild.builder`.
"""

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, cast

from minibuild.cli.build_flags import flags
from minibuild.cli.build_request import is_stream
from minibuild.cli.build_request import request as request_of
from minibuild.cli.command import Command, Session
from minibuild.errors import BuildError, HostError, StepFailed, UsageError
from minibuild.graph.spelling import one_of
from minibuild.linux.signals import stopping
from minibuild.progress.select import MODES, Mode
from minibuild.progress.trace import Renderer
from minibuild.session.request import BuildRequest, BuildResult, Isolation

if TYPE_CHECKING:
    from minibuild.cli.calls import CallOption


def run(options: argparse.Namespace, session: Session) -> int:
    """Do the build that the options ask for."""
    request = request_of(options, session.environment)
    mode = _mode(options, session)
    asked = (options.call, options.check, options.plan, options.changed, options.links)
    if any(asked) or options.format:
        from minibuild.cli.calls import call_of, check_format

        check_format(options)
        call = call_of(options)
        if call is not None:
            _check_without(options, "a question builds nothing", report_file="report")
            return _defined(request, lambda full: _ask(full, options, call, session, mode))
    if options.builder:
        why = "a builder elsewhere keeps its steps"
        _check_without(options, why, report_file="report", step="step", on_error="on-error")
    if options.step:
        from minibuild.cli.step import check

        check(request)
        request = request._replace(keep_failed=True)
        mode = "plain" if mode in ("auto", "tty") else mode
    for path in filter(None, (options.iidfile, options.metadata_file, options.report_file)):
        from minibuild.exporter.destination import check_file

        check_file(path)
    _mention_variables(session, mode, loads=options.load != "false")

    built = partial(_build, options=options, session=session, mode=mode)
    if options.load == "false":
        return _defined(request, built)
    from minibuild.cli.loader import start, with_load

    loader = start(options.load, session.environment.variables)
    if loader is None:
        return _defined(request, built)
    with loader:
        code = _defined(with_load(request, loader), built)
        said = "" if code else loader.finish()
    if said and mode not in ("quiet", "rawjson"):
        session.tell(said)
    return code


def _check_without(options: argparse.Namespace, why: str, **flags: str) -> None:
    """Raise `UsageError` if one of these flags is given, which are of no use here."""
    for name, flag in flags.items():
        if getattr(options, name) not in ("", False, "exit"):
            raise UsageError(f"--{flag} is of no use here: {why}", hint=f"leave out --{flag}")


def _mention_variables(session: Session, mode: Mode, *, loads: bool) -> None:
    """Say once which variables people have set for another builder."""
    names = session.environment.unused(loads=loads)
    if names and mode not in ("quiet", "rawjson"):
        verb = "are" if len(names) > 1 else "is"
        session.tell(f"note: {', '.join(names)} {verb} set and not used: there is no daemon here")


def _defined(request: BuildRequest, go_on: Callable[[BuildRequest], int]) -> int:
    """What is asked for, with what standard input defines."""
    if "-" in (request.context, request.file) or is_stream(request.file):
        from minibuild.cli.stdin import with_definition

        with with_definition(request, sys.stdin.buffer) as complete:
            return go_on(complete)
    return go_on(request)


def _ask(
    request: BuildRequest,
    options: argparse.Namespace,
    call: "CallOption",
    session: Session,
    mode: Mode,
) -> int:
    """Print what the definition offers, what checks find in it, or what would run."""
    from minibuild.cli.calls import answer, write_answer

    try:
        with _shown(request, session, mode) as renderer:
            root = _known_root(session)
            found = answer(request, call, options, root, renderer, session.cancelled)
    except BuildError as error:
        from minibuild.cli.errors import show

        return show(error, session, places=_places(request))
    name = os.path.basename(request.file) or "Dockerfile"
    return write_answer(call, found, session, _places(request).get(name, name))


def _known_root(session: Session) -> str:
    """The folder of the store, if there may be one."""
    try:
        return session.root
    except (HostError, OSError):
        return os.devnull


def _build(request: BuildRequest, options: argparse.Namespace, session: Session, mode: Mode) -> int:
    for path in filter(os.path.isfile, (options.iidfile, options.report_file)):
        # A build that fails must not leave the id of an older one, nor its page.
        if not os.path.islink(path):
            with suppress(OSError):
                os.unlink(path)
    began = time.monotonic()
    try:
        with _shown(request, session, mode) as renderer:
            result = _in_engine(request, options, session, renderer, mode)
    except BuildError as error:
        from minibuild.cli.errors import show

        if isinstance(error, StepFailed) and not (
            error.hint or request.keep_failed or options.builder
        ):
            error.hint = "--on-error=shell opens a shell in what the step left"
        code = show(error, session, failed=renderer.trace.failed, places=_places(request))
        if isinstance(error, StepFailed) and request.keep_failed:
            _look_around(session, shell=options.on_error == "shell")
        return code
    _write_files(options, result)
    if mode == "quiet":
        # Behind an archive on standard output an id would be read as a part of it.
        archive = any(output.dest == "-" for output in request.outputs)
        (session.tell if archive else session.say)(image_id(result))
    elif mode != "rawjson":
        from minibuild.cli.summary import summary

        for line in ("", *summary(request, result, time.monotonic() - began)):
            session.tell(line)
    return 0


def _in_engine(
    request: BuildRequest,
    options: argparse.Namespace,
    session: Session,
    report: Renderer,
    mode: Mode,
) -> BuildResult:
    """The build, by a BuildKit elsewhere, or in this process; without root, inside a user namespace
    that it enters for good."""
    cancelled = session.cancelled
    if options.builder:
        from minibuild.client.remote import build_remotely

        root = _known_root(session)
        return build_remotely(
            request, options.builder, root=root, report=report, cancelled=cancelled
        )
    root = session.root
    _enter(session, request.isolation, quietly=mode in ("quiet", "rawjson"))
    from minibuild.builder import run_build

    stepper = None
    if options.step:
        from minibuild.cli.step import Stepping

        stepper = Stepping(request, session, as_json=options.format == "json")
    return run_build(request, root=root, report=report, cancelled=cancelled, stepper=stepper)


def _enter(session: Session, isolation: Isolation, *, quietly: bool) -> None:
    if isolation == "own-root":
        from minibuild.cli.own_root import ask

        return ask(session)
    from minibuild.rootless.enter import enter, enter_if_possible

    enters = enter if isolation == "namespaces" else enter_if_possible
    limits = enters("minibuild.builder")
    if limits and not quietly:
        session.tell(f"note: {limits} (see `minibuild doctor`)")


def _mode(options: argparse.Namespace, session: Session) -> Mode:
    asked: str | None = options.progress
    if options.quiet:
        if asked not in (None, "auto", "quiet"):
            raise UsageError(f"--quiet and --progress={asked} contradict each other")
        return "quiet"
    word = asked or session.environment.progress or "auto"
    if word not in MODES:
        raise UsageError(f"BUILDKIT_PROGRESS is {word!r}", hint=one_of(word, MODES))
    return cast(Mode, word)


def _look_around(session: Session, *, shell: bool) -> None:
    """Say what is kept, and open a shell if one is wanted and there is a terminal for it."""
    if not (shell and sys.stdin.isatty() and sys.stdout.isatty()):
        session.tell("what the step left is kept:  minibuild run --failed sh")
        if shell:
            session.tell("no shell was opened: standard input and output are no terminal")
        return
    session.tell("a shell in what the step left; the build goes on nowhere, `exit` ends it")
    from minibuild.cli.catalogue import load, parser_of

    options = parser_of("run").options(["--failed", "sh"])
    # That of the build is set: so its other steps were stopped.
    cancelled = threading.Event()
    with stopping(cancelled):
        load("run").run(options, session._replace(cancelled=cancelled))


# --- what is left behind ------------------------------------------------------------------------


def image_id(result: BuildResult) -> str:
    """What Docker calls the id of an image: the digest of its config; of several, their index's."""
    if len(result.images) == 1:
        return result.images[0].config_digest
    return result.digest or ""


def _write_files(options: argparse.Namespace, result: BuildResult) -> None:
    if options.iidfile:
        _write(options.iidfile, image_id(result))
    if options.metadata_file:
        import json

        _write(options.metadata_file, json.dumps(result.metadata, indent=2) + "\n")


def _write(path: str, text: str) -> None:
    """Write a file so that a reader sees all of it or nothing."""
    from minibuild.exporter.destination import open_file

    with open_file(path) as file:
        file.write(text.encode())


def _places(request: BuildRequest) -> dict[str, str]:
    """The Dockerfile's name in errors, and the path under which an editor finds it."""
    path = request.file or os.path.join(request.context, "Dockerfile")
    given = request.dockerfile is not None or request.file.startswith(("http://", "https://"))
    if given or not os.path.isdir(request.context):
        return {}
    return {os.path.basename(path): os.path.relpath(path)}


@contextmanager
def _shown(request: BuildRequest, session: Session, mode: Mode) -> Iterator[Renderer]:
    """What shows the progress of the block; and behind it the warnings, however it ends."""
    renderer = session.renderer(mode)
    try:
        yield renderer
    finally:
        renderer.close()
        if mode not in ("quiet", "rawjson") and renderer.trace.warnings:
            from minibuild.cli.errors import warning_lines

            found, places = renderer.trace.warnings, _places(request)
            for line in warning_lines(found, details=session.debug, places=places):
                session.tell(line)


COMMANDS = {"build": Command(flags, run)}
