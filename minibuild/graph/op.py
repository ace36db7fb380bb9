"""The kinds of operation a build is made of: pure, frozen data.

`Source`, `Exec`, `File`, `Merge` and `Diff` are BuildKit's LLB operations under their own names; a
`MountOutput` is a second output of an Exec.
Nothing here knows what a Dockerfile is, and nothing here touches a disk. An op refers to what it
works on by the *index* of an input of its vertex (see `graph.vertex`), so that an op on its own
is just values and can be hashed.

Everything is a `NamedTuple`: immutable, hashable, and far cheaper to define than a frozen
dataclass. That counts, because a cached build takes 40 ms in all.
Read next: `graph.vertex`.
"""

from typing import Literal, assert_never

from minibuild.digest import Digest
from minibuild.graph.platform import Platform
from minibuild.startup.tuples import NamedTuple

Network = Literal["default", "none", "host"]
Security = Literal["sandbox", "insecure"]
Sharing = Literal["shared", "private", "locked"]

# --- Source: trees that come from outside the graph ---------------------------------------------


class ImageSource(NamedTuple):
    """The root filesystem of an image, pinned by the digest of its manifest.

    `ref` is its full name for people and registries. `origin` says where the bytes are:
    `store` (the local store), `registry`, or `oci-layout://DIR`.
    """

    ref: str
    digest: Digest
    platform: Platform
    origin: str = "store"


class LocalSource(NamedTuple):
    """A directory of this machine, known by its name in the request (`context`, `dockerfile`, ...).

    `ignore` are patterns (see `graph.pattern`) whose files do not exist as far as a build can see.
    """

    name: str
    ignore: tuple[str, ...] = ()


class HttpSource(NamedTuple):
    """One file. The server may say its `filename`. `authorization` is the id of a secret."""

    url: str
    filename: str
    checksum: str = ""
    mode: int = 0o600
    headers: tuple[tuple[str, str], ...] = ()
    authorization: str = ""


class GitSource(NamedTuple):
    """The tree of a commit. `ref` is a branch, tag or commit; empty means the remote's HEAD."""

    url: str
    ref: str = ""
    subdir: str = ""
    checksum: str = ""
    keep_git_dir: bool = False
    submodules: bool = True
    mtime: str = "checkout"


Source = ImageSource | LocalSource | HttpSource | GitSource

# --- Exec: the root filesystem after a process ended --------------------------------------------


class BindMount(NamedTuple):
    """The tree of an input, or of `source` below it, at `target`.

    What is written to one that is not `readonly` is discarded; or, with `output`, kept as a result
    of its own, which a `MountOutput` gets.
    """

    target: str
    input: int
    source: str = "/"
    readonly: bool = True
    output: bool = False


class CacheMount(NamedTuple):
    """A directory that outlives builds and is never part of a result.

    `input` (with `source` below it) seeds the directory when it is first made; -1 is an empty seed,
    and `source` then says which part of the cache is mounted. With any of `mode`, `uid` and `gid`
    it is a directory of its own with that owner; what is None is as of root's, 0755. All three mean
    nothing beside a `source`.
    """

    target: str
    id: str
    sharing: Sharing = "shared"
    readonly: bool = False
    input: int = -1
    source: str = "/"
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


class TmpfsMount(NamedTuple):
    """An empty filesystem in memory; `size_bytes` 0 is the kernel's default."""

    target: str
    size_bytes: int = 0
    readonly: bool = False


class SecretMount(NamedTuple):
    """A secret as a file at `target`, as the variable `env`, or both; an empty one is unused."""

    id: str
    target: str = ""
    env: str = ""
    required: bool = False
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


class SshMount(NamedTuple):
    """The socket of an ssh agent at `target`; SSH_AUTH_SOCK names it."""

    id: str
    target: str
    required: bool = False
    mode: int = 0o600
    uid: int = 0
    gid: int = 0


ExecMount = BindMount | CacheMount | TmpfsMount | SecretMount | SshMount


class Ulimit(NamedTuple):
    """A resource limit by its name in lower case, such as `nofile`; -1 is unlimited."""

    name: str
    soft: int
    hard: int


class Exec(NamedTuple):
    """Run one process; the result is its root filesystem (input 0) afterwards.

    `user` is `name-or-id[:group]`, looked up in the root filesystem; empty is root. `env` is the
    whole environment but for HOME, which comes from the user's passwd entry where it is not given.
    With `readonly` the process cannot write to its root. `exit_codes` are those of success.
    """

    args: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    cwd: str = "/"
    user: str = ""
    mounts: tuple[ExecMount, ...] = ()
    network: Network = "default"
    security: Security = "sandbox"
    hostname: str = ""
    add_hosts: tuple[tuple[str, str], ...] = ()
    shm_size_bytes: int = 0
    ulimits: tuple[Ulimit, ...] = ()
    platform: Platform | None = None
    readonly: bool = False
    exit_codes: tuple[int, ...] = (0,)


class MountOutput(NamedTuple):
    """What the Exec that is input 0 left in its mount of this index, which is an `output`.

    In BuildKit an op has several outputs, and edges say which. Here a vertex has one result, that
    of an Exec is its root filesystem, and what it leaves elsewhere is the result of this one.
    """

    mount: int


# --- File: a base tree with actions applied in order --------------------------------------------


class CopyRules(NamedTuple):
    """What differs between copies that programs make: the defaults are those of COPY.

    `follow`: of a symlink that is named, what it leads to is copied. `contents`: of a directory
    that is named only the contents are; without it the directory itself goes into a destination
    that is there. `make_dest`: missing directories above the destination are made. `allow_empty`: a
    wildcard may match nothing. `replace`: a directory and a file may take each other's place.
    `time_ns` is the time of all that is made; None keeps times. Of a directory that is named, only
    what the patterns of `include` match is copied, if there are any.
    """

    follow: bool = True
    contents: bool = True
    make_dest: bool = True
    allow_empty: bool = True
    replace: bool = False
    time_ns: int | None = None
    include: tuple[str, ...] = ()


class Copy(NamedTuple):
    """Copy `paths` of input `input` to `dest`, the way `COPY` does.

    `paths` are relative to the root of the input and may hold wildcards of Go's `filepath.Match`.
    `dest` is absolute; a trailing slash says that it is a directory. `chown` is
    `name-or-id[:group]`, looked up in the base; empty makes everything 0:0 unless `keep_owner`.
    `chmod` is octal or symbolic; empty keeps modes. `unpack`: extract sources that are archives
    (None: never look). `exclude` are patterns relative to each source. `parents` keeps the
    directories that lead to a source.
    """

    input: int
    paths: tuple[str, ...]
    dest: str
    chown: str = ""
    chmod: str = ""
    keep_owner: bool = False
    unpack: bool = False
    parents: bool = False
    exclude: tuple[str, ...] = ()
    rules: CopyRules = CopyRules()


class Mkdir(NamedTuple):
    """Make a directory and its missing parents; existing ones are left as they are.

    Without `parents` they have to be there. `time_ns` None is the time of making, here and below.
    """

    path: str
    mode: int = 0o755
    owner: str = ""
    parents: bool = True
    time_ns: int | None = None


class Mkfile(NamedTuple):
    """Write a file, replacing what is there; parents must exist or are made as by `Mkdir`."""

    path: str
    data: bytes
    mode: int = 0o644
    owner: str = ""
    time_ns: int | None = None


class Symlink(NamedTuple):
    """Make a symbolic link at `path` with the text `target`."""

    path: str
    target: str
    owner: str = ""
    time_ns: int | None = None


class Rm(NamedTuple):
    """Remove a file or a tree; a missing one is an error unless `missing_ok`.

    With `wildcard` the path is a pattern, and all that it matches goes, which may be nothing.
    """

    path: str
    missing_ok: bool = False
    wildcard: bool = False


FileAction = Copy | Mkdir | Mkfile | Symlink | Rm


class File(NamedTuple):
    """The base (input 0, or nothing) with `actions` applied in order."""

    actions: tuple[FileAction, ...]


# --- Merge and Diff: whole results combined -----------------------------------------------------


class Merge(NamedTuple):
    """Stack the inputs in order; later ones win. Inputs are diffs, so their deletions apply."""

    # A type needs a field to differ from an empty tuple; this one also names the law it follows.
    law: Literal["concatenation"] = "concatenation"


class Diff(NamedTuple):
    """What changed from input 0 to input 1, deletions included."""

    law: Literal["difference"] = "difference"


StepOp = Exec | File | Diff
"""What people see as a step that runs: the rest is fetched, or costs nothing."""

Op = Source | StepOp | MountOutput | Merge
StepKind = Literal["exec", "file", "diff"]
OpKind = Literal["image", "local", "http", "git", "mount", "merge"] | StepKind


def kind_of(op: Op) -> OpKind:
    """The kind of an op in a word."""
    match op:
        case ImageSource():
            return "image"
        case LocalSource():
            return "local"
        case HttpSource():
            return "http"
        case GitSource():
            return "git"
        case Exec():
            return "exec"
        case MountOutput():
            return "mount"
        case File():
            return "file"
        case Merge():
            return "merge"
        case Diff():
            return "diff"
        case _ as unknown:
            assert_never(unknown)
