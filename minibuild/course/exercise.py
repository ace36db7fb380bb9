"""What an exercise is, and what is known of an answer when it is marked. Read next: `exercises`."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence

from minibuild.layer.layer import Layer
from minibuild.record.image_builds import image_of
from minibuild.record.records import BuildRecord, BuildRecords
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.worker import Worker


class Requirement(NamedTuple):
    """One thing that an answer must be, in words; and whether it is."""

    right: bool
    said: str


class CommandRun(NamedTuple):
    """A command of minibuild that was run to mark an answer: its exit code and its output."""

    code: int
    output: str


class NotReady(Exception):
    """There is nothing to mark yet; the message says what to do first."""


class Submission(NamedTuple):
    """The folder of an exercise, and the store in which it was built; `ran` are the commands of the
    exercise."""

    folder: str
    worker: Worker
    ran: Sequence[CommandRun]

    def built(self, target: str = "") -> BuildRecord:
        """The newest build of the folder that went well. Raises `NotReady`."""
        for build in BuildRecords(self.worker.store.root).all():
            here = os.path.realpath(build.context) == os.path.realpath(self.folder)
            if here and build.data.get("target", "") == target and not build.error:
                self._insist_on_this_text(build)
                return build
        flag = f" --target {target}" if target else ""
        raise NotReady(f"build it first: minibuild build{flag} {self.name}")

    def layers(self, build: BuildRecord) -> Sequence[Layer]:
        """The layers of its image, lowest first. Raises `NotReady`."""
        for output in build.outputs:
            if (image := image_of(self.worker.content, output)) is not None:
                return image.layers
        raise NotReady(f"the image is no longer in the store: minibuild build {self.name}")

    def text(self, name: str) -> str:
        """A file of the folder. Raises `NotReady`."""
        try:
            with open(os.path.join(self.folder, name), encoding="utf-8") as file:
                return file.read()
        except (OSError, UnicodeDecodeError) as error:
            raise NotReady(f"{self.name}/{name} cannot be read: {error}") from error

    @property
    def name(self) -> str:
        """The folder, as its owner calls it."""
        return os.path.basename(os.path.abspath(self.folder))

    def _insist_on_this_text(self, build: BuildRecord) -> None:
        if self.text("Dockerfile") != build.text:
            raise NotReady("the Dockerfile was changed after the build: build it again")


class Exercise(NamedTuple):
    """One exercise. `files` are those of its folder; `task` is what to do; `commands` are run in
    the folder before the answer is marked."""

    number: int
    title: str
    task: str
    files: Mapping[str, str]
    check: Callable[[Submission], Iterator[Requirement]]
    commands: Sequence[Sequence[str]] = ()

    def mark(self, answer: Submission) -> list[Requirement]:
        """All that is to be said of an answer."""
        try:
            return list(self.check(answer))
        except NotReady as error:
            return [Requirement(False, str(error))]
