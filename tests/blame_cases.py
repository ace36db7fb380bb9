"""Whether `why PATH` is right, for every path of an image: `python -m tests.blame_cases FOLDER`.

Comes in: folders of cases, each with a `Dockerfile`, a `context` and perhaps a `case.json`. Goes
out: how many paths were asked for, and each that was answered wrong. What is right is found out in
another way than by `record.blame`: the layers of the image are read with tarfile, the last one that
has a path made it, and the instructions of the Dockerfile that make layers are counted. For a copy
from the context the digest is that of the file there, and of the file in the image.
"""

import argparse
import hashlib
import io
import json
import os
import posixpath
import re
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import minibuild
from minibuild import BuildResult, Output
from minibuild.errors import BuildError
from minibuild.record.blame import Blame, Origin
from minibuild.record.lookup import known_parts
from minibuild.record.records import BuildRecord, BuildRecords
from minibuild.worker.worker import open_worker
from tests.support.images import Image, blob, read_image

MAKERS = re.compile(r"(?i)^\s*(RUN|COPY|ADD|WORKDIR)\b")
STAGE = re.compile(r"(?i)^\s*FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?")


class Case(NamedTuple):
    """A build to ask about."""

    name: str
    context: Path
    dockerfile: Path
    options: Mapping[str, Any]


class Outcome(NamedTuple):
    """How many paths were asked for; sentences about wrong answers; why nothing was asked."""

    paths: int = 0
    wrong: tuple[str, ...] = ()
    skipped: str = ""


def check(case: Case, root: str, folder: Path) -> Outcome:
    """Build a case, and compare the answers with what its layers say."""
    out, text = folder / "image", case.dockerfile.read_text(errors="replace")
    if re.search(r"(?im)^\s*(ONBUILD\b|#\s*escape=)", text):
        return Outcome(skipped="its instructions are not counted here")
    try:
        made = minibuild.build(
            str(case.context),
            file=str(case.dockerfile),
            root=root,
            outputs=[Output("image"), Output("oci", str(out), {"tar": "false"})],
            **case.options,
        )
    except BuildError as error:
        return Outcome(skipped=f"no image: {error}")
    if len(made.images) != 1:
        return Outcome(skipped="several images")
    lines = instruction_lines(text, case.options)
    return compare(case, made, str(out), lines, root)


def instruction_lines(text: str, options: Mapping[str, Any]) -> list[int]:
    """The lines of instructions that make layers of the target, those of its base stages first."""
    stages: dict[str, list[int]] = {}
    bases: dict[str, str] = {}
    name, heredoc, continued = "", "", False
    for number, line in enumerate(text.splitlines(), 1):
        if heredoc:
            heredoc = "" if line.strip() == heredoc else heredoc
        elif continued:
            continued = line.rstrip().endswith("\\") or line.lstrip().startswith("#")
        elif found := STAGE.match(line):
            name = (found[2] or str(len(stages))).lower()
            stages[name], bases[name] = [], found[1].lower()
        elif not line.lstrip().startswith("#"):
            if MAKERS.match(line) and name in stages:
                stages[name].append(number)
            if opened := re.search(r"<<-?[\"']?(\w+)", line):
                heredoc = opened[1]
            continued = line.rstrip().endswith("\\")
    wanted = str(options.get("target") or name).lower()
    found_lines: list[int] = []
    while wanted in stages:
        found_lines = stages[wanted] + found_lines
        wanted = bases[wanted] if bases[wanted] != wanted else ""
    return found_lines


def compare(case: Case, made: BuildResult, layout: str, lines: list[int], root: str) -> Outcome:
    """All paths of an image, asked for and answered."""
    image = read_image(layout)
    below = len(image.layers) - len(lines)
    if below < 0:
        return Outcome(skipped="an instruction made no layer")
    made_by = makers_of(image, layout)
    wrong = []
    with open_worker(root) as worker:
        build = next(b for b in BuildRecords(root).all() if image_digests(b) & set(digests(made)))
        (output,) = build.outputs
        blame = Blame(worker, build, known_parts(worker.cache, build))
        paths = [p for p in sorted(image.files) if p]
        asked = [p for p in paths if max(made_by.get(p, [-1])) >= below] + paths[:5]
        for path in asked:
            numbers = made_by.get(path, [-1])
            expected = [lines[number - below] if number >= below else 0 for number in numbers]
            way = list(blame.way(build.steps[output["vertex"]], path))
            wrong += [f"/{path}: {w}" for w in problems(case, image, path, way, expected)]
    return Outcome(len(asked), tuple(wrong))


def image_digests(build: BuildRecord) -> set[str]:
    """The images of a build."""
    return {digest for output in build.outputs for digest in output.get("digests", ())}


def digests(made: BuildResult) -> list[str]:
    """The images that were made."""
    return [image.digest for image in made.images]


def makers_of(image: Image, layout: str) -> dict[str, list[int]]:
    """The layers that may be said to have made each path: of a folder the first; of a file the
    last, and those before it that had it with the same data."""
    found: dict[str, tuple[list[int], object]] = {}
    for number, layer in enumerate(image.manifest["layers"]):
        packed = io.BytesIO(blob(layout, layer["digest"]))
        tar = tarfile.open(fileobj=packed)  # noqa: SIM115
        members = [(posixpath.normpath(m.name), m) for m in tar.getmembers()]
        for name, _ in members:
            above, base = posixpath.split(name)
            if base == ".wh..wh..opq":
                drop_below(found, above)
            elif base.startswith(".wh."):
                drop_below(found, gone := posixpath.join(above, base.removeprefix(".wh.")))
                found.pop(gone, None)
        for name, member in members:
            if posixpath.basename(name).startswith(".wh."):
                continue
            if not member.isdir():
                drop_below(found, name)
            file = tar.extractfile(member) if member.isreg() or member.islnk() else None
            data: object = file.read() if file else (member.type, member.linkname)
            numbers, before = found.get(name, (list[int](), None))
            if member.isdir() and numbers and before == data:
                continue
            found[name] = [*numbers, number] if before == data else [number], data
    return {path: numbers for path, (numbers, _) in found.items()}


def drop_below(found: dict[str, tuple[list[int], object]], folder: str) -> None:
    """Forget all that is in a folder."""
    for path in [path for path in found if path.startswith(f"{folder}/")]:
        del found[path]


def problems(
    case: Case, image: Image, path: str, way: list[Origin], expected: list[int]
) -> Iterator[str]:
    """What is wrong with an answer."""
    if not way:
        yield "no answer"
        return
    first, last = way[0], way[-1]
    line = first.step.line if first.step and first.where == "step" else 0
    if line not in expected:
        yield f"line {line}, and the layers say {expected}"
    if last.where == "lost" or any(origin.gone for origin in way):
        yield f"{last.where}, gone: {last.gone}"
    if last.where == "context" and not last.words.startswith("dir"):
        yield from digest_problems(case, image, path, last)


def digest_problems(case: Case, image: Image, path: str, origin: Origin) -> Iterator[str]:
    """Whether the file that is named is the one that was copied."""
    assert origin.step is not None
    name = str(origin.step.source.get("name", ""))
    contexts = case.options.get("contexts", {})
    top = case.context if name == "context" else Path(contexts[name.removeprefix("context:")])
    source = top / origin.path.strip("/")
    file = image.files[path]
    if source.is_symlink():
        if os.fsencode(os.readlink(source)) != file.data:
            yield f"{source} has another target"
    elif source.is_file():
        data = source.read_bytes()
        if data != file.data:
            yield f"{origin.path} has other contents"
        if not origin.words.endswith(hashlib.sha256(data).hexdigest()[-16:]):
            yield f"the digest is not that of {origin.path}: {origin.words}"
    else:
        yield f"{source} is no file"


# --- As a program ---


def cases_in(folder: Path, images: Path | None) -> Iterator[Case]:
    """The cases of a folder that say nothing of platforms, secrets and errors."""
    refs = image_refs(images)
    for path in sorted(folder.iterdir()):
        said = json.loads((path / "case.json").read_text()) if (path / "case.json").exists() else {}
        context, dockerfile = path / "context", path / said.get("dockerfile", "Dockerfile")
        if said.get("expect_error") or said.get("secrets") or said.get("platform"):
            continue
        if not context.is_dir() or not dockerfile.is_file():
            continue
        contexts = {**refs, **{n: str(path / v) for n, v in said.get("contexts", {}).items()}}
        options = {"contexts": contexts, "build_args": said.get("args", {})}
        yield Case(path.name, context, dockerfile, {**options, "target": said.get("target") or ""})


def image_refs(images: Path | None) -> dict[str, str]:
    """The images of an OCI layout, as named contexts."""
    if images is None:
        return {}
    index = json.loads((images / "index.json").read_text())
    names = [m["annotations"]["org.opencontainers.image.ref.name"] for m in index["manifests"]]
    return {name.removesuffix(":latest"): f"oci-layout://{images}:{name}" for name in names}


def main() -> int:
    """Ask about all cases of a folder; the exit code is 1 if an answer is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.blame_cases")
    parser.add_argument("folder", type=Path, help="of cases")
    parser.add_argument("--images", type=Path, help="an OCI layout with the base images")
    parser.add_argument("--native", action="store_true", help="with snapshots that are copies")
    parser.add_argument("--only", default="", help="cases whose names match this expression")
    options = parser.parse_args()
    if options.native:
        from minibuild.snapshot import select
        from minibuild.snapshot.native import NativeSnapshotter

        select.open_snapshotter = lambda store, *_: NativeSnapshotter(store)
    asked = cases = wrong = 0
    with tempfile.TemporaryDirectory() as top:
        for number, case in enumerate(cases_in(options.folder, options.images)):
            if not re.search(options.only, case.name):
                continue
            folder = Path(top, str(number))
            folder.mkdir()
            outcome = check(case, os.path.join(top, "store"), folder)
            asked, wrong = asked + outcome.paths, wrong + len(outcome.wrong)
            cases += not outcome.skipped
            print(f"{case.name:<44} {outcome.skipped or f'{outcome.paths} paths'}")
            for sentence in outcome.wrong:
                print(f"  {sentence}")
    print(f"{cases} cases, {asked} paths, {wrong} wrong answers")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
