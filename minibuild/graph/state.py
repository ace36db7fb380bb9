"""Graphs without a Dockerfile: a small fluent interface in the manner of BuildKit's LLB client.

    from minibuild.graph.state import diff, image, merge, scratch

    base = image("busybox")
    made = base.run("echo hello > /hello")
    only = diff(base, made)                     # just what the RUN did
    both = merge([base, scratch().mkfile("/etc/motd", b"hi\\n"), only])

    both.build(tags=["both:1"])

A `State` is a vertex in the making and the settings (environment, directory, user) that following
steps start with. It is immutable: every method returns another one. Nothing happens until a state
is built. Comes in: calls. Goes out: vertices. docs/state.md shows all of it.
Read next: `graph.flat`, `graph.frontend`.
"""

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Unpack, get_args

from minibuild.digest import Digest
from minibuild.errors import DefinitionError
from minibuild.graph.flat import FlatGraph, flatten
from minibuild.graph.frontend import Built, ImageResolver
from minibuild.graph.image import DEFAULT_PATH, ContainerConfig, ImageConfig
from minibuild.graph.op import (
    BindMount,
    CacheMount,
    Copy,
    Diff,
    Exec,
    ExecMount,
    File,
    FileAction,
    ImageSource,
    LocalSource,
    Mkdir,
    Mkfile,
    MountOutput,
    Network,
    Rm,
    Symlink,
    TmpfsMount,
)
from minibuild.graph.platform import Platform, host_platform
from minibuild.graph.vertex import Note, Vertex
from minibuild.graph.vertex import merge as merge_vertices
from minibuild.startup.tuples import NamedTuple

if TYPE_CHECKING:
    from minibuild.buildflags.options import GraphOptions
    from minibuild.session.request import BuildResult, Output


class Mount(NamedTuple):
    """A mount of `State.run`: a state bound at `target`, a cache directory, or memory.

    Give one of `state` (with `source` inside it), `cache` (an id), or neither for a tmpfs. What is
    written to a state that is not `readonly` is what `State.get_mount` goes on from; to `local`
    directories nothing is written, and what a step writes there is gone after it.
    """

    target: str
    state: "State | None" = None
    source: str = "/"
    readonly: bool = True
    cache: str = ""


class State(NamedTuple):
    """A tree to be, and the settings of the steps that come after it."""

    vertex: Vertex | None = None
    env: tuple[tuple[str, str], ...] = (("PATH", DEFAULT_PATH),)
    cwd: str = "/"
    user: str = ""

    # --- Settings: they change what follows, and make no vertex ---

    def with_env(self, name: str, value: str) -> "State":
        """With a variable for the steps that follow."""
        return self._replace(env=tuple((dict(self.env) | {name: value}).items()))

    def with_cwd(self, path: str) -> "State":
        """With a working directory for the steps that follow; relative ones add up."""
        return self._replace(cwd=self._absolute(path))

    def with_user(self, user: str) -> "State":
        """With a user for the steps that follow."""
        return self._replace(user=user)

    # --- Steps ---

    def run(
        self,
        command: str | Iterable[str],
        *,
        mounts: Iterable[Mount] = (),
        network: Network = "default",
    ) -> "State":
        """After a command (text for `/bin/sh -c`, or arguments) has run in this tree."""
        args = ("/bin/sh", "-c", command) if isinstance(command, str) else tuple(command)
        inputs: list[Vertex | None] = [self.vertex]
        op_mounts = tuple(_mount(mount, inputs) for mount in mounts)
        if network not in get_args(Network):
            raise DefinitionError(f"there is no network mode {network!r}")
        op = Exec(args, self.env, self.cwd, self.user, op_mounts, network=network)
        return self._on(Vertex(op, inputs, Note(f"RUN {' '.join(args)}")))

    def get_mount(self, target: str) -> "State":
        """What the command of the last `run` left in the mount at `target`: the state that was
        mounted there, as it is now. The settings are those of this state."""
        vertex = self.vertex
        if vertex is not None and isinstance(vertex.op, Exec):
            for number, mount in enumerate(vertex.op.mounts):
                if isinstance(mount, BindMount) and mount.output and mount.target == target:
                    output = Vertex(MountOutput(number), (vertex,), Note(f"MOUNT {target}"))
                    return self._on(output)
        raise DefinitionError(
            f"the last step of this state writes to no mount at {target}",
            hint=f'mount a state there: run(..., mounts=[Mount("{target}", scratch(), '
            "readonly=False)])",
        )

    def copy(
        self,
        source: "State",
        paths: str | Iterable[str],
        dest: str,
        *,
        chown: str = "",
        chmod: str = "",
    ) -> "State":
        """With `paths` of another state copied to `dest`, owners kept."""
        listed = (paths,) if isinstance(paths, str) else tuple(paths)
        copy = Copy(1, listed, self._absolute(dest), chown, chmod, keep_owner=True)
        return self._file((copy,), f"COPY {' '.join(listed)} {dest}", source.vertex)

    def mkdir(self, path: str, mode: int = 0o755, owner: str = "") -> "State":
        """With a directory and its missing parents."""
        return self._file((Mkdir(self._absolute(path), mode, owner),), f"MKDIR {path}")

    def mkfile(self, path: str, data: bytes = b"", mode: int = 0o644, owner: str = "") -> "State":
        """With a file."""
        return self._file((Mkfile(self._absolute(path), data, mode, owner),), f"MKFILE {path}")

    def symlink(self, path: str, target: str) -> "State":
        """With a symbolic link at `path`."""
        return self._file((Symlink(self._absolute(path), target),), f"SYMLINK {path}")

    def rm(self, path: str, *, missing_ok: bool = False) -> "State":
        """Without a file or tree."""
        return self._file((Rm(self._absolute(path), missing_ok),), f"RM {path}")

    # --- The end ---

    def built(self, platform: Platform, config: ContainerConfig | None = None) -> Built:
        """The image of this state, as a frontend returns it; `config` adds to what the settings
        say of it."""
        settings: ContainerConfig = {"Env": [f"{name}={value}" for name, value in self.env]}
        if self.cwd != "/":
            settings["WorkingDir"] = self.cwd
        if self.user:
            settings["User"] = self.user
        merged: ContainerConfig = {**settings, **(config or {})}
        return Built(platform, self.vertex, ImageConfig(platform, merged))

    def flat(self, config: ContainerConfig | None = None) -> FlatGraph:
        """The whole graph as plain data, for the platform of this machine."""
        built = self.built(host_platform(), config)
        return flatten(built.vertex, built.config)

    def build(
        self, output: "Output | Iterable[Output] | None" = None, **options: "Unpack[GraphOptions]"
    ) -> "BuildResult":
        """Build this state: into the store, or as the `minibuild.Output` (or several) says.

        The options are those of `minibuild.build`, and `config`, the image's, such as
        `{"Cmd": ["sh"]}`.
        """
        if output is not None:
            given: Any = output  # One output is a tuple, too, so it is known by its field.
            options["outputs"] = (given,) if hasattr(given, "dest") else tuple(given)
        # By name and on demand: a graph is data and knows no engine.
        made: BuildResult = import_module("minibuild.api").build(self, **options)
        return made

    def _repr_html_(self) -> str:
        """The graph as a picture, for notebooks, which ask by this name."""
        from minibuild.graph.graphdata import graph_data
        from minibuild.graph.svg import svg

        picture = svg(graph_data([self.built(host_platform())]))
        return f'<div style="overflow-x:auto">{picture}</div>'

    def _file(self, actions: tuple[FileAction, ...], name: str, *sources: Vertex | None) -> "State":
        return self._on(Vertex(File(actions), (self.vertex, *sources), Note(name)))

    def _on(self, vertex: Vertex | None) -> "State":
        return self._replace(vertex=vertex)

    def _absolute(self, path: str) -> str:
        return path if path.startswith("/") else f"{self.cwd.rstrip('/')}/{path}"


def scratch() -> State:
    """The empty tree."""
    return State()


def image(
    ref: str, resolver: ImageResolver | None = None, platform: Platform | None = None
) -> State:
    """The root filesystem of an image.

    With a resolver it is looked up now, and its environment, directory and user go for the steps
    that follow. Without, it is looked up when the state is built, and its config does not count.
    """
    platform = platform or host_platform()
    if resolver is None:
        return State(Vertex(ImageSource(ref, Digest(""), platform), (), Note(f"FROM {ref}")))
    found = resolver.resolve(ref, platform)
    config = found.config.config
    env = dict(item.partition("=")[::2] for item in config.get("Env") or ())
    env.setdefault("PATH", DEFAULT_PATH)
    return State(
        Vertex(found.source, (), Note(f"FROM {ref}")),
        env=tuple(env.items()),
        cwd=config.get("WorkingDir") or "/",
        user=config.get("User") or "",
    )


def local(name: str = "context", ignore: Iterable[str] = ()) -> State:
    """A directory that the build names; to copy or mount from, not to run on."""
    return State(Vertex(LocalSource(name, tuple(ignore)), (), Note(f"[internal] load {name}")))


def merge(states: Iterable[State]) -> State:
    """The diffs of all states in order, later ones winning."""
    listed = list(states)
    vertex = merge_vertices([state.vertex for state in listed], Note("MERGE"))
    return (listed[0] if listed else State())._on(vertex)


def diff(lower: State, upper: State) -> State:
    """What changed from `lower` to `upper`, deletions included."""
    if lower.vertex is None:
        return upper
    if lower.vertex == upper.vertex:
        return upper._on(None)
    return upper._on(Vertex(Diff(), (lower.vertex, upper.vertex), Note("DIFF")))


def _mount(mount: Mount, inputs: list[Vertex | None]) -> ExecMount:
    if mount.cache:
        return CacheMount(mount.target, mount.cache, readonly=False)
    if mount.state is None:
        return TmpfsMount(mount.target)
    vertex = mount.state.vertex
    inputs.append(vertex)
    is_directory = vertex is not None and isinstance(vertex.op, LocalSource)
    output = not mount.readonly and not is_directory
    return BindMount(mount.target, len(inputs) - 1, mount.source, mount.readonly, output)
