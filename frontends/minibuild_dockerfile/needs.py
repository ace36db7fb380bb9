"""Which stages a target takes, and what each of them does.

Comes in: the table of stages and a target. Goes out: a `StagePlan` for each needed stage: its base,
and its instructions with the ONBUILD triggers of the base before them. A stage that is not needed
is not looked at any further; its image is not even looked up.

Stages refer to earlier ones only, so one pass from the target back to the first stage finds all.
Read next: `convert`, which turns the plans into a graph from the first stage on.
"""

from collections.abc import Iterable, Sequence

from minibuild.errors import RegistryError
from minibuild.graph.frontend import Context
from minibuild.graph.platform import Platform
from minibuild.graph.spelling import did_you_mean
from minibuild.startup.tuples import NamedTuple
from minibuild_dockerfile.checks import rules
from minibuild_dockerfile.checks.report import Checks
from minibuild_dockerfile.errors import DockerfileError
from minibuild_dockerfile.instructions import Copy, Instruction, Onbuild, Run, Workdir
from minibuild_dockerfile.parse import parse_trigger
from minibuild_dockerfile.sources import Base, SourceVertices, check_name
from minibuild_dockerfile.stages import Stage, StageTable

_WELL_KNOWN = ("alpine", "busybox", "centos", "debian", "fedora", "golang", "ubuntu")
"""Images that names without a registry are often meant to be."""


class StagePlan(NamedTuple):
    """A stage to be converted. `base` is None if it continues another stage."""

    stage: Stage
    base: Base | None
    triggers: tuple[Instruction, ...] = ()

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """All that the stage does, triggers first; nothing if a context stands in its place."""
        return () if self.stage.context else (*self.triggers, *self.stage.instructions)

    @property
    def total(self) -> int:
        """How many numbered steps it has: its FROM and what makes layers."""
        own = sum(isinstance(item, Run | Copy | Workdir) for item in self.instructions)
        return own + (self.base is not None and self.base.image)


class StagePlanner(NamedTuple):
    """Makes the plans of targets, for one platform."""

    table: StageTable
    sources: SourceVertices
    platform: Platform
    checks: Checks

    def of(self, *targets: Stage) -> list[StagePlan]:
        """The plans for `targets`, in the order of the file."""
        needed = {target.number for target in targets}
        plans: list[StagePlan] = []
        for stage in reversed(self.table.stages[: max(needed) + 1]):
            if stage.number in needed:
                plans.append(self._plan(stage))
                needed.update(self._sources_of(plans[-1]))
        return plans[::-1]

    def _plan(self, stage: Stage) -> StagePlan:
        if stage.context is not None:
            return StagePlan(stage, self._of_context(stage, stage.context))
        if stage.parent is not None:
            return StagePlan(stage, None, _triggers(stage, self._recorded(stage.parent)))
        platform = stage.platform or self.platform
        try:
            base = self.sources.find(stage.base, platform, stage.source.head.span)
        except RegistryError as error:
            names = [above.source.name for above in self.table.stages[: stage.number]]
            raise suggested(error, stage.base, names) from None
        found = base.config.platform
        wanted = base.image and not base.chosen
        if wanted and (platform.os, platform.architecture) != (found.os, found.architecture):
            message = (
                f'Base image {stage.base} was pulled with platform "{found}", '
                f'expected "{platform}" for current build'
            )
            self.checks.report(rules.INVALID_BASE_IMAGE_PLATFORM, message, stage.source.head)
        return StagePlan(stage, base, _triggers(stage, base.triggers))

    def _of_context(self, stage: Stage, context: Context) -> Base:
        """The named context in the place of a stage."""
        platform, source = stage.platform or self.platform, stage.source
        return self.sources.context(context, source.name, platform, source.head.span)

    def _recorded(self, parent: int) -> Sequence[str]:
        """The triggers that a stage leaves to those built on it."""
        stage = self.table.stages[parent]
        if stage.context is not None:
            return self._of_context(stage, stage.context).triggers
        return [item.trigger for item in stage.instructions if isinstance(item, Onbuild)]

    def _sources_of(self, plan: StagePlan) -> set[int]:
        """The stages that a stage is built on or reads from, all of them before it."""
        stage = plan.stage
        found = set() if stage.parent is None or stage.context else {stage.parent}
        for item in plan.instructions:
            for source in sources_of(item, self.table):
                if source.number >= stage.number:
                    raise _too_late(item, source, stage)
                found.add(source.number)
        return found


def _triggers(stage: Stage, recorded: Iterable[str]) -> tuple[Instruction, ...]:
    return tuple(parse_trigger(text, stage.source.head.span) for text in recorded)


def _too_late(item: Instruction, source: Stage, user: Stage) -> DockerfileError:
    if isinstance(item, Run):
        message = (
            f'cannot mount from stage "{source.label}", stage needs to be defined before '
            "current command"
        )
    else:
        message = (
            f'cannot copy from stage "{source.label}", it needs to be defined before current '
            f'stage "{user.label}"'
        )
    return DockerfileError(message, item.head.span, hint="move that stage up")


def sources_of(item: Instruction, table: StageTable) -> list[Stage]:
    """The stages that one instruction reads from."""
    if isinstance(item, Copy) and item.from_:
        stage = table.by_name_or_number(item.from_, item.head)
        return [stage] if stage else []
    if isinstance(item, Run):
        named = (table.by_name(name) for name in _mounted(item))
        return [stage for stage in named if stage is not None]
    return []


def _mounted(item: Run) -> list[str]:
    """The names that the mounts of a RUN read from."""
    found = []
    for spec in item.mounts:
        names = [field.value for field in spec.fields if field.key == "from" and field.value]
        found += names[-1:]
    return found


def suggested(error: RegistryError, name: str, names: list[str]) -> RegistryError:
    """The error about an image, with the stage or the well-known image that its name resembles."""
    short = name.partition("@")[0].partition(":")[0]
    near = did_you_mean(short, [known for known in (*names, *_WELL_KNOWN) if known])
    if not near or near == did_you_mean(short, [short]):
        return error  # nothing like it, or well spelt
    better = RegistryError(
        error.message + near, hint=error.hint, span=error.span, detail=error.detail
    )
    better.source = error.source
    return better


def check_references(table: StageTable) -> None:
    """Raise an error for what is wrong in any stage, needed or not: names that no image can have,
    numbers that no stage has, stages that read from each other in a circle."""
    reads: dict[int, list[tuple[int, Instruction]]] = {}
    for stage in table.stages:
        if stage.parent is None:
            check_name(stage.base, stage.source.head.span)
        found = reads[stage.number] = []
        for item in stage.instructions if stage.context is None else ():
            found += [(source.number, item) for source in sources_of(item, table)]
            _check_names(item, table)
    done: set[int] = set()
    for stage in table.stages:
        _check_circle(stage.number, table, reads, done)


def _check_names(item: Instruction, table: StageTable) -> None:
    if isinstance(item, Copy) and item.from_ and "$" in item.from_:
        raise DockerfileError(
            "variable expansion is not supported for --from, define a new stage with FROM using "
            "ARG from global scope as a workaround",
            item.head.flag_span("from"),
            hint=f"add a stage FROM {item.from_} AS name, and write --from=name",
        )
    names = [item.from_] if isinstance(item, Copy) and item.from_ else []
    names += _mounted(item) if isinstance(item, Run) else []
    for name in names:
        number = isinstance(item, Copy) and name.lstrip("+-").isdecimal()
        if not number and table.by_name(name) is None:
            check_name(name, item.head.span)


def _check_circle(
    number: int,
    table: StageTable,
    reads: dict[int, list[tuple[int, Instruction]]],
    done: set[int],
) -> None:
    """Follow what a stage reads; `done` are stages without a circle."""
    path: list[int] = []
    todo: list[tuple[int, int]] = [(number, 0)]
    while todo:
        current, at = todo.pop()
        if at == 0:
            if current in done:
                continue
            path.append(current)
        if at == len(reads[current]):
            done.add(path.pop())
            continue
        todo.append((current, at + 1))
        source, item = reads[current][at]
        if source in path:
            raise DockerfileError(
                f"circular dependency detected on stage: {table.stages[source].label}",
                item.head.span,
                hint="a stage cannot take files from itself, nor from one that takes files from it",
            )
        todo.append((source, 0))
