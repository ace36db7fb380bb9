"""A result as a notebook shows it: what was built, and its layers.

Comes in: a `BuildResult`. Goes out: HTML without a script, in the colours of the notebook. Of the
build itself there is a page, `report_file`. Read next: `minibuild.progress.notebook`.
"""

from html import escape
from typing import TYPE_CHECKING

from minibuild.progress.lines import clean, without_colours
from minibuild.progress.quantity import bytes_text

if TYPE_CHECKING:
    from minibuild.session.request import BuildResult, BuiltImage

_CELLS = 100
_LIBRARY = "docker.io/library/"
_STYLE = "text-align:left;font-family:monospace;white-space:pre-wrap;vertical-align:top"


def result_html(result: "BuildResult") -> str:
    """The summary of a build."""
    names = ", ".join(_text(tag.removeprefix(_LIBRARY)) for tag in result.tags) or "no name"
    steps = f"steps: {result.executed} ran, {result.cached} came from the cache"
    parts = [f"<p><strong>{names}</strong> {_text(result.digest or '')}<br>{steps}</p>"]
    parts += [_image(image) for image in result.images]
    if result.findings:
        found = "".join(
            f"<li>{_text(one.rule)}: {_text(one.message)}</li>" for one in result.findings
        )
        parts.append(f"<ul>{found}</ul>")
    return "".join(parts)


def _image(image: "BuiltImage") -> str:
    packed = sum(layer.size_bytes for layer in image.layers)
    head = f"{image.platform}, layers: {len(image.layers)}, {bytes_text(packed)} packed"
    rows = "".join(
        f'<tr><td style="text-align:right">{bytes_text(layer.size_bytes)}</td>'
        f'<td style="{_STYLE}">{_text(layer.instruction)}{" (link)" * layer.link}</td></tr>'
        for layer in image.layers
    )
    return (
        f"<p>{_text(head)}</p><table><thead><tr><th>size</th>"
        f'<th style="text-align:left">instruction</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _text(text: str) -> str:
    line = " ".join(without_colours(clean(text)).split())
    return escape(line if len(line) <= _CELLS else f"{line[: _CELLS - 1]}…")
