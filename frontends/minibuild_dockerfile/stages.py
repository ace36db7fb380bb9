"""The stages of a Dockerfile: what each begins with, and which one a name means.

Comes in: the instructions of a file and the variables FROM sees. Goes out: a `StageTable`. Nothing
is looked up outside the file yet, so that a stage that is not needed costs nothing and cannot fail.
The rules for names, as BuildKit has them: FROM finds a stage above by its lower-case name;
`COPY --from` finds one by its name in any case, or by its number; of several stages with one name
FROM means the last above it, and `COPY --from` the last of the file; a named context takes the
place of a stage with its name.
Read next: `needs`, which says which stages a target takes.
"""

from collections.abc import Iterable, Mapping

from minibuild.errors import DefinitionError, Span
from minibuild.graph.frontend import Context, FrontendRequest
from minibuild.graph.platform import Platform, parse_platform
from minibuild.graph.reference import SCRATCH, parse_reference
from minibuild.graph.spelling import did_you_mean
from minibuild.startup.tuples import NamedTuple
from minibuild_dockerfile.checks import rules
from minibuild_dockerfile.checks.report import Checks
from minibuild_dockerfile.errors import DockerfileError
from minibuild_dockerfile.expand import Expansion, ExpansionError, process_word
from minibuild_dockerfile.instructions import (
    Arg,
    Copy,
    From,
    Head,
    Instruction,
    ParsedFile,
    Run,
    WrittenStage,
)
from minibuild_dockerfile.limits import Budget

RESERVED = (SCRATCH, "context")
"""Names that mean something else than a stage or a named context."""

_MOST_DIGITS = 20
"""Numbers with more are too large for anything, and slow to read."""


class Stage(NamedTuple):
    """One stage. `base` is the expanded name after FROM; `parent` the stage it means, if any.

    `platform` is that of FROM --platform, which means nothing for scratch. `context` is the named
    context in the stage's place.
    """

    number: int
    source: From
    instructions: tuple[Instruction, ...]
    base: str
    parent: int | None = None
    platform: Platform | None = None
    context: Context | None = None

    @property
    def label(self) -> str:
        """Its name, or `stage-N`."""
        return self.source.name or f"stage-{self.number}"


class StageTable(NamedTuple):
    """All stages, in the order of the file."""

    stages: tuple[Stage, ...]

    def target(self, name: str) -> Stage:
        """The stage to build: the one named, or the last."""
        found = self.by_name(name) if name else self.stages[-1]
        if found is None:
            names = self.names
            raise DefinitionError(
                f'target stage "{name}" could not be found{did_you_mean(name, names)}',
                hint="the stages are: " + ", ".join(names) if names else "no stage has a name",
            )
        return found

    def by_name(self, name: str) -> Stage | None:
        """The stage that `name` means, in any case; of several the last of the file."""
        for stage in reversed(self.stages):
            if name and stage.source.name == name.lower():
                return stage
        return None

    def by_name_or_number(self, name: str, head: Head) -> Stage | None:
        """Like `by_name`, for `COPY --from`, which takes the number of a stage as well."""
        sign = name[:1] in ("+", "-")
        if not (name[sign:].isascii() and name[sign:].isdigit()):
            return self.by_name(name)
        number = int(name[:_MOST_DIGITS])
        if not 0 <= number < len(self.stages):
            raise DockerfileError(
                f"invalid stage index {name}",
                head.flag_span("from"),
                hint=f"stages are counted from 0, and there are {len(self.stages)}",
            )
        return self.stages[number]

    @property
    def is_single(self) -> bool:
        """Whether there is one stage and no other tree that it names: its steps need no label.

        Every --mount counts as such a tree, as in BuildKit.
        """
        first = self.stages[0]
        return len(self.stages) == 1 and not any(
            (isinstance(item, Copy) and item.from_) or (isinstance(item, Run) and item.mounts)
            for item in first.instructions
        )

    @property
    def names(self) -> list[str]:
        """The names of all stages that have one."""
        return [stage.source.name for stage in self.stages if stage.source.name]


def split(parsed: ParsedFile) -> tuple[list[Arg], list[WrittenStage]]:
    """The ARGs above the first FROM, and the stages."""
    args: list[Arg] = []
    stages: list[WrittenStage] = []
    for instruction in parsed.instructions:
        if isinstance(instruction, From):
            stages.append(WrittenStage(instruction, []))
        elif stages:
            stages[-1].instructions.append(instruction)
        elif isinstance(instruction, Arg):
            args.append(instruction)
    if not stages:
        last = parsed.instructions[-1].head.span if parsed.instructions else None
        raise DefinitionError(
            "dockerfile contains no stages to build",
            hint="a Dockerfile needs a FROM",
            span=last,
        )
    return args, stages


class FromScope(NamedTuple):
    """What FROM is expanded with: `variables`, of which some are `declared` without a value."""

    variables: Mapping[str, str]
    declared: frozenset[str]
    escape: str
    checks: Checks
    budget: Budget

    @property
    def known(self) -> list[str]:
        """All names that mean something in a FROM."""
        return sorted({*self.variables, *self.declared})

    def expand(self, text: str, head: Head) -> Expansion:
        """`text` expanded; a variable that is not declared is a finding."""
        try:
            expansion = process_word(text, self.variables, head.span, self.escape, self.budget)
        except ExpansionError as error:
            self.note_unset(error.unset, head)
            raise
        self.note_unset(expansion.unset, head)
        return expansion

    def note_unset(self, unset: frozenset[str], head: Head) -> None:
        """Report variables that no ARG above the first FROM declares."""
        for name in sorted(unset - self.declared):
            near = did_you_mean(name, self.known)
            self.checks.report(
                rules.UNDEFINED_ARG_IN_FROM, f"FROM argument '{name}' is not declared{near}", head
            )

    def meant(self, expansion: Expansion) -> str:
        """` (did you mean X?)` for a variable that an expansion did not find, or nothing."""
        unknown = sorted(expansion.unset - self.declared)
        near = (did_you_mean(name, self.known) for name in unknown)
        return next(filter(None, near), "")


def check_defaults(
    stages: Iterable[WrittenStage], defaults: Mapping[str, str], escape: str, checks: Checks
) -> None:
    """A FROM that names no image with the `defaults` of all arguments is a finding.

    A stage that says with `?` that it has no default ends the check, as in BuildKit.
    """
    for source, _ in stages:
        try:
            text = process_word(source.image, defaults, source.head.span, escape).text
        except DockerfileError:
            return
        try:
            parse_reference(text)
        except DefinitionError:
            message = (
                f"Default value for ARG {source.image} results in empty or invalid base image name"
            )
            checks.report(rules.INVALID_DEFAULT_ARG_IN_FROM, message, source.head)


def make_table(
    stages: Iterable[WrittenStage],
    scope: FromScope,
    request: FrontendRequest,
    contexts: Mapping[str, Context],
) -> StageTable:
    """The table of the stages, FROM expanded. `contexts` are named contexts by lower-case name."""
    table: list[Stage] = []
    named: dict[str, int] = {}
    for number, (source, instructions) in enumerate(stages):
        head = source.head
        expansion = scope.expand(source.image, head)
        base = expansion.text
        if not base:
            raise DockerfileError(
                f"base name ({source.image}) should not be blank{scope.meant(expansion)}",
                head.span,
                hint="give the ARG a default, or pass it with --build-arg",
            )
        platform = _platform(source, scope, request.build_platform)
        _check_stage_name(source)
        stage = Stage(
            number,
            source,
            tuple(instructions),
            base,
            parent=named.get(base),
            platform=None if base == SCRATCH else platform,
            context=contexts.get(source.name) if source.name else None,
        )
        table.append(stage)
        if source.name:
            named[source.name] = number
    return StageTable(tuple(table))


def _check_stage_name(source: From) -> None:
    """A named context can take the place of a stage, so the name has to be one of an image, too."""
    if source.name in ("", *RESERVED):
        return
    try:
        parse_reference(source.name)
    except DefinitionError:
        raise DockerfileError(
            f"invalid context name {source.name}: invalid reference format",
            source.head.span,
            hint="between letters and digits stand single '.', '_' or '-', and none at the end",
        ) from None


def _platform(source: From, scope: FromScope, default: Platform) -> Platform | None:
    """The platform of FROM --platform."""
    if not source.platform:
        return None
    span: Span = source.head.flag_span("platform")
    expansion = scope.expand(source.platform, source.head)
    text = expansion.text
    if not text:
        raise DockerfileError(
            f"empty platform value from expression {source.platform}{scope.meant(expansion)}",
            span,
            hint="the variable has to be an ARG above the first FROM, or a predefined one",
        )
    try:
        platform = parse_platform(text, default)
    except DefinitionError as error:
        message = error.message + scope.meant(expansion)
        raise DockerfileError(message, span, hint=error.hint) from None
    _check_platform(source, platform, expansion, scope)
    return platform


def _check_platform(
    source: From, platform: Platform, expansion: Expansion, scope: FromScope
) -> None:
    """A --platform that says what is so anyway, or that allows no other one."""
    written = source.platform
    if expansion.used == {"TARGETPLATFORM"} and not expansion.unset:
        if expansion.text == scope.variables["TARGETPLATFORM"]:
            message = (
                f"Setting platform to predefined {written} in FROM is redundant as this is the "
                "default behavior"
            )
            scope.checks.report(rules.REDUNDANT_TARGET_PLATFORM, message, source.head)
        return
    # A stage called after the system or architecture it is for means to be for just that.
    meant = platform.os in source.name or platform.architecture in source.name
    if not (meant or expansion.used or expansion.unset):
        message = f'FROM --platform flag should not use constant value "{expansion.text}"'
        scope.checks.report(rules.FROM_PLATFORM_FLAG_CONST_DISALLOWED, message, source.head)
