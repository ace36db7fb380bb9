"""Layers of the images: packed, files, and what later layers hide.

Comes in: `Facts`. Goes out: a table with bars for each image, and the files that are hidden, each
with the line to mend. Read next: `minibuild.imagetools.waste`; `files`.
"""

from minibuild.graph.lanes import familiar
from minibuild.imagetools.waste import Waste, advice, wasted
from minibuild.page.facts import Facts, ImageFacts, LayerFacts
from minibuild.page.markup import Html, line_link, plural, table, words
from minibuild.progress.quantity import bytes_text
from minibuild.startup.regex import regex

_MOST_HIDDEN = 12
_LINE = regex(r"\bline (\d+)")


def layers(found: Facts) -> Html:
    """The body of the section; empty if there is no image."""
    if not found.images:
        return "<p>The layers are not in this store.</p>" if found.build.outputs else ""
    return "".join(_image(image) for image in found.images)


def _image(image: ImageFacts) -> Html:
    used = image.usage
    packed = sum(layer.packed_bytes for layer in used.layers)
    share = f" ({100 * used.hidden_bytes / used.file_bytes:.0f} %)" if used.hidden_bytes else ""
    said = (
        f"<p>{words(str(image.image.platform))}: {plural(len(image.layers), 'layer')}, "
        f"{bytes_text(packed)} packed, {bytes_text(used.file_bytes)} of files, "
        f"{bytes_text(used.hidden_bytes)} of them hidden by later layers{share}.</p>"
    )
    most = max((layer.file_bytes for layer in used.layers), default=0) or 1
    rows = [
        [
            str(number),
            bytes_text(row.packed_bytes),
            bytes_text(row.file_bytes),
            bytes_text(row.hidden_bytes) if row.hidden_bytes else "",
            _bar(row.file_bytes, row.hidden_bytes, most),
            _made_by(layer),
        ]
        for number, (row, layer) in enumerate(zip(used.layers, image.layers, strict=True))
    ]
    header = ["layer", "packed", "files", "hidden", "", "made by"]
    shown = table("Layers, lowest first", header, rows, "layer packed files hidden")
    return said + shown + _hidden(image)


def _bar(files: int, hidden: int, most: int) -> Html:
    """The bytes of a layer; the hidden ones behind, in another colour and lower."""
    whole, lost = 100 * files / most, 100 * hidden / most
    seen = max(whole - lost, 0.5 if files > hidden else 0.0)
    return (
        '<svg class="bar" aria-hidden="true" width="100%" height="14">'
        f'<rect class="rest" y="1" width="{seen:.1f}%" height="12"/>'
        f'<rect class="hide" x="{seen:.1f}%" y="5" width="{lost:.1f}%" height="8"/></svg>'
    )


def _made_by(layer: LayerFacts) -> Html:
    where = f"{line_link(layer.step)} " if layer.step is not None and layer.step.line else ""
    return f'{where}<span class="m">{words(familiar(layer.origin.words))}</span>' + (
        " (base)" if layer.is_base else ""
    )


def _hidden(image: ImageFacts) -> Html:
    """What is hidden, by the lines to mend."""
    groups = wasted(image.usage)
    if not groups:
        return ""
    known = [layer.origin for layer in image.layers]
    items = [
        f"<li>{bytes_text(one.size_bytes)} of layer {one.layer}, {one.how} by layer {one.by}: "
        f"{_paths(one)}<br>{_linked(words(advice(one, known)))}</li>"
        for one in groups[:_MOST_HIDDEN]
    ]
    if len(groups) > _MOST_HIDDEN:
        items.append(f"<li>and {len(groups) - _MOST_HIDDEN} more</li>")
    return f"<p>Hidden, and in the image all the same:</p><ul>{''.join(items)}</ul>"


def _paths(waste: Waste) -> Html:
    shown = ", ".join(f'<span class="m">/{words(path)}</span>' for path in waste.paths)
    more = waste.files - len(waste.paths)
    return f"{shown} and {more:,} more" if more else shown


def _linked(said: Html) -> Html:
    """Lines of the Dockerfile as links."""
    return str(_LINE.sub(lambda found: f'<a href="#L{found[1]}">line {found[1]}</a>', said))
