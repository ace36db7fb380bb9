"""What a Dockerfile offers, without building it: `--call=targets`, `outline` and `check`.

Comes in: a request. Goes out: plain data with the field names of BuildKit's JSON, so that tools
that read one can read the other.
Read next: `convert`, whose findings and graph are shown here.
"""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from minibuild.errors import Span
from minibuild.graph.frontend import FrontendRequest, ImageResolver, Warn, ignore_findings
from minibuild.graph.op import CacheMount, Exec, SecretMount, SshMount
from minibuild.graph.vertex import topological
from minibuild_dockerfile.convert import Converted, Dockerfile, check, converted, read
from minibuild_dockerfile.expand import process_word
from minibuild_dockerfile.instructions import Arg, ArgName, From
from minibuild_dockerfile.needs import StagePlan, sources_of
from minibuild_dockerfile.sources import SourceVertices

Json = dict[str, Any]


def targets(request: FrontendRequest, warn: Warn = ignore_findings) -> Json:
    """All stages, as `--target` may name them; the last one is the default."""
    stages = read(request, warn).stages
    found = []
    for number, (source, _) in enumerate(stages):
        found.append(
            _without_empty(
                name=source.name,
                default=number == len(stages) - 1,
                description=source.comment,
                base=source.image,
                platform=source.platform,
                location=_location(source.head.span),
            )
        )
    return {"targets": found, "sources": [_data(request)]}


def outline(
    request: FrontendRequest, resolver: ImageResolver, warn: Warn = ignore_findings
) -> Json:
    """What a target takes from its caller: arguments, secrets, ssh agents; and its caches."""
    definition = read(request, warn)
    made = converted(definition, request.platforms[0], SourceVertices(request, resolver))
    definition.checks.enforce()
    stage = made.plans[-1].stage.source
    vertices = topological([made.built.vertex])
    nearness = {plan.stage.label: place for place, plan in enumerate(_from_target(made))}
    steps = [(v.op, v.note) for v in vertices if isinstance(v.op, Exec)]
    steps.sort(key=lambda step: (nearness[step[1].stage], _first(step[1].span)))
    mounts = [(mount, note.span) for step, note in steps for mount in step.mounts]
    secrets = [_wanted(m.id, m.required, span) for m, span in mounts if isinstance(m, SecretMount)]
    agents = [_wanted(m.id, m.required, span) for m, span in mounts if isinstance(m, SshMount)]
    caches = [
        {"ID": m.id, "location": _location(span)} for m, span in mounts if isinstance(m, CacheMount)
    ]
    return _without_empty(
        name=stage.name,
        description=stage.comment,
        args=_args(definition, made),
        secrets=_each_once(secrets, "name"),
        ssh=_each_once(agents, "name"),
        cache=_each_once(caches, "ID"),
        sources=[_data(request)],
    )


def lint(request: FrontendRequest, resolver: ImageResolver) -> Json:
    """What the checks find, in all stages if none is named; and the error that ended them."""
    found = check(request, resolver)
    answer: Json = {
        "warnings": [
            _without_empty(
                ruleName=finding.rule,
                description=finding.description,
                url=finding.url,
                detail=finding.message,
                location=_location(finding.span),
            )
            for finding in found.findings
        ],
        "sources": [
            {"filename": request.source.name, "language": "Dockerfile", "data": _data(request)}
        ],
    }
    if found.error is not None:
        answer["buildError"] = _without_empty(
            message=found.error.message,
            hint=found.error.hint,
            location=_location(found.error.span),
        )
    return answer


def _data(request: FrontendRequest) -> str:
    """The Dockerfile, as Go writes bytes in JSON."""
    return b64encode(request.source.text.encode("utf-8", "surrogateescape")).decode()


def _args(definition: Dockerfile, made: Converted) -> list[Json]:
    """The arguments that the needed stages declare, or take from above the first FROM.

    One that several stages declare is that of the target, or of the stage nearest to it.
    """
    found: dict[str, Json] = {}
    for plan in _from_target(made):
        for name, arg in _args_of(plan, definition, made).items():
            found.setdefault(name, arg)
    return _by_line(found[name] for name in sorted(found))


def _from_target(made: Converted) -> Iterator[StagePlan]:
    """The stages from the target on: each before its base, and that before what it reads from."""
    plans = {plan.stage.number: plan for plan in made.plans}
    pending, seen = [made.plans[-1].stage.number], set[int]()
    while pending:
        number = pending.pop()
        if number in seen:
            continue
        seen.add(number)
        plan = plans[number]
        yield plan
        table = made.states[number].conversion.table
        read = {stage.number for item in plan.instructions for stage in sources_of(item, table)}
        pending += sorted(read - {number}, reverse=True)
        if plan.stage.parent is not None and plan.base is None:
            pending.append(plan.stage.parent)


def _args_of(plan: StagePlan, definition: Dockerfile, made: Converted) -> dict[str, Json]:
    """The arguments of one stage: those of its FROM and of its bases', and those it declares."""
    given = definition.request.build_args
    above = {item.name: item for arg in definition.args for item in arg.names}
    state = made.states[plan.stage.number]
    variables = state.conversion.globals
    taken = [
        name
        for source in _froms(plan, made)
        for text in (source.image, source.platform)
        for name in _used(text, variables, definition)
    ]
    found: dict[str, Json] = {}
    for item in plan.instructions:
        for declared in item.names if isinstance(item, Arg) else ():
            name = declared.name
            if declared.default is None and name not in given and name in variables:
                taken.append(name)
            else:
                found[name] = _arg(declared, state.build_args.get(name))
    while taken:
        name = taken.pop()
        if name in above and name not in found:
            is_set = name in given or above[name].default is not None
            found[name] = _arg(above[name], variables.get(name) if is_set else None)
            if name not in given:  # then what its default is made of is taken too
                taken += _used(above[name].default or "", variables, definition)
    return found


def _froms(plan: StagePlan, made: Converted) -> Iterator[From]:
    """The FROM of a stage, that of the stage it is built on, and so on."""
    stage = plan.stage
    yield stage.source
    stages = made.states[stage.number].conversion.table.stages
    while stage.parent is not None and stage.context is None:
        stage = stages[stage.parent]
        yield stage.source


def _used(text: str, variables: Mapping[str, str], definition: Dockerfile) -> list[str]:
    """The names of the variables in a text that was expanded before."""
    span = Span(definition.request.source.name, 1, 1)
    return sorted(process_word(text, variables, span, definition.parsed.escape).used)


def _arg(declared: ArgName, value: str | None) -> Json:
    found = _without_empty(name=declared.name, description=declared.comment, value=value or "")
    return {**found, "location": _location(declared.span)}


def _wanted(name: str, required: bool, span: Span | None) -> Json:
    return _without_empty(name=name, required=required, location=_location(span))


def _each_once(wanted: list[Json], key: str) -> list[Json]:
    """Each name once, where the stage nearest to the target has it; required if any mount
    requires it."""
    found: dict[str, Json] = {}
    for item in wanted:
        first = found.setdefault(item[key], item)
        if item.get("required"):
            first["required"] = True
    return _by_line(found.values())


def _by_line(items: Iterable[Json]) -> list[Json]:
    return sorted(items, key=lambda item: item["location"]["ranges"][0]["start"]["line"])


def _first(span: Span | None) -> int:
    return span.first if span else 0


def _location(span: Span | None) -> Json:
    if span is None:
        return {}
    lines = ({"line": line} for line in range(span.first, span.last + 1))
    return {"ranges": [{"start": line, "end": line} for line in lines]}


def _without_empty(**members: Any) -> Json:
    return {name: value for name, value in members.items() if value not in ("", [], {}, False)}
