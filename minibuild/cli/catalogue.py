"""All commands by name: where each lives, and what it does in a few words.

Data only, so that `minibuild --help` and shell completion know them without loading any.
"""

from collections.abc import Mapping
from importlib import import_module

from minibuild.cli.command import Command
from minibuild.cli.parser import Parser
from minibuild.startup.tuples import NamedTuple


class Summary(NamedTuple):
    """The module of a command (in `minibuild.cli`), and its summary."""

    module: str
    summary: str


CATALOGUE: Mapping[str, Summary] = {
    "build": Summary("build", "build an image from a Dockerfile"),
    "serve": Summary("serve", "build for docker buildx, docker compose and buildctl"),
    "buildkitd": Summary("serve", "serve, with the flags and settings of BuildKit's daemon"),
    "verify": Summary("verify", "build twice, and name the first step and file that differ"),
    "run": Summary("run", "run a command in a fresh, writable view of an image"),
    "image ls": Summary("image", "list the images in the store"),
    "image inspect": Summary("image", "show the manifest and config of images"),
    "image tag": Summary("image", "give an image one more name"),
    "image rm": Summary("image", "remove names of images; `prune` then frees the space"),
    "image pull": Summary("image_registry", "fetch images from registries"),
    "image push": Summary("image_registry", "send an image of the store to registries"),
    "image copy": Summary("image_registry", "copy an image from registry to registry"),
    "image history": Summary("image_look", "show the instructions that made an image"),
    "image diff": Summary("image_look", "compare two images: files, layers, configs"),
    "image tree": Summary("image_tree", "show where the bytes are, and what is hidden"),
    "image layer": Summary("image_layer", "show one layer three ways: tar, upperdir, links"),
    "image validate": Summary("image_look", "read all of an image, and say what is wrong"),
    "image attestations": Summary("image_look", "show the provenance and SBOM of an image"),
    "image append": Summary("image_edit", "put tars on top of an image, as layers"),
    "image rebase": Summary("image_edit", "replace the base of an image, without building"),
    "image flatten": Summary("image_edit", "make one layer of all layers"),
    "image squash": Summary("image_edit", "make one layer of those above the base"),
    "image config": Summary("image_edit", "change the config of an image, without building"),
    "image index": Summary("image_edit", "make an index of images for several platforms"),
    "image import": Summary("image_files", "make an image of one layer from a tar"),
    "image save": Summary("image_files", "write images to an archive or OCI layout"),
    "image load": Summary("image_files", "read images from an archive or OCI layout"),
    "login": Summary("login", "log in to a registry, and keep the login"),
    "logout": Summary("login", "forget the login for a registry"),
    "cache-mount ls": Summary("cache_mount", "list the directories of RUN --mount=type=cache"),
    "cache-mount show": Summary("cache_mount", "show what is in a cache mount"),
    "cache-mount export": Summary("cache_mount", "write cache mounts to a registry or a folder"),
    "cache-mount import": Summary("cache_mount", "fill cache mounts from a registry or a folder"),
    "cache-mount rm": Summary("cache_mount", "remove cache mounts from the store"),
    "why": Summary("why", "say why steps ran again, and where a file comes from"),
    "builds ls": Summary("builds", "list what was built"),
    "builds show": Summary("builds", "show the steps, times and images of a build"),
    "builds logs": Summary("builds", "show the log of a build again, also of cached steps"),
    "builds diff": Summary("builds", "compare two builds: steps, causes, images"),
    "builds export": Summary("builds", "write the record of a build to a file"),
    "merge-trace": Summary("merge_trace", "show what a merge did to each path, and why"),
    "du": Summary("prune", "show what the store holds and how much space it takes"),
    "prune": Summary("prune", "remove what is no longer needed"),
    "doctor": Summary("doctor", "check what this machine can do, and say how to fix it"),
    "lab": Summary("lab", "reproduce defects of merges, with the fix and without"),
    "lab try": Summary(
        "lab_try", "work out a merge or diff of small trees, by a model and for real"
    ),
    "lab learn": Summary("lab_learn", "set the exercise of a lesson of the course"),
    "lab check": Summary("lab_learn", "mark the exercise of a lesson"),
    "version": Summary("version", "show the version of this program and what it runs on"),
    "completion": Summary("completion", "print a completion script for bash, zsh or fish"),
}

DOCKERS: Mapping[str, str] = {
    "images": "image ls",
    "rmi": "image rm",
    **{name: f"image {name}" for name in "history import inspect load pull push save tag".split()},
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
    **{f"{group} prune": "prune" for group in ("builder", "buildx", "image", "system")},
    "buildx du": "du",
    "system df": "du",
    "buildx history": "builds ls",
    "builds": "builds ls",
    "builds list": "builds ls",
}
"""All other names of commands."""


def load(name: str) -> Command:
    """Import the command `name` of the catalogue."""
    module = import_module(f"minibuild.cli.{CATALOGUE[name].module}")
    commands: Mapping[str, Command] = module.COMMANDS
    return commands[name]


def parser_of(name: str) -> Parser:
    """The parser of a command's words. Its summary describes it, unless it has more to say."""
    made, summary = Parser(f"minibuild {name}"), CATALOGUE[name].summary
    made.description = f"{summary[0].upper()}{summary[1:]}."
    load(name).flags(made)
    return made
