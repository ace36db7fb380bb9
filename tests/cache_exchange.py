"""Caches between minibuild and a BuildKit: how many steps are found, and whether they are right.

Comes in: the address of a buildkitd, and a conformance suite (see the Makefile). Goes out: for both
directions the share of the steps that the reader found in what the other one wrote; each step that
it did not find; and each image that is not what a build without a cache gives.

    python -m tests.cache_exchange --addr unix:///run/buildkit/buildkitd.sock [CASE...]
    python -m tests.cache_exchange --addr ... --edits 100 --seed 7

Without `--edits` the reader builds just what the writer built. With it, a project is edited at
random before it is read: its files, arguments, instructions, its base. What BuildKit then finds in
its own cache is what there is to find. A step that is found beyond that is not wrong by itself, but
listed. Wrong is an image that differs from what a build without any cache makes.

The daemon is pruned again and again, so give one that is there for this alone.
"""

import argparse
import importlib.util
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.cache_edits import edit

CHECKOUT = Path(__file__).parent.parent
SUITE = CHECKOUT.parent / "shared/conformance"

Steps = Counter[str]


class Built(NamedTuple):
    """How a build ended: its steps, those of them that were found, and the image."""

    steps: Steps
    found: Steps
    image: Any
    output: str

    @property
    def missed(self) -> Steps:
        return self.steps - self.found


class Places(NamedTuple):
    """Where caches lie: a folder, or a name in a registry."""

    folder: Path
    registry: str
    mode: str

    def write(self, writer: str) -> str:
        """The value of a flag that writes."""
        if self.registry and self.mode == "inline":
            return "type=inline"
        if self.registry:
            return f"type=registry,ref={self._name(writer)},mode={self.mode}"
        return f"type=local,dest={self.folder / writer},mode={self.mode}"

    def read(self, writer: str) -> str:
        """The value of a flag that reads what a writer wrote."""
        if self.registry:
            return f"type=registry,ref={self._name(writer)}"
        return f"type=local,src={self.folder / writer}"

    def push(self, writer: str) -> str:
        """The name that an image is to be pushed to, whose config is the cache."""
        return self._name(writer) if self.registry and self.mode == "inline" else ""

    def _name(self, writer: str) -> str:
        return f"{self.registry}/exchange/{writer}:latest"

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)


class Exchange:
    """Builds of cases by both builders, each in a place where nothing was built before."""

    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        self.suite = _module(options.suite / "conformance.py")
        self.images = options.suite / "images"
        self.places = Places(work / "caches", options.registry, options.mode)
        self._options = options
        self._state = work / "state"
        self._bases = self.suite.Bases(self.images)

    def minibuild(self, job: Any, read: str = "", write: str = "", push: str = "") -> Built:
        """A build in an empty store."""
        shutil.rmtree(self._state, ignore_errors=True)
        self._state.mkdir()
        command = [*self._options.minibuild, "build", "--progress=rawjson", "-f", job.dockerfile]
        command += _pairs("--build-arg", job.case.args) + _pairs("--label", job.case.labels)
        for flag, value in (("--target", job.case.target), ("--platform", job.case.platform)):
            command += [flag, value] if value else []
        for name, ref in self._bases_for(job).items():
            command += ["--build-context", f"{name}=oci-layout://{self.images}:{ref}"]
        command += _pairs("--build-context", job.contexts)
        command += [f"--secret=id={name},src={path}" for name, path in job.secrets.items()]
        command += [f"--cache-from={read}"] if read else []
        command += [f"--cache-to={write}"] if write else []
        command += [f"--output=type=registry,name={push}"] if push else []
        return self._run([*command, f"--output=type=oci,dest={job.archive}", job.context], job)

    def buildkit(self, job: Any, read: str = "", write: str = "", push: str = "") -> Built:
        """A build by a daemon that has forgotten all."""
        control = [self._options.buildctl, "--addr", self._options.addr]
        subprocess.run([*control, "prune", "--all"], check=True, stdout=subprocess.DEVNULL)
        command = [*control, "build", "--frontend=dockerfile.v0", "--progress=rawjson"]
        command += [f"--local=context={job.context}", f"--local=dockerfile={job.dockerfile.parent}"]
        said = {"filename": job.dockerfile.name, "target": job.case.target}
        said |= {"platform": job.case.platform}
        said |= {f"build-arg:{key}": value for key, value in job.case.args.items()}
        said |= {f"label:{key}": value for key, value in job.case.labels.items()}
        layouts = self._bases_for(job)
        for name, value in job.contexts.items():
            if value.startswith("oci-layout://"):
                layouts[name] = value.removeprefix(f"oci-layout://{self.images}:")
            else:
                command += [f"--local={name}={value}"]
                said[f"context:{name}"] = f"local:{name}"
        for name, ref in layouts.items():
            digest = self.suite.image_digest(self.images, ref)
            said[f"context:{name}"] = f"oci-layout://base@{digest}"
        command += _pairs("--opt", {key: value for key, value in said.items() if value is not None})
        command += [f"--oci-layout=base={self.images}"]
        command += [f"--secret=id={name},src={path}" for name, path in job.secrets.items()]
        command += [f"--import-cache={read}"] if read else []
        command += [f"--export-cache={write}"] if write else []
        command += [f"--output=type=image,name={push},push=true"] if push else []
        return self._run([*command, f"--output=type=oci,dest={job.archive}"], job)

    def _bases_for(self, job: Any) -> dict[str, str]:
        """The images of the suite by the names that Dockerfiles have for them."""
        refs: Sequence[str] = self.suite.image_refs(self.images)
        named = {ref.removesuffix(":latest"): ref for ref in refs}
        return {name: ref for name, ref in named.items() if name not in job.contexts}

    def _run(self, command: Sequence[Any], job: Any) -> Built:
        job.archive.unlink(missing_ok=True)
        environment = {**os.environ, "MINIBUILD_ROOT": str(self._state)}
        done = subprocess.run(
            [str(word) for word in command],
            env=environment, stdin=subprocess.DEVNULL, capture_output=True,
            encoding="utf-8", errors="replace",
        )  # fmt: skip
        output = done.stdout + done.stderr
        image = None
        if done.returncode == 0:
            read = self.suite.read_image(job.archive, None, job.case.platform)
            image = self.suite.describe(read, self._bases)
            # Whether an empty member is there makes no difference.
            image["config"] = {key: value for key, value in image["config"].items() if value}
        return Built(*steps_of(output), image, output)


_STEP = re.compile(r"\[([^\]]*?) *(?:\d+/\d+)?\] ((?:RUN|COPY|ADD|WORKDIR)\b.*)", re.DOTALL)


def step_name(name: str) -> str | None:
    """The name of a step without its number, in which builders differ; None if it is no step."""
    match = _STEP.fullmatch(name)
    return None if match is None else f"{match[1]}: {match[2]}"


def steps_of(output: str) -> tuple[Steps, Steps]:
    """The steps in a log of rawjson, and those of them that were found."""
    names: dict[str, str] = {}
    found: set[str] = set()
    for line in output.splitlines():
        with suppress(ValueError, AttributeError):
            for vertex in json.loads(line).get("vertexes") or ():
                name = step_name(vertex["name"])
                if name is not None:
                    names[vertex["digest"]] = name
                if vertex.get("cached"):
                    found.add(vertex["digest"])
    return Counter(names.values()), Counter(n for digest, n in names.items() if digest in found)


def _pairs(flag: str, values: dict[str, str]) -> list[str]:
    return [f"{flag}={key}={value}" for key, value in values.items()]


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("conformance", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["conformance"] = module
    spec.loader.exec_module(module)
    return module


# --- What is measured -----------------------------------------------------------------------------


class Tally:
    """What a direction came to."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.steps = 0
        self.found = 0
        self.wrong = 0

    def add(self, case: str, read: Built, expected: Any, there: Steps) -> Iterator[str]:
        """Count a build; `there` are the steps that were to be found."""
        wanted = read.steps & there
        missed = wanted - read.found
        self.steps += wanted.total()
        self.found += wanted.total() - missed.total()
        for step in missed:
            yield f"{self._name} {case}: not found: {step[:150]!r}"
        for step in read.found - there:
            yield f"{self._name} {case}: more than BuildKit finds in its own: {step[:150]!r}"
        if read.image != expected:
            self.wrong += 1
            yield f"{self._name} {case}: WRONG: {_difference(expected, read)}"

    def __str__(self) -> str:
        share = 100 * self.found / max(1, self.steps)
        return (
            f"{self._name}: {self.found} of {self.steps} steps found ({share:.1f} %), "
            f"{self.wrong} images are wrong"
        )


def _difference(expected: Any, read: Built) -> str:
    if expected is None or read.image is None:
        return f"one build failed: {read.output[-300:]!r}"
    parts = [key for key in expected.keys() | read.image.keys() if expected[key] != read.image[key]]
    return "; ".join(f"{key}: {expected[key]!r:.500} and {read.image[key]!r:.500}" for key in parts)


def measure(exchange: Exchange, case: Any, work: Path, tallies: Sequence[Tally]) -> Iterator[str]:
    """Build a case with what the other builder made of it."""
    job = exchange.suite.prepare(case, work, exchange.images)
    ours, theirs = _written(exchange, job)
    if theirs.image is None or ours.image is None:
        failed = ours if ours.image is None else theirs
        yield f"{case.name}: not built: {failed.output[-300:]!r}"
        return
    places = exchange.places
    forward = exchange.minibuild(job, read=places.read("buildkit"))
    yield from tallies[0].add(case.name, forward, ours.image, forward.steps)
    back = exchange.buildkit(job, read=places.read("minibuild"))
    yield from tallies[1].add(case.name, back, theirs.image, back.steps)


def _written(exchange: Exchange, job: Any) -> tuple[Built, Built]:
    """Builds of a case by both that write caches."""
    places = exchange.places
    places.clear()
    ours = exchange.minibuild(job, write=places.write("minibuild"), push=places.push("minibuild"))
    theirs = exchange.buildkit(job, write=places.write("buildkit"), push=places.push("buildkit"))
    return ours, theirs


def measure_edited(
    exchange: Exchange, case: Any, work: Path, tallies: Sequence[Tally], rng: random.Random
) -> Iterator[str]:
    """Build a case that was edited with what both made of it before."""
    job = exchange.suite.prepare(case, work, exchange.images)
    if any(built.image is None for built in _written(exchange, job)):
        return
    refs = [ref.removesuffix(":latest") for ref in exchange.suite.image_refs(exchange.images)]
    args = dict(case.args)
    said = edit(rng, job.context, job.dockerfile, args, refs)
    job = _with_args(job, args)
    places = exchange.places
    clean = exchange.minibuild(job)
    if clean.image is None:
        return
    their_own = exchange.buildkit(job, read=places.read("buildkit"))
    forward = exchange.minibuild(job, read=places.read("buildkit"))
    back = exchange.buildkit(job, read=places.read("minibuild"))
    name = f"{case.name} ({said})"
    yield from tallies[0].add(name, forward, clean.image, their_own.found)
    yield from tallies[1].add(name, back, their_own.image, their_own.found)
    if their_own.image != clean.image:
        yield f"{name}: the builders do not agree: {_difference(clean.image, their_own)}"


def _with_args(job: Any, args: dict[str, str]) -> Any:
    from dataclasses import replace

    return replace(job, case=replace(job.case, args=args))


def main() -> int:
    """Measure what the command line asks for."""
    text = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=text)
    parser.add_argument("--addr", required=True, help="of the buildkitd")
    parser.add_argument("--buildctl", default="buildctl")
    parser.add_argument(
        "--minibuild", nargs="+", default=[str(Path(sys.executable).with_name("minibuild"))]
    )
    parser.add_argument("--suite", type=Path, default=SUITE)
    parser.add_argument("--mode", choices=("min", "max", "inline"), default="max")
    parser.add_argument("--registry", default="", help="host and port; inline needs one")
    parser.add_argument("--edits", type=int, default=0, metavar="N", help="edit N cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="exchange-") as folder:
        work = Path(folder)
        exchange = Exchange(options, work)
        return _measure_all(exchange, _cases(exchange, options), work, options)


def _cases(exchange: Exchange, options: argparse.Namespace) -> list[Any]:
    """The cases that build, without those that ask for no cache."""
    folders = sorted(path.parent for path in (options.suite / "cases").glob("*/case.json"))
    cases = [
        exchange.suite.Case.load(path)
        for path in folders
        if not options.cases or path.name in options.cases
    ]
    return [case for case in cases if not case.expect_error and not case.no_cache]


def _measure_all(
    exchange: Exchange, cases: Sequence[Any], work: Path, options: argparse.Namespace
) -> int:
    tallies = Tally("BuildKit to minibuild"), Tally("minibuild to BuildKit")
    if options.edits:
        rng = random.Random(options.seed)
        for _ in range(options.edits):
            lines = measure_edited(exchange, rng.choice(cases), work, tallies, rng)
            _print(lines)
    else:
        for case in cases:
            _print(measure(exchange, case, work, tallies))
    _print(map(str, tallies))
    return int(any(tally.wrong for tally in tallies))


def _print(lines: Iterator[str]) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
