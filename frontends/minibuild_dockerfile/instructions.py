"""A Dockerfile as typed data: what was written, before any variable is expanded.

Comes in: nothing, these are the words the two halves of the frontend share. `parse` makes them
from text and knows nothing of images; `convert` turns them into a graph and never looks at text.
Goes out: one NamedTuple for each instruction of the Dockerfile reference, and the flags of each.
Read next: `parse` for how they come about, `expand` for what becomes of `$NAME` in them.

Every string holds what stands in the file, quotes and `$` included, unless its comment says
that quotes are gone. Which instruction is expanded, and how, is part of the language:

- each word by `process_word`: ARG, ENV and LABEL (keys and values), WORKDIR, USER, STOPSIGNAL,
  VOLUME, sources and destination of COPY and ADD, their --chown, --chmod and --checksum, FROM
  and its --platform (with global ARGs only), the values of RUN --mount;
- each word by the same, which is split at spaces afterwards: EXPOSE;
- by `process_heredoc`: a heredoc of COPY or ADD whose `expand` is true;
- never: RUN, CMD, ENTRYPOINT, SHELL, HEALTHCHECK, ONBUILD, MAINTAINER, and --from, --link and
  the other flags.
"""

from typing import Literal

from minibuild.errors import SourceText, Span
from minibuild.graph.op import Network, Security
from minibuild.startup.tuples import NamedTuple

FlagKind = Literal["text", "texts", "bool"]
"""A flag with a value, one that may come several times, one that is true when it stands alone."""

_TRANSFER: dict[str, FlagKind] = {
    "chown": "text",
    "chmod": "text",
    "link": "bool",
    "exclude": "texts",
}
_TIMES = ("interval", "timeout", "start-period", "start-interval")
FLAGS: dict[str, dict[str, FlagKind]] = {
    "COPY": {"from": "text", **_TRANSFER, "parents": "bool"},
    "ADD": {**_TRANSFER, "checksum": "text", "keep-git-dir": "bool", "unpack": "bool"},
    "RUN": {"mount": "texts", "network": "text", "security": "text", "device": "texts"},
    "FROM": {"platform": "text"},
    "HEALTHCHECK": {**dict.fromkeys(_TIMES, "text"), "retries": "text"},
}
"""The flags of instructions; others have none."""


class Flag(NamedTuple):
    """One `--name=value`, quotes removed; `value` is None where no `=` was written."""

    name: str
    value: str | None
    span: Span


class Heredoc(NamedTuple):
    """An inline file. `content` is the text as written, every line with its line ending.

    `expand` is false if any part of the word was quoted; `chomp` is the dash of `<<-`. `span`
    covers the lines of the text and its terminator.
    """

    name: str
    content: str
    expand: bool
    chomp: bool
    span: Span

    @property
    def text(self) -> str:
        """The content with leading tabs removed from every line if `<<-` asked for it."""
        if not self.chomp:
            return self.content
        return "\n".join(line.lstrip("\t") for line in self.content.split("\n"))


class Head(NamedTuple):
    """What all instructions have.

    `keyword` is the instruction's name as written (`From`). `original` is the logical line:
    continuations joined, comments and blank lines inside it gone, heredocs not included.
    `comments` are the lines above, without `#` and outer spaces, with no empty comment between.
    `span` runs from the first line to the last, heredocs included.
    """

    span: Span
    keyword: str
    original: str
    flags: tuple[Flag, ...] = ()
    comments: tuple[str, ...] = ()

    def flag_span(self, name: str) -> Span:
        """Where the flag `name` stands, or the whole instruction if it is not there."""
        return next((flag.span for flag in self.flags if flag.name == name), self.span)

    def texts(self, name: str) -> tuple[str, ...]:
        """All values of a flag."""
        return tuple(flag.value or "" for flag in self.flags if flag.name == name)

    def text(self, name: str, default: str = "") -> str:
        """The value of a flag, `default` if it is absent."""
        return next(iter(self.texts(name)), default)

    def truth(self, name: str) -> bool | None:
        """The truth of a flag, None if it is absent."""
        for flag in self.flags:
            if flag.name == name:
                return (flag.value or "true").lower() == "true"
        return None


class ShellForm(NamedTuple):
    """A command line for the shell (`SHELL`), as written. May be empty."""

    text: str


class ExecForm(NamedTuple):
    """A command as a JSON array: these very arguments. May be empty."""

    argv: tuple[str, ...]


Command = ShellForm | ExecForm


class KeyValue(NamedTuple):
    """One `key=value` of ENV or LABEL, neither unquoted nor expanded."""

    key: str
    value: str
    span: Span


class ArgName(NamedTuple):
    """One name of ARG. `default` is None if there is no `=`. `comment` describes the argument:
    the rest of a comment line above that begins with the name."""

    name: str
    default: str | None
    span: Span
    comment: str = ""


class MountField(NamedTuple):
    """One field of a --mount: `key=value`, or a key alone (`value` None). The key is lower-case."""

    key: str
    value: str | None
    text: str


class MountSpec(NamedTuple):
    """A --mount as written. `mounts.resolve` expands it and makes it a typed mount."""

    fields: tuple[MountField, ...]
    span: Span


class From(NamedTuple):
    """Begins a stage. `name` is lower-case, empty without AS; `written_name` is as written.

    `as_keyword` is the word AS as written. `comment` describes the stage: the rest of a comment
    line above that begins with the name."""

    head: Head
    image: str
    platform: str = ""
    name: str = ""
    written_name: str = ""
    as_keyword: str = ""
    comment: str = ""


class Arg(NamedTuple):
    head: Head
    names: tuple[ArgName, ...]


class Env(NamedTuple):
    """`legacy` is true for `ENV name value`, with one pair."""

    head: Head
    pairs: tuple[KeyValue, ...]
    legacy: bool = False


class Label(NamedTuple):
    """`legacy` is true for `LABEL name value`, with one pair."""

    head: Head
    pairs: tuple[KeyValue, ...]
    legacy: bool = False


class Maintainer(NamedTuple):
    head: Head
    author: str


class Workdir(NamedTuple):
    head: Head
    path: str


class User(NamedTuple):
    head: Head
    user: str


class Copy(NamedTuple):
    """COPY or ADD: `kind` says which. `sources` are paths only; `heredocs` are the sources that are
    inline files.

    BuildKit puts all paths before all heredocs, whatever their order in the file. Flags that the
    one of the two has not are as if they were absent; `unpack` and `keep_git_dir` are then None.
    """

    head: Head
    kind: Literal["COPY", "ADD"]
    sources: tuple[str, ...]
    dest: str
    heredocs: tuple[Heredoc, ...] = ()
    from_: str = ""
    chown: str = ""
    chmod: str = ""
    link: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    checksum: str = ""
    keep_git_dir: bool | None = None
    unpack: bool | None = None


class Run(NamedTuple):
    """`command` is the line after the flags, heredoc texts not included.

    `script` says that the whole line is one heredoc (`RUN <<EOF`): its `text` is the script, run
    by SHELL, or as a file of its own if it begins with `#!`. Otherwise the heredocs belong
    to the shell, and `shell_text` is the whole text to give to it.
    """

    head: Head
    command: Command
    heredocs: tuple[Heredoc, ...] = ()
    script: bool = False
    mounts: tuple[MountSpec, ...] = ()
    network: Network = "default"
    security: Security = "sandbox"

    @property
    def shell_text(self) -> str:
        """The text for the shell: the line, each heredoc below it. Empty for the exec form."""
        if isinstance(self.command, ExecForm):
            return ""
        if self.script:
            return self.heredocs[0].text
        bodies = (f"\n{doc.content}{doc.name}" for doc in self.heredocs)
        return self.command.text + "".join(bodies)


class Cmd(NamedTuple):
    head: Head
    command: Command


class Entrypoint(NamedTuple):
    head: Head
    command: Command


class Expose(NamedTuple):
    """`ports` as written; sorting and `/tcp` come after expansion."""

    head: Head
    ports: tuple[str, ...]


class Volume(NamedTuple):
    head: Head
    paths: tuple[str, ...]


class Stopsignal(NamedTuple):
    head: Head
    signal: str


class Shell(NamedTuple):
    head: Head
    argv: tuple[str, ...]


class Healthcheck(NamedTuple):
    """`command` is None for NONE. Times are nanoseconds, 0 where not given."""

    head: Head
    command: Command | None
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0


class Onbuild(NamedTuple):
    """`trigger` is the text recorded in the image, heredocs included.

    `parse.parse_trigger` reads it back, also when it comes from a base image."""

    head: Head
    trigger: str


Instruction = (
    From
    | Arg
    | Env
    | Label
    | Maintainer
    | Workdir
    | User
    | Copy
    | Run
    | Cmd
    | Entrypoint
    | Expose
    | Volume
    | Stopsignal
    | Shell
    | Healthcheck
    | Onbuild
)


class WrittenStage(NamedTuple):
    """A stage as written: its FROM, and the instructions below it."""

    source: From
    instructions: list[Instruction]


class Directive(NamedTuple):
    """What a `# name=value` at the top of the file says."""

    value: str
    span: Span


class Directives(NamedTuple):
    """The directives of a file: those that are there."""

    syntax: Directive | None = None
    escape: Directive | None = None
    check: Directive | None = None


class ParsedFile(NamedTuple):
    """A Dockerfile that was read.

    `escape` is the character for continuations and for escapes in words. `empty_continuations` are
    the last lines of instructions with blank lines inside, where BuildKit says so. The first
    instruction that is no ARG is a FROM, but there may be none at all.
    """

    source: SourceText
    directives: Directives
    escape: str
    instructions: tuple[Instruction, ...]
    empty_continuations: tuple[Span, ...] = ()
