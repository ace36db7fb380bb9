"""All commands by name: where each lives, and what it does in a few words.

Data only, so that `minibuild --help` and shell completion know them without loading any.
"""

from collections.abc import Mapping
from importlib import import_module

from minibuild.cli.command import Command
from minibuild.startup.tuples import NamedTuple


class Entry(NamedTuple):
    """The module of a command (in `minibuild.cli`), and its summary."""

    module: str
    summary: str


CATALOGUE: Mapping[str, Entry] = {
    "build": Entry("build", "build an image from a Dockerfile"),
    "serve": Entry("serve", "build for docker buildx, docker compose and buildctl"),
    "buildkitd": Entry("buildkitd", "serve, with the flags and settings of BuildKit's daemon"),
    "verify": Entry("verify", "build twice, and name the first step and file that differ"),
    "run": Entry("run", "run a command in a fresh, writable view of an image"),
    "image ls": Entry("image", "list the images in the store"),
    "image inspect": Entry("image", "show the manifest and config of images"),
    "image tag": Entry("image", "give an image one more name"),
    "image rm": Entry("image", "remove names; what no name needs goes with `prune`"),
    "image pull": Entry("image_registry", "fetch images from registries"),
    "image push": Entry("image_registry", "send an image of the store to registries"),
    "image copy": Entry("image_registry", "copy an image from registry to registry"),
    "image history": Entry("image_look", "show how an image came about"),
    "image diff": Entry("image_look", "compare two images: files, layers, configs"),
    "image tree": Entry("image_tree", "show where the bytes are, and what is hidden"),
    "image layer": Entry("image_layer", "show one layer three ways: tar, upperdir, links"),
    "image validate": Entry("image_look", "read all of an image, and say what is wrong"),
    "image attestations": Entry("image_attestations", "show what a build said of its image"),
    "image append": Entry("image_edit", "put tars on top of an image, as layers"),
    "image rebase": Entry("image_edit", "swap the base of an image, without building"),
    "image flatten": Entry("image_edit", "make one layer of all layers"),
    "image squash": Entry("image_edit", "make one layer of those above the base"),
    "image config": Entry("image_config", "change how an image is to be run, without building"),
    "image index": Entry("image_index", "one name for images of several platforms"),
    "image import": Entry("image_import", "make an image of one layer from a tar"),
    "image save": Entry("image_files", "write images to an archive or OCI layout"),
    "image load": Entry("image_files", "read images from an archive or OCI layout"),
    "login": Entry("login", "log in to a registry, and keep the login"),
    "logout": Entry("login", "forget the login for a registry"),
    "cache-mount ls": Entry("cache_mount", "list the directories of RUN --mount=type=cache"),
    "cache-mount show": Entry("cache_mount", "show what is in a cache mount"),
    "cache-mount export": Entry("cache_mount", "write cache mounts to a registry or a folder"),
    "cache-mount import": Entry("cache_mount", "fill cache mounts from a registry or a folder"),
    "cache-mount rm": Entry("cache_mount", "remove cache mounts from the store"),
    "why": Entry("why", "say why steps ran again, and where a file comes from"),
    "builds ls": Entry("builds", "list what was built"),
    "builds show": Entry("builds", "show the steps, times and images of a build"),
    "builds logs": Entry("builds", "show the log of a build again, also of cached steps"),
    "builds diff": Entry("builds", "compare two builds: steps, causes, images"),
    "builds export": Entry("builds", "write the record of a build to a file"),
    "merge-trace": Entry("merge_trace", "show what a merge did to each path, and why"),
    "du": Entry("du", "show what the store holds and how much room it takes"),
    "prune": Entry("prune", "remove what nothing needs any more"),
    "doctor": Entry("doctor", "check what this machine can do, and say how to mend it"),
    "lab": Entry("lab", "reproduce defects of merges, with the fix and without"),
    "lab try": Entry("lab_try", "work out a merge or diff of small trees, by a model and for real"),
    "lab learn": Entry("lab_learn", "set the exercise of a lesson of the course"),
    "lab check": Entry("lab_learn", "mark the exercise of a lesson"),
    "version": Entry("version", "show the version of this program and what it runs on"),
    "completion": Entry("completion", "print a completion script for bash, zsh or fish"),
}

DOCKERS: Mapping[str, str] = {
    "images": "image ls",
    "rmi": "image rm",
    **{name: f"image {name}" for name in "history import load pull push save tag".split()},
}
"""The names that docker has for commands about images."""

ALIASES: Mapping[str, str] = {
    **DOCKERS,
    "b": "build",
    "bud": "build",  # as buildah calls it
    "buildx b": "build",
    "buildx build": "build",
    "builder build": "build",
    "image build": "build",
    "image list": "image ls",
    "image remove": "image rm",
    "builder prune": "prune",
    "buildx prune": "prune",
    "buildx du": "du",
    "builds": "builds ls",
    "builds list": "builds ls",
}
"""All other names of commands."""


def load(name: str) -> Command:
    """Import the command `name` of the catalogue."""
    module = import_module(f"minibuild.cli.{CATALOGUE[name].module}")
    commands: Mapping[str, Command] = module.COMMANDS
    return commands[name]
