"""A stage while it is converted: its tree so far, its variables, its config.

Comes in: a plan, and what it continues. Goes out: a `StageState` that the instructions change one
after the other, and in the end a vertex and an image config. This is the one part of the frontend
where order in time matters; everything it hands out is plain data again.
Read next: `config`, `copy`, `run`: what the instructions do.
"""

from collections.abc import Mapping
from typing import Any, cast

from minibuild.errors import RegistryError, Span
from minibuild.graph.frontend import FrontendRequest
from minibuild.graph.image import DEFAULT_PATH, ContainerConfig, History, ImageConfig
from minibuild.graph.op import File, Mkfile
from minibuild.graph.platform import WINDOWS, Platform
from minibuild.graph.spelling import did_you_mean
from minibuild.graph.vertex import Note, Vertex
from minibuild.startup.tuples import NamedTuple
from minibuild_dockerfile.checks import rules
from minibuild_dockerfile.checks.report import Checks
from minibuild_dockerfile.errors import DockerfileError
from minibuild_dockerfile.expand import ExpansionError, process_word
from minibuild_dockerfile.history import entry
from minibuild_dockerfile.instructions import Head, Heredoc
from minibuild_dockerfile.limits import Budget
from minibuild_dockerfile.names import StepNames, platform_prefix, step_text
from minibuild_dockerfile.needs import StagePlan, suggested
from minibuild_dockerfile.paths import from_slashes, to_slashes
from minibuild_dockerfile.sources import Base, SourceVertices, as_base
from minibuild_dockerfile.stages import Stage, StageTable

_MOST_GUESSES = 100
"""So many unknown variables of a stage get a guess at what was meant; each takes a while."""


class Conversion(NamedTuple):
    """What all stages of one platform share. `states` are the stages done so far."""

    request: FrontendRequest
    platform: Platform
    globals: Mapping[str, str]
    escape: str
    table: StageTable
    sources: SourceVertices
    checks: Checks
    states: "dict[int, StageState]"
    budget: Budget

    def tree(self, name: str, stage: Stage | None, span: Span) -> Vertex | None:
        """What is copied or mounted from `name`: `stage`, if it names one, else a named context or
        an image; the build context if there is no name."""
        if not name:
            return self.sources.main_context(span)
        if stage is not None:
            return self.states[stage.number].vertex
        try:
            return self.sources.find(name, self.platform, span).vertex
        except RegistryError as error:
            raise suggested(error, name, self.table.names) from None


class StageState:
    """One stage. `env` is the environment of its RUNs; ARGs are in it, beside what the config has.

    `env_at` says where in the config's list a variable stands. `build_args` are the declared ARGs,
    with the values they had when they were declared. `used` are the instructions of which the last
    one counts.
    """

    __slots__ = (
        "_environment", "author", "base_config", "build_args", "config", "conversion", "env",
        "env_at", "guesses", "history", "names", "note_stage", "plan", "platform", "used",
        "vertex", "workdir_set",
    )  # fmt: skip

    def __init__(self, plan: StagePlan, conversion: Conversion) -> None:
        self.plan = plan
        self.conversion = conversion
        self.vertex: Vertex | None
        self.env: dict[str, str] = {}
        self.build_args: dict[str, str | None] = {}
        self._environment: tuple[tuple[str, str], ...] | None = None
        self.used: dict[str, Head] = {}
        self.workdir_set = False
        self.guesses = 0
        if plan.base is None:
            assert plan.stage.parent is not None
            self._continue(conversion.states[plan.stage.parent])
        else:
            self._begin(plan.base)
        self.config.pop("OnBuild", None)
        if self.platform.os == WINDOWS and self.config.get("WorkingDir"):
            self.config["WorkingDir"] = from_slashes(self.workdir, WINDOWS)
        self._read_env()
        self.note_stage = plan.stage.label
        request = conversion.request
        many = request.multi_platform or len(request.platforms) > 1
        prefix = platform_prefix(self.platform, conversion.platform) if many else ""
        label = "" if conversion.table.is_single else self.note_stage
        self.names = StepNames(label, plan.total, prefix)
        if self.vertex is not None and plan.base is not None and plan.base.image:
            self._name_base(self.vertex)

    def _begin(self, base: Base) -> None:
        # A context in the place of a stage is mostly copied from, which needs no copy of all of it.
        self.vertex = base.vertex if self.plan.stage.context else as_base(base.vertex)
        self.base_config = base.config
        self.config: ContainerConfig = _copied(base.config.config)
        self.history: list[History] = list(base.config.history)
        self.author = base.config.author
        self.platform = self.plan.stage.platform or self.conversion.platform

    def _continue(self, parent: "StageState") -> None:
        self.vertex = as_base(parent.vertex)
        self.base_config = parent.base_config
        self.config = _copied(parent.config)
        self.history = list(parent.history)
        self.author = parent.author
        self.platform = parent.platform
        self.env = dict(parent.env)
        self.spend(len(self.history) + len(self.env), self.plan.stage.source.head)
        self.build_args = dict(parent.build_args)
        self.workdir_set = parent.workdir_set

    def _read_env(self) -> None:
        """Take the variables of the config, among them PATH."""
        listed = self.config.get("Env") or []
        # Windows has a PATH of its own.
        if self.platform.os != WINDOWS and not any(item.startswith("PATH=") for item in listed):
            self.config["Env"] = listed = [*listed, f"PATH={DEFAULT_PATH}"]
        self.env_at: dict[str, int] = {}
        for at, item in enumerate(listed):
            name, _, value = item.partition("=")
            self.declare(name, value)
            self.env_at.setdefault(name, at)

    @property
    def environment(self) -> tuple[tuple[str, str], ...]:
        """The variables of a RUN; all RUNs that see the same ones share them."""
        if self._environment is None:
            self._environment = tuple(self.env.items())
        return self._environment

    def declare(self, name: str, value: str) -> None:
        """Set a variable of the steps alone. One that is set again moves to the end, as with
        BuildKit: the order is part of what a step is."""
        self.env.pop(name, None)
        self.env[name] = value
        self._environment = None

    def set_env(self, name: str, value: str) -> None:
        """Set a variable of the config; it keeps its place in the list if it has one."""
        self.declare(name, value)
        listed = self.config.setdefault("Env", [])
        at = self.env_at.setdefault(name, len(listed))
        listed[at : at + 1] = [f"{name}={value}"]

    def _name_base(self, vertex: Vertex) -> None:
        """Number the FROM among the steps of the stage."""
        name = self.names.next(vertex.note.name)
        note = vertex.note._replace(name=name, stage=self.note_stage)
        self.vertex = Vertex(vertex.op, vertex.inputs, note)

    @property
    def is_windows(self) -> bool:
        """Whether the image, by its config, is one of Windows; its stage may say otherwise."""
        return self.base_config.platform.os == WINDOWS

    # --- words ---

    def word(self, text: str, head: Head, span: Span | None = None) -> str:
        """`text` expanded with the variables of this moment."""
        conversion = self.conversion
        where = span or head.span
        try:
            found = process_word(text, self.env, where, conversion.escape, conversion.budget)
        except ExpansionError as error:
            self.note_unset(error.unset, head)
            raise
        self.note_unset(found.unset, head)
        return found.text

    def words(self, text: str, head: Head) -> list[str]:
        """`text` expanded and split into words. Unset variables are no finding, as in BuildKit."""
        conversion = self.conversion
        escape, budget = conversion.escape, conversion.budget
        return process_word(text, self.env, head.span, escape, budget).words

    def note_unset(self, unset: frozenset[str], head: Head) -> None:
        """Report variables that were not declared."""
        for name in sorted(name for name in unset if name not in self.build_args):
            self.guesses += 1
            known = (f"${name}" for name in self.env) if self.guesses <= _MOST_GUESSES else ()
            near = did_you_mean(f"${name}", known)
            self.conversion.checks.report(
                rules.UNDEFINED_VAR, f"Usage of undefined variable '${name}'{near}", head
            )

    # --- results ---

    @property
    def workdir(self) -> str:
        """The working directory, absolute and with slashes."""
        return self.path(self.config.get("WorkingDir") or "/", self.plan.stage.source.head)

    def path(self, written: str, head: Head, *, keep_end: bool = False) -> str:
        """A path of the image's system with slashes, and with that at its end if `keep_end`."""
        try:
            return to_slashes(written, self.platform.os, keep_end=keep_end)
        except ValueError as error:
            raise DockerfileError(
                str(error), head.span, hint="write a path on C:, or one without a drive"
            ) from None

    @property
    def ignore_cache(self) -> bool:
        """Whether the steps of this stage are to be done again."""
        request = self.conversion.request
        name = self.plan.stage.source.name
        wanted = {filtered.lower() for filtered in request.no_cache}
        return request.no_cache_all or bool({name, self.plan.stage.label} & wanted)

    def note(self, head: Head, text: str = "", *, same_step: bool = False) -> Note:
        """What rides along with the vertex of an instruction; `same_step` for a second one."""
        text = text or step_text(head, self.env, self.conversion.escape)
        if head.span == self.plan.stage.source.head.span:  # a trigger, which has no other place
            text = f"ONBUILD {text}"
        name = self.names.same(text) if same_step else self.names.next(text)
        self.spend(len(name), head)
        return Note(name, head.span, self.note_stage, self.ignore_cache)

    def inline_file(self, heredoc: Heredoc, text: str, mode: int = 0o644) -> Vertex:
        """A tree with an inline file that holds `text`."""
        file = Mkfile(f"/{heredoc.name}", text.encode("utf-8", "surrogateescape"), mode)
        note = Note("[internal] preparing inline document", heredoc.span, self.note_stage)
        return Vertex(File((file,)), (None,), note)

    def spend(self, size: int, head: Head) -> None:
        """Count what is kept of an instruction."""
        self.conversion.budget.take(size, head.span)

    def record(self, created_by: str, *, layer: bool = False, mark: bool = False) -> None:
        """Add an entry to the history."""
        self.history.append(entry(created_by, layer=layer, mark=mark))

    def image(self) -> ImageConfig:
        """The config of the image that this stage is now. As with BuildKit it has no members that
        say nothing, and none of the base's that no instruction sets (`Hostname`, `Image`)."""
        config = {name: self.config.get(name) for name in ContainerConfig.__annotations__}
        return self.base_config._replace(
            config=cast(ContainerConfig, {name: value for name, value in config.items() if value}),
            history=tuple(self.history),
            author=self.author,
        )


def _copied(value: Any) -> Any:
    """A copy of JSON that can be changed: its dicts and lists."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if isinstance(value, list) else value
