"""The Dockerfile frontend: from a Dockerfile to a graph.

Comes in: a `FrontendRequest` and a resolver of images. Goes out: for each platform a vertex and an
image config, and what the checks found. Nothing is read from disk, environment or network, but
for what the resolver says of images, and only of those that the target needs.

The way of a Dockerfile: `parse` makes instructions of the text, `stages` a table of stages, `needs`
says which of them the target takes, and each of these is carried out, instruction by instruction
(`state`, then `config`, `copy` and `run`).
Read next: `parse`, then `stages`.
"""

from collections.abc import Callable, Iterator
from typing import Any

from minibuild.errors import BuildError, located
from minibuild.graph.frontend import (
    Built,
    Finding,
    FrontendRequest,
    FrontendResult,
    ImageResolver,
    Warn,
    ignore_findings,
)
from minibuild.graph.platform import Platform, normalised
from minibuild.graph.spelling import did_you_mean
from minibuild.startup.tuples import NamedTuple
from minibuild_dockerfile import config
from minibuild_dockerfile import instructions as words
from minibuild_dockerfile.checks import rules, written
from minibuild_dockerfile.checks.report import Checks, check_config, in_order
from minibuild_dockerfile.copy import copy_or_add
from minibuild_dockerfile.errors import DockerfileError
from minibuild_dockerfile.instructions import Arg, ParsedFile, WrittenStage
from minibuild_dockerfile.limits import Budget, check_lines
from minibuild_dockerfile.needs import StagePlan, StagePlanner, check_references
from minibuild_dockerfile.parse import parse_up_to_error
from minibuild_dockerfile.run import run
from minibuild_dockerfile.scope import (
    check_epoch,
    declared_names,
    global_args,
    is_predefined,
    platform_args,
)
from minibuild_dockerfile.sources import SourceVertices, as_base, named_contexts
from minibuild_dockerfile.stages import FromScope, StageTable, check_defaults, make_table, split
from minibuild_dockerfile.state import Conversion, StageState

_SYNTAX_ARGUMENT = "BUILDKIT_SYNTAX"

_CARRY_OUT: dict[type[Any], Callable[[StageState, Any], None]] = {
    words.Arg: config.arg,
    words.Env: config.env,
    words.Label: config.label,
    words.Maintainer: config.maintainer,
    words.Workdir: config.workdir,
    words.User: config.user,
    words.Copy: copy_or_add,
    words.Run: run,
    words.Cmd: config.cmd,
    words.Entrypoint: config.entrypoint,
    words.Expose: config.expose,
    words.Volume: config.volume,
    words.Stopsignal: config.stopsignal,
    words.Shell: config.shell,
    words.Healthcheck: config.healthcheck,
    words.Onbuild: config.onbuild,
}
"""What changes a stage as an instruction says, for all instructions but FROM."""


def convert(
    request: FrontendRequest, resolver: ImageResolver, warn: Warn = ignore_findings
) -> FrontendResult:
    """The graph of a Dockerfile. Raises `DefinitionError` with a span."""
    try:
        return _convert(request, resolver, warn)
    except BuildError as error:
        error.source = error.source or request.source
        raise


class Checked(NamedTuple):
    """What checks found, and the error that ended them, if one did."""

    findings: tuple[Finding, ...]
    error: BuildError | None = None


def check(request: FrontendRequest, resolver: ImageResolver) -> Checked:
    """Only check; all stages, if none is named. Never raises a `BuildError`."""
    found: list[Finding] = []
    failed: BuildError | None = None
    try:
        definition = read(request, found.append)
        sources = SourceVertices(request, resolver)
        for platform in request.platforms:
            converted(definition, platform, sources, all_stages=not request.target)
        definition.checks.enforce()
    except BuildError as error:
        error.source = error.source or request.source
        failed = error
    return Checked(in_order(found), failed)


def _convert(request: FrontendRequest, resolver: ImageResolver, warn: Warn) -> FrontendResult:
    definition = read(request, warn)
    sources = SourceVertices(request, resolver)
    made = [converted(definition, platform, sources) for platform in request.platforms]
    for finding in _unused(definition, made):
        warn(finding)  # no check, so no directive can make an error of it
    definition.checks.enforce()
    return FrontendResult(tuple(m.built for m in made))


def _unused(definition: "Dockerfile", made: list["Converted"]) -> Iterator[Finding]:
    """Build arguments that no ARG takes, in any stage: mostly a slip of the finger."""
    triggers = [item for one in made for plan in one.plans for item in plan.triggers]
    instructions = (*definition.parsed.instructions, *triggers)
    known = declared_names([item for item in instructions if isinstance(item, Arg)])
    given = definition.request.build_args
    left = sorted(name for name in given if name not in known and not is_predefined(name))
    if left:
        near = next(filter(None, (did_you_mean(name, sorted(known)) for name in left)), "")
        message = f"[Warning] One or more build-args [{' '.join(left)}] were not consumed{near}"
        yield Finding("", message, None, "No ARG declares them: add one, or leave them out")


class Dockerfile(NamedTuple):
    """A Dockerfile that was read, cut into stages, and checked as far as its text goes."""

    request: FrontendRequest
    parsed: ParsedFile
    args: list[Arg]
    stages: list[WrittenStage]
    checks: Checks


class Converted(NamedTuple):
    """The outcome for one platform, and how it came about."""

    built: Built
    plans: tuple[StagePlan, ...]
    states: dict[int, StageState]


def read(request: FrontendRequest, warn: Warn = ignore_findings) -> Dockerfile:
    """The definition of a request; nothing is looked up yet. What stands above a mistake is
    checked before the mistake is raised."""
    check_lines(request.source)
    parsed, wrong = parse_up_to_error(request.source, request.notes)
    checks = _checks(parsed, request, warn)
    if wrong is not None:
        written.check_instructions(parsed.instructions, checks)
        raise wrong
    return _definition(parsed, request, checks)


def _checks(parsed: ParsedFile, request: FrontendRequest, warn: Warn) -> Checks:
    """The checks of a file, with what was found while it was read."""
    checks = Checks(check_config(parsed, request.build_args), warn)
    for span in parsed.empty_continuations:
        checks.report_at(rules.NO_EMPTY_CONTINUATION, "Empty continuation line", span)
    return checks


def _definition(parsed: ParsedFile, request: FrontendRequest, checks: Checks) -> Dockerfile:
    """The definition in a file that was read to its end."""
    if parsed.directives.syntax or _SYNTAX_ARGUMENT in request.build_args:
        from minibuild_dockerfile.checks.syntax import check_syntax

        finding = check_syntax(parsed, request.build_args.get(_SYNTAX_ARGUMENT, ""))
        if finding is not None:
            checks.add(finding)
    check_epoch(request.build_args)
    args, stages = split(parsed)
    written.check_file(parsed, stages, checks)
    if checks.config.experimental:
        # Asked for by few: the rest need not wait for the import.
        from minibuild_dockerfile.checks.teaching import check_habits

        check_habits(stages, checks)
    return Dockerfile(request, parsed, args, stages, checks)


def table_of(definition: Dockerfile, platform: Platform) -> tuple[StageTable, dict[str, str]]:
    """The stages for one platform, and the variables that FROM saw."""
    request, parsed, args, stages, checks = definition
    predefined = platform_args(request, platform, stages[-1].source.name)
    try:
        defaults = global_args(args, predefined, {}, parsed.escape)
    except DockerfileError:
        pass  # Some ARG needs a value (`ARG NAME=${NAME:?message}`), so there are no defaults.
    else:
        check_defaults(stages, defaults, parsed.escape, checks)
    variables = global_args(args, predefined, request.build_args, parsed.escape)
    scope = FromScope(variables, declared_names(args), parsed.escape, checks, Budget())
    return make_table(stages, scope, request, named_contexts(request.contexts)), variables


def converted(
    definition: Dockerfile, platform: Platform, sources: SourceVertices, *, all_stages: bool = False
) -> Converted:
    """The image for one platform; with `all_stages` those stages too that it does not need."""
    request, checks, escape = definition.request, definition.checks, definition.parsed.escape
    table, variables = table_of(definition, platform)
    target = table.target(request.target)
    check_references(table)
    states: dict[int, StageState] = {}
    conversion = Conversion(
        request, platform, variables, escape, table, sources, checks, states, Budget()
    )
    needs = StagePlanner(table, sources, platform, checks)
    plans = needs.of(*(table.stages if all_stages else (target,)))
    for plan in plans:
        state = states[plan.stage.number] = StageState(plan, conversion)
        for instruction in plan.instructions:
            with located(instruction.head.span):
                _CARRY_OUT[type(instruction)](state, instruction)
    state = states[target.number]
    if request.labels:
        state.config["Labels"] = {**state.config.get("Labels", {}), **request.labels}
    image = state.image()
    made_for = image.platform if request.implicit_platform else _asked(platform, image.platform)
    image = image._replace(platform=normalised(made_for))
    built = Built(platform, as_base(state.vertex), image)
    if "BUILDKIT_SBOM_SCAN_" in request.source.text:  # Few Dockerfiles ask for it.
        from minibuild_dockerfile.scans import scanned_trees

        built = built._replace(scanned=scanned_trees(state, states.values()))
    return Converted(built, tuple(plans), states)


def _asked(wanted: Platform, found: Platform) -> Platform:
    """The platform that was asked for, whatever the base says it is for; what was not asked for
    is kept if both are for one system and architecture."""
    if (wanted.os, wanted.architecture) != (found.os, found.architecture):
        return wanted._replace(os_features=wanted.os_features or found.os_features)
    return wanted._replace(
        variant=wanted.variant or found.variant,
        os_version=wanted.os_version or found.os_version,
        os_features=wanted.os_features or found.os_features,
    )
