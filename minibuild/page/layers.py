"""What is in the images: layers, what later ones hide, and files with the line that made each.

Comes in: `Facts`. Goes out: a table with bars for each image, and the files that are hidden, each
with the line to mend; and a tree of the files above the base, the largest of them if they are many.
Read next: `minibuild.imagetools.waste`, `minibuild.record.blame`.
"""

from collections.abc import Iterator, Sequence

from minibuild.graph.lanes import familiar
from minibuild.imagetools.waste import Waste, advice, wasted
from minibuild.page.facts import Facts, FileFacts, ImageFacts, LayerFacts
from minibuild.page.markup import Html, line_link, plural, table, text, words
from minibuild.progress.quantity import bytes_text
from minibuild.record.blame import CopySource
from minibuild.startup.regex import regex

_MOST_HIDDEN = 12
_LINE, _LINK = regex(r"\bline (\d+)"), r'<a href="#L\1">line \1</a>'


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
        f"{_paths(one)}<br>{_LINE.sub(_LINK, words(advice(one, known)))}</li>"
        for one in groups[:_MOST_HIDDEN]
    ]
    if len(groups) > _MOST_HIDDEN:
        items.append(f"<li>and {len(groups) - _MOST_HIDDEN} more</li>")
    return f"<p>Hidden, and in the image all the same:</p><ul>{''.join(items)}</ul>"


def _paths(waste: Waste) -> Html:
    shown = ", ".join(f'<span class="m">/{words(path)}</span>' for path in waste.paths)
    more = waste.files - len(waste.paths)
    return f"{shown} and {more:,} more" if more else shown


# --- Files ---


_MOST = 300
"""A row takes some 200 bytes, and a page is to stay below 200 kB."""


def files(found: Facts) -> Html:
    """The body of the section; empty if there is no image."""
    return "".join(map(_files_of, found.images))


def _files_of(image: ImageFacts) -> Html:
    ordered = sorted(image.files, key=lambda file: -file.size_bytes)
    chosen = sorted(ordered[:_MOST], key=lambda file: file.path.split("/"))
    below = [i for i in image.usage.tree.values() if i.entry.kind != "dir"]
    base = len(below) - len(image.files)
    said = [f"{plural(len(image.files), 'file')} above the base"]
    if base:
        said.append(f"{plural(base, 'file')} of the base are not listed")
    if len(ordered) > _MOST:
        rest = sum(file.size_bytes for file in ordered[_MOST:])
        said.append(
            f"the largest {_MOST} are shown, {len(ordered) - _MOST:,} more have {bytes_text(rest)}"
        )
    shown = f"<p>{'; '.join(said)}.</p>"
    if not chosen:
        return shown
    header = ["path", "bytes", "", "made by", "copy of"]
    return shown + table("Files", header, _rows(image, chosen), "bytes")


def _rows(image: ImageFacts, chosen: Sequence[FileFacts]) -> Iterator[Sequence[Html]]:
    sums: dict[str, int] = {}
    for file in chosen:
        for folder in _folders(file.path):
            sums[folder] = sums.get(folder, 0) + file.size_bytes
    most, seen = max(file.size_bytes for file in chosen) or 1, set[str]()
    for file in chosen:
        for folder in _folders(file.path):
            if folder not in seen:
                seen.add(folder)
                yield [_name(f"{folder}/"), bytes_text(sums[folder]), "", "", ""]
        step = image.layers[file.layer].step
        where = (
            line_link(step) if step is not None else words(image.layers[file.layer].origin.words)
        )
        yield [
            _name(file.path),
            bytes_text(file.size_bytes),
            f'<svg class="bar" aria-hidden="true" width="100%" height="10"><rect class="rest" '
            f'width="{max(100 * file.size_bytes / most, 0.5):.1f}%" height="10"/></svg>',
            where,
            "" if file.source is None else _source(file.source),
        ]


def _source(source: CopySource) -> Html:
    if source.step.kind == "local":
        path, context = words(source.path.lstrip("/")), words(source.step.context)
        return f'<span class="m">{path}</span> of {context}'
    return f'<span class="m">{words(source.path)}</span> of {line_link(source.step)}'


def _folders(path: str) -> list[str]:
    return [path[:place] for place, c in enumerate(path) if c == "/"]


def _name(path: str) -> Html:
    """The last name, indented by its depth."""
    depth = path.rstrip("/").count("/")
    name = path.rstrip("/").rpartition("/")[2] + ("/" if path.endswith("/") else "")
    return f'<span class="m" style="padding-left:{depth}em">{text(name[:200])}</span>'
