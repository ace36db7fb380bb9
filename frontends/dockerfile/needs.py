"""Which stages a target takes, and what each of them does.

Comes in: the table of stages and a target. Goes out: a `Plan` for each needed stage: its base, and
its instructions with the ONBUILD triggers of the base before them. A stage that nobody needs is
not looked at any further; its image is not even looked up.

Stages refer to earlier ones only, so one pass from the target back to the first stage finds all.
Read next: `convert`, which turns the plans into a graph from the first stage on.
"""

from typing import NamedTuple

from frontends.dockerfile.checks import rules
from frontends.dockerfile.checks.report import Checks
from frontends.dockerfile.instructions import (
    Add,
    Copy,
    Head,
    Instruction,
    MountSpec,
    Onbuild,
    Run,
    Workdir,
)
from frontends.dockerfile.parse import parse_trigger
from frontends.dockerfile.sources import Base, Sources
from frontends.dockerfile.stages import Stage, StageTable
from frontends.dockerfile.suggest import did_you_mean
from minibuild.errors import RegistryError
from minibuild.graph.platform import Platform, matches


class Plan(NamedTuple):
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
        own = sum(isinstance(item, Run | Copy | Add | Workdir) for item in self.instructions)
        return own + (self.base is not None and self.base.image)


class Needs:
    """Makes the plans of one target, for one platform."""

    __slots__ = ("_checks", "_sources", "_table", "plans", "platform")

    def __init__(
        self, table: StageTable, sources: Sources, platform: Platform, checks: Checks
    ) -> None:
        self._checks = checks
        self._table = table
        self._sources = sources
        self.platform = platform
        self.plans: dict[int, Plan] = {}

    def of(self, *targets: Stage) -> list[Plan]:
        """The plans for `targets`, in the order of the file."""
        needed = {target.number for target in targets}
        for stage in reversed(self._table.stages[: max(needed) + 1]):
            if stage.number in needed:
                plan = self.plans[stage.number] = self._plan(stage)
                needed.update(self._sources_of(plan))
        return [self.plans[index] for index in sorted(self.plans)]

    def _plan(self, stage: Stage) -> Plan:
        span = stage.source.head.span
        platform = stage.platform or self.platform
        if stage.context is not None:
            return Plan(
                stage, self._sources.context(stage.context, stage.source.name, platform, span)
            )
        if stage.parent is not None:
            return Plan(stage, None, self._triggers(stage, self._recorded(stage.parent)))
        with_suggestion = [s.source.name for s in self._table.stages[: stage.number]]
        try:
            base = self._sources.find(stage.base, platform, span)
        except RegistryError as error:
            raise suggested(error, stage.base, with_suggestion) from None
        found = base.config.platform
        if base.image and not matches(platform, found):
            message = (
                f'Base image {stage.base} was pulled with platform "{found}", '
                f'expected "{platform}" for current build'
            )
            self._checks.report(rules.INVALID_BASE_IMAGE_PLATFORM, message, stage.source.head)
        recorded = tuple(base.config.config.get("OnBuild") or ())
        return Plan(stage, base, self._triggers(stage, recorded))

    def _recorded(self, parent: int) -> tuple[str, ...]:
        """The triggers that a stage leaves to those built on it."""
        stage = self._table.stages[parent]
        if stage.context is not None:
            base = self._sources.context(
                stage.context,
                stage.source.name,
                stage.platform or self.platform,
                stage.source.head.span,
            )
            return tuple(base.config.config.get("OnBuild") or ())
        return tuple(item.trigger for item in stage.instructions if isinstance(item, Onbuild))

    def _triggers(self, stage: Stage, recorded: tuple[str, ...]) -> tuple[Instruction, ...]:
        return tuple(parse_trigger(text, stage.source.head.span) for text in recorded)

    def _sources_of(self, plan: Plan) -> set[int]:
        """The stages that a stage is built on or reads from."""
        stage = plan.stage
        found = set() if stage.parent is None or stage.context else {stage.parent}
        for item in plan.instructions:
            found.update(s.number for s in sources_of(item, self._table, stage.number))
        return found


def sources_of(item: Instruction, table: StageTable, user: int) -> list[Stage]:
    """The stages that one instruction reads from."""
    if isinstance(item, Copy) and item.from_:
        stage = table.by_name_or_number(item.from_, user, item.head)
        return [stage] if stage else []
    if isinstance(item, Run):
        named = (mount_stage(spec, table, user, item.head) for spec in item.mounts)
        return [stage for stage in named if stage is not None]
    return []


def mount_stage(spec: MountSpec, table: StageTable, user: int, head: Head) -> Stage | None:
    """The stage that a --mount reads from."""
    names = [field.value for field in spec.fields if field.key == "from" and field.value]
    return table.by_name(names[-1], user, head) if names else None


def suggested(error: RegistryError, name: str, names: list[str]) -> RegistryError:
    """The error about an image, with the stage that its name resembles."""
    near = did_you_mean(name, [known for known in names if known])
    if not near:
        return error
    better = RegistryError(
        error.message + near, hint=error.hint, span=error.span, detail=error.detail
    )
    better.source = error.source
    return better


def check_references(table: StageTable) -> None:
    """Raise an error for a COPY --from in any stage that names itself, a later one or no number."""
    for stage in table.stages:
        if stage.context is None:
            for item in stage.instructions:
                sources_of(item, table, stage.number)
