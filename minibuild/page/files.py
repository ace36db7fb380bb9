"""The files of the images: which line made each, and of what it is a copy.

Comes in: `Facts`. Goes out: a tree of the files above the base, the largest of them if they are
many, with a bar for the size of each. Read next: `minibuild.record.blame`.
"""

from collections.abc import Iterator, Sequence

from minibuild.page.facts import Facts, FileFacts, ImageFacts
from minibuild.page.markup import Html, line_link, plural, table, text, words
from minibuild.progress.quantity import bytes_text
from minibuild.record.blame import CopySource

_MOST = 300
"""A row takes some 200 bytes, and a page is to stay below 200 kB."""


def files(found: Facts) -> Html:
    """The body of the section; empty if there is no image."""
    return "".join(map(_image, found.images))


def _image(image: ImageFacts) -> Html:
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
