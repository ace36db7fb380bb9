"""The whole page: what was built, the index, the pictures.

Comes in: `Facts`. Goes out: one document of HTML, which asks for nothing: its policy forbids every
request and every script. Read next: `source`.
"""

import time

from minibuild.errors import StoreError
from minibuild.exporter.destination import open_file
from minibuild.graph.svg import svg
from minibuild.page.facts import Facts, facts
from minibuild.page.layers import files, layers
from minibuild.page.markup import (
    Html,
    details,
    line_link,
    plural,
    seconds,
    section,
    state,
    table,
    words,
)
from minibuild.page.merges import merges
from minibuild.page.source import source
from minibuild.page.style import style_sheet
from minibuild.page.timeline import timeline
from minibuild.record.recorder import place_of
from minibuild.record.records import BuildRecord, BuildRecords, RecordedStep
from minibuild.session.request import BuildRequest
from minibuild.worker.worker import Worker

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)
_MOST_DRAWN = 150
_CAUSES = 5


def document(found: Facts) -> Html:
    """The page of a build."""
    name = title(found.build)
    parts = [
        ("dockerfile", "Dockerfile" if found.build.text else "Steps", source(found)),
        ("timeline", "Timeline", timeline(found)),
        ("graph", "Graph", _graph(found.build)),
        ("merges", "Merges", merges(found)),
        ("layers", "Layers", layers(found)),
        ("files", "Files", files(found)),
    ]
    parts = [part for part in parts if part[2]]
    links = "".join(f'<li><a href="#{name}">{heading}</a></li>' for name, heading, _ in parts)
    return "\n".join(
        (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{name}</title><style>{style_sheet()}</style></head><body>",
            f"<header><h1>{name}</h1>{summary(found)}",
            f'<nav aria-label="Sections"><ul>{links}</ul></nav></header><main>',
            *(section(*part) for part in parts),
            "</main></body></html>\n",
        )
    )


def title(build: BuildRecord) -> Html:
    """What a build is called."""
    made = ", ".join(build.tags) or str(build.data.get("target", "")) or "a Dockerfile"
    return f"{'Failed build' if build.error else 'Build'} of {words(made)}"


# --- The head ---


def summary(found: Facts) -> Html:
    """What came of the build, in a few lines."""
    build, against = found.build, found.story.against
    total, ran = sum(step.is_step for step in build.steps), len(build.ran)
    chain = sum(step.seconds for step in found.chain)
    said = f"{ran} of {plural(total, 'step')} ran, {seconds(build.seconds)}"
    if ran:
        said += f", of which {seconds(chain)} on the longest chain"
    parts = [f"<p><strong>{said}</strong></p>"]
    if build.error:
        parts.append(f'<p class="error">{words(build.error)}</p>')
    if build.again:
        parts.append(f"<p>Built again on {_date(build.used)}: all steps were cached.</p>")
    rows = [("built", _date(build.started)), ("of", words(build.context))]
    for output in build.outputs:
        digest = next(iter(output.get("digests", ())), "")
        rows.append(
            (words(output.get("platform", "image")), f'<span class="m">{words(digest)}</span>')
        )
    rows += [
        ("build argument", words(f"{name}={value}"))
        for name, value in build.data.get("build_args", {}).items()
    ]
    rows.append(("record", words(build.id)))
    if against is not None:
        rows.append(("compared with", f"build {words(against.id)} of {_date(against.started)}"))
    parts.append("<dl>" + "".join(f"<dt>{k}</dt><dd>{v}</dd>" for k, v in rows) + "</dl>")
    causes = [
        f"{line_link(told.step)}: {words(str(cause))}"
        for told in found.story.told
        for cause in told.causes
    ]
    if causes and against is not None:
        shown = "".join(f"<li>{cause}</li>" for cause in causes[:_CAUSES])
        more = f"<li>and {len(causes) - _CAUSES} more</li>" if len(causes) > _CAUSES else ""
        parts.append(f"<p>Why steps ran:</p><ul>{shown}{more}</ul>")
    return "".join(parts)


def _date(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(moment))


# --- The graph ---


def _graph(build: BuildRecord) -> Html:
    drawn = [step for step in build.steps if step.kind != "local"]
    if not drawn:
        return ""
    rows = [
        [str(step.number), words(step.kind), line_link(step), state(step) if step.is_step else "",
         words(step.stage), " ".join(str(i) for i in step.inputs if i is not None)]
        for step in build.steps[:500]
    ]  # fmt: skip
    header = ["vertex", "kind", "step", "state", "stage", "made from"]
    listed = details("the same as a table", table("Vertices", header, rows, "vertex"))
    if len(drawn) > _MOST_DRAWN:
        return f"<p>{len(drawn)} vertices are too many for a picture.</p>{listed}"
    graph = {
        "vertices": [_vertex(step) for step in build.steps],
        "images": [{"vertex": made.get("vertex")} for made in build.outputs],
    }
    picture = svg(graph, lambda v: f"#L{v['line']}" if v["line"] else "", apart=False)
    return (
        "<p>A lane for each stage, or a box of each if they are many. What a step is made from "
        'stands above it; a strong border is the image.</p><div class="graph" tabindex="0" '
        'role="region" aria-label="Graph of the build">'
        f"{picture}</div>{listed}"
    )


def _vertex(step: RecordedStep) -> dict[str, object]:
    return {
        "id": step.number, "kind": step.kind, "name": step.name, "stage": step.stage,
        "line": step.line or None, "inputs": step.inputs, "op": step.source,
        "state": step.state if step.is_step else "",
    }  # fmt: skip


# --- The page as a file ---


def page_of(worker: Worker, build: BuildRecord) -> str:
    """The page of a build, compared with the one before it."""
    return document(facts(worker, BuildRecords(worker.store.root), build))


def write_page(worker: Worker, build: BuildRecord, path: str) -> None:
    """Write the page of a build."""
    page = page_of(worker, build)
    with open_file(path) as file:
        file.write(page.encode(errors="replace"))


def write_newest(worker: Worker, request: BuildRequest, since: float, path: str) -> None:
    """Write the page of a build that began since then, or was found to be the same as before."""
    newest = next(iter(BuildRecords(worker.store.root).of_place(place_of(request))), None)
    if newest is None or max(newest.started, newest.used) < since:
        raise StoreError(
            f"there is no record of the build to make {path} from",
            hint="records are kept in the folder `builds` of the store: see `minibuild doctor`",
        )
    write_page(worker, newest, path)
