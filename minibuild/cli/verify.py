"""`minibuild verify`: the same build twice, under other conditions, and whether it comes out alike.

Comes in: the flags of a build. Goes out: the digest that both have; or the first step and the first
file that differ, and exit code 1. Each build is a process of its own, which runs every step again.
The second has its context in another folder, its files made later and in another order, another
umask, time zone and number of steps at once, and another second on the clock. Archives differ for
reasons of their own: what is known of such files is said with them.
Read next: `minibuild.imagetools.compare`.
"""

import argparse
import fnmatch
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack

from minibuild.cli import errors
from minibuild.cli.build import run as run_build
from minibuild.cli.build_flags import add_build_flags
from minibuild.cli.catalogue import parser_of
from minibuild.cli.command import NO, Command, Session
from minibuild.cli.parser import Parser
from minibuild.cli.summary import instruction
from minibuild.digest import Digest
from minibuild.errors import BuildError, UsageError
from minibuild.image.archive import open_layout
from minibuild.image.layout import Layout
from minibuild.imagetools.compare import EntryDifference, ValueChange, document_changes, first_in
from minibuild.imagetools.edit import Image, read_image
from minibuild.linux import syscalls
from minibuild.linux.signals import stopping
from minibuild.oci.transfer import manifests_of
from minibuild.progress.console import Console
from minibuild.session.scratch import scratch_folder
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

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


# --- What differs ---


class Verdict(NamedTuple):
    """`digest` of both, or what differs first: a layer, by its `step`; else the config."""

    digest: Digest
    differs: bool = False
    layers: tuple[int, int] = (0, 0)
    """How many differ, of how many."""
    step: str = ""
    file: EntryDifference | None = None
    value: ValueChange | None = None
    platform: str = ""


# What often differs, and what to do about it: patterns of paths, and advice.
_KNOWN = (
    ("var/cache/ldconfig/aux-cache", "remove it in the same RUN: it holds inode numbers"),
    ("var/log/*", "remove logs in the same RUN"),
    ("var/cache/debconf/*", "remove debconf's caches in the same RUN"),
    ("*.pyc", "PYTHONDONTWRITEBYTECODE=1, or compile with --invalidation-mode unchecked-hash"),
    ("etc/machine-id", "empty it in the same RUN"),
    ("etc/shadow*", "the day of the last change: set it with chage -d 0"),
    ("*.gz", "gzip -n writes neither name nor time"),
    ("*.jar", "an archive with times: have it made with SOURCE_DATE_EPOCH"),
    ("*.zip", "an archive with times: have it made with SOURCE_DATE_EPOCH"),
    ("*.a", "an archive with times: ar with the flag D"),
)
_TIME = regex(r"\d\d:\d\d|(?<!\d)1[6-9]\d{8}(?!\d)|20\d\d-\d\d|(Jan|Feb|Mar|Apr|May|Jun|Jul"
                   r"|Aug|Sep|Oct|Nov|Dec) +\d")  # fmt: skip


def compare(first: str, second: str) -> Verdict:
    """Compare the images of two layouts."""
    one, two = open_layout(first), open_layout(second)
    top = two.index.manifests[0]
    if one.index.manifests[0].digest == top.digest:
        return Verdict(top.digest)
    pairs = list(zip(_images(one), _images(two), strict=True))
    for old, new in pairs:
        found = _parted(old, new)
        if found is not None:
            several = str(new.platform) if len(pairs) > 1 else ""
            return found._replace(digest=top.digest, platform=several)
    return Verdict(top.digest, differs=True)


def _images(layout: Layout) -> Iterator[Image]:
    for descriptor, _ in manifests_of(layout, layout.index.manifests[0]):
        yield read_image(layout, descriptor)


def _parted(old: Image, new: Image) -> Verdict | None:
    """Where two images of a platform part; None if they are the same."""
    if old.descriptor.digest == new.descriptor.digest:
        return None
    layers = list(zip(old.layers, new.layers, strict=False))
    differing = [n for n, (a, b) in enumerate(layers) if a.diff_id != b.diff_id]
    verdict = Verdict(Digest(""), differs=True, layers=(len(differing), len(new.layers)))
    if differing:
        number = differing[0]
        file = first_in(old.layers[number], new.layers[number])
        return verdict._replace(step=instruction(new.instructions[number]), file=file)
    values = document_changes(old, new)
    if not values and old.history != new.history:
        values = [ValueChange("history", list(old.history), list(new.history))]
    return verdict._replace(value=values[0] if values else None)


def tell(verdict: Verdict, epoch: str) -> Iterator[str]:
    """The lines for a person; `epoch` is the SOURCE_DATE_EPOCH of both builds."""
    if not verdict.differs:
        yield f"reproducible  {verdict.digest}"
        yield f"              SOURCE_DATE_EPOCH={epoch}"
        yield "              rewrite-timestamp=true"
        return
    count, total = verdict.layers
    yield f"not reproducible: {count} of {total} layers differ"
    if verdict.platform:
        yield f"platform  {verdict.platform}"
    if verdict.step:
        yield f"step      {verdict.step}"
    if verdict.file is not None:
        yield from _file_lines(verdict.file)
    elif verdict.step:
        yield "file      none: the same files, in another order"
    if verdict.value is not None:
        name, old, new = verdict.value
        yield f"config    {name}"
        yield f"first     {old!r}"
        yield f"second    {new!r}"


def _file_lines(found: EntryDifference) -> Iterator[str]:
    kind, path, what = found.change
    only = "only in the second build" if kind == "added" else "only in the first build"
    yield f"file      /{path}  ({', '.join(what) or only})"
    if found.detail is not None:
        yield f"first     {found.detail[0]}"
        yield f"second    {found.detail[1]}"
    elif found.old is not None and found.new is not None:
        for side, entry in (("first ", found.old), ("second", found.new)):
            yield f"{side}    {_entry_text(entry.mode, entry.uid, entry.gid, entry.mtime_ns)}"
    if advice := _advice(found):
        yield f"advice    {advice}"


def _entry_text(mode: int, uid: int, gid: int, mtime_ns: int) -> str:
    return f"mode {mode:04o}, owner {uid}:{gid}, time {mtime_ns / 1e9:.9f}".rstrip("0").rstrip(".")


def _advice(found: EntryDifference) -> str:
    path, what = found.change.path, found.change.what
    for pattern, advice in _KNOWN:
        if fnmatch.fnmatch(path, pattern):
            return advice
    if what == ("time",):
        return "COPY keeps times before SOURCE_DATE_EPOCH: choose one before those of the context"
    if found.detail is not None and all(map(_TIME.search, found.detail)):
        return "it looks like a time: have the program use SOURCE_DATE_EPOCH (ARG it in the stage)"
    return ""


COMMANDS = {"verify": Command(_flags, run)}
