"""What was built, in a few lines for a person.

Comes in: a `BuildResult`. Goes out: lines: names and digest, size, a table of the layers with the
instruction that made each, and how to run something in the image. Read next: `build`.
"""

import os

from minibuild.cli.table import one_line, short_id
from minibuild.graph.platform import host_platform, matches
from minibuild.graph.reference import parse_reference
from minibuild.progress.quantity import bytes_text
from minibuild.session.request import BuildRequest, BuildResult, BuiltImage


def summary(request: BuildRequest, result: BuildResult, seconds: float) -> list[str]:
    """The lines. An image for another platform is not offered to be run."""
    stored = not request.outputs or any(output.type == "image" for output in request.outputs)
    lines = [_counts(result, seconds)]
    if request.lab:
        lines.append(f"built with the defect {request.lab}, and marked so: not for use")
    for image in result.images:
        lines += ["", *_image(image, result, several=len(result.images) > 1)]
    if stored and any(matches(host_platform(), image.platform) for image in result.images):
        if result.tags:
            name = parse_reference(result.tags[0]).familiar
            lines += ["", f"run a command in it:  minibuild run {name} COMMAND"]
        else:
            lines += ["", "give it a name to find it again and to run it:  build with -t NAME"]
    lines += _written(request)
    return lines


def _counts(result: BuildResult, seconds: float) -> str:
    steps = result.cached + result.executed
    cached = f", {result.cached} from the cache" if result.cached else ""
    return f"built in {seconds:.1f}s: {steps} step{'s' if steps != 1 else ''}{cached}"


def _image(image: BuiltImage, result: BuildResult, *, several: bool) -> list[str]:
    total = sum(layer.size_bytes for layer in image.layers)
    lines = []
    if several:
        lines.append(f"platform  {image.platform}")
    lines += [f"image     {parse_reference(tag).familiar}" for tag in result.tags]
    lines.append(f"digest    {image.digest}")
    count = len(image.layers)
    lines.append(f"size      {bytes_text(total)} in {count} layer{'s' if count != 1 else ''}")
    if image.layers:
        lines.append("")
        lines.append(f"  {'layer':<12}  {'size':>9}  instruction")
    for layer in image.layers:
        words = one_line(instruction(layer.instruction), 68)
        link = "  (link)" if layer.link else ""
        short = short_id(layer.digest)
        lines.append(f"  {short:<12}  {bytes_text(layer.size_bytes):>9}  {words}{link}".rstrip())
    return lines


def instruction(created_by: str) -> str:
    """The instruction as a person wrote it, from the words of the image's history."""
    words = " ".join(created_by.split()).removesuffix(" # buildkit")
    return words.replace("RUN /bin/sh -c ", "RUN ", 1) if words.startswith("RUN ") else words


def _written(request: BuildRequest) -> list[str]:
    return [
        f"written to {dest} (type={output.type})"
        for output in request.outputs
        if (dest := os.fspath(output.dest)) not in ("", "-") and not dest.startswith("/dev/fd/")
    ]
