"""Git repositories, for `ADD https://host/repo.git#ref:dir`, through the git program.

A branch or tag is first resolved to a commit, and the commit is the cache key: only a new commit
is fetched. One commit is fetched, not its history. Files are 0644 or 0755, as git has them.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from minibuild.cache.records import Record
from minibuild.cache.results import Result, VertexResult
from minibuild.digest import digest_strings
from minibuild.errors import Cancelled, DefinitionError, HostError, RegistryError, os_errors_as
from minibuild.fileop.api import Hooks, SourceTree
from minibuild.fileop.apply import apply
from minibuild.graph.address import without_credentials
from minibuild.graph.op import Copy, GitSource
from minibuild.linux.beneath import open_beneath
from minibuild.linux.descriptors import closing_fd
from minibuild.progress.writer import ProgressWriter
from minibuild.registry.credentials import basic
from minibuild.registry.patience import LEAST_BYTES_S
from minibuild.source.web import Client, own_authorization
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple
from minibuild.worker.context import BuildContext

_SHA256_DIGITS = 64
_HASH_DIGITS = (40, _SHA256_DIGITS)  # those of SHA-1 are 40
_HEX = frozenset("0123456789abcdef")
_BRANCH = regex(r"ref: (refs/heads/.+)\tHEAD\n")
_UNREACHABLE = ("unable to connect", "failed to connect", "connection refused", "timed out",
                "could not resolve", "unable to look up")  # fmt: skip
"""Words of git, curl and ssh about a server that was not asked anything."""

_PACKING = 10
"""How many times the stall time a git server may count and pack, before it sends what it packed."""


def fetch_git(
    build: BuildContext, op: GitSource, progress: ProgressWriter, *, ignore_cache: bool
) -> VertexResult:
    """The tree of a commit as a result."""
    git = GitProgram(build, op, progress, build.worker.store.ingest_path)
    meant = git.resolve()
    commit = meant.commit
    parts = [
        "git",
        without_credentials(op.url),
        commit,
        op.subdir,
        str(op.keep_git_dir),
        str(op.submodules),
    ]
    if op.mtime != "checkout":
        parts.append(op.mtime)
    if op.keep_git_dir:
        parts.append(meant.name)  # git's folder has the reference
    key = digest_strings(tuple(parts))
    cache = build.worker.cache
    record = None if ignore_cache else cache.lookup(key)
    if record is not None:
        return VertexResult(record.result, record.canonical, cached=True, resolved_digest=commit)
    with build.worker.store.lock(f"key-{key[7:39]}", build.cancelled):
        record = None if ignore_cache else cache.lookup(key)
        if record is None:
            record = Record(key, _checkout(build, git, op, meant))
            cache.save({key}, record, without_credentials(op.url))
    return VertexResult(
        record.result, record.canonical, forced=ignore_cache, resolved_digest=commit
    )


def clone(
    client: Client, op: GitSource, progress: ProgressWriter, scratch: Callable[[], str]
) -> str:
    """The folder that a source means, in a fresh clone at a path that `scratch` gives."""
    git = GitProgram(client, op, progress, scratch)
    meant = git.resolve()
    folder = scratch()
    git.clone(folder, meant)
    _check_subdir(folder, op)
    return folder


class GitReference(NamedTuple):
    """What a reference means: a commit, the whole name of the reference, and the annotated tag
    (an object of its own) by which the commit was found."""

    commit: str
    name: str
    tag: str = ""


def _checkout(build: BuildContext, git: "GitProgram", op: GitSource, meant: GitReference) -> Result:
    from shutil import rmtree

    folder, snapshots = build.worker.store.ingest_path(), build.worker.snapshots
    try:
        git.clone(folder, meant)
        if op.mtime == "commit":
            _set_times(folder, git.time(folder))
        if not op.keep_git_dir:
            _forget_git(folder)
        _check_subdir(folder, op)
        active = snapshots.prepare(None)
        with snapshots.removed_if_failed(active):
            with (
                closing_fd(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as fd,
                snapshots.tree(active, readonly=False) as root,
            ):
                copy = Copy(0, (op.subdir.strip("/") or ".",), "/")
                owners, hooks = snapshots.owners(active), Hooks(cancelled=build.cancelled)
                apply([copy], root, {0: SourceTree(fd)}, hooks, owners=owners)
            snapshots.commit(active)
    finally:
        rmtree(folder, ignore_errors=True)
    return (build.worker.diffs.add((), upper=active),)


def _check_subdir(folder: str, op: GitSource) -> None:
    if not op.subdir:
        return
    what = f"subdirectory {op.subdir} of {without_credentials(op.url)}"
    hint = "the part behind the second colon of #REF:DIR, or subdir=, names a directory"
    with (
        closing_fd(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as fd,
        os_errors_as(DefinitionError, what, hint),
    ):
        os.close(open_beneath(fd, op.subdir, os.O_PATH | os.O_DIRECTORY))


def _forget_git(folder: str) -> None:
    """Remove the folder of git, and the files that lead submodules to theirs in it. BuildKit keeps
    these: they name a place in its own store, another one each time."""
    from shutil import rmtree

    rmtree(os.path.join(folder, ".git"))
    for above, _, files in os.walk(folder):
        if ".git" in files:  # git refuses to commit a file of this name
            os.unlink(os.path.join(above, ".git"))


def _set_times(folder: str, time_s: int) -> None:
    """Give everything that was checked out one time; symlinks are not followed."""
    for above, folders, files in os.walk(folder):
        if above == folder:
            folders.remove(".git")
        for name in (*folders, *files):
            path = os.path.join(above, name)
            os.utime(path, (time_s, time_s), follow_symlinks=False)


def _reason(said: str) -> str:
    """The line of git's that says why; what it writes behind that are questions and advice."""
    lines = said.strip().splitlines() or [""]
    telling = ("ssh: ", "fatal: ", "error: ", "remote: ")
    return next((line for line in lines if line.startswith(telling)), lines[-1])


def _listed(text: str) -> dict[str, str]:
    """The hashes by their references, from what git ls-remote prints."""
    return dict(line.split("\t")[::-1] for line in text.splitlines() if "\t" in line)


def _meant(ref: str, found: Mapping[str, str]) -> GitReference | None:
    """Which of the references that end in `ref` it means, as git checkout would: a whole name,
    else a branch, else a tag."""
    short = ref.removeprefix("refs/")
    names = (f"refs/{short}", f"refs/heads/{short}", f"refs/tags/{short}", "HEAD")
    for name in names if ref == "HEAD" else names[:-1]:
        if name in found:
            # With ^{} comes the commit that an annotated tag names.
            commit = found.get(f"{name}^{{}}")
            return (
                GitReference(commit, name, found[name])
                if commit
                else GitReference(found[name], name)
            )
    return None


class GitProgram:
    """Runs git for one source: no prompts, no configuration of the person, output to progress."""

    def __init__(
        self, client: Client, op: GitSource, progress: ProgressWriter, scratch: Callable[[], str]
    ) -> None:
        self._client, self._op, self._progress = client, op, progress
        self._scratch = scratch
        # What authorises us is in the environment: see `_auth`.
        self.url = without_credentials(op.url)

    def resolve(self) -> GitReference:
        """What the reference means now, which is what the checksum says."""
        op = self._op
        for word in (op.url, op.ref):
            if word.startswith("-"):
                # To git it would be an option, and some of its options run programs.
                raise DefinitionError(f"invalid git address or reference: {word}")
        meant = self._resolve(op.ref or "HEAD")
        names = [name for name in (meant.commit, meant.tag) if name]
        if op.checksum and not any(name.startswith(op.checksum) for name in names):
            raise DefinitionError(
                f"expected checksum to match {op.checksum}, got {' or '.join(names)}",
                hint="if the reference moved: change the checksum, or take the commit with"
                " ?commit=WHOLE-HASH&fetch-by-commit=1",
            )
        return meant

    def _resolve(self, ref: str) -> GitReference:
        if len(ref) in _HASH_DIGITS and _HEX.issuperset(ref):
            return GitReference(ref, ref)
        symbolic = ["--symref"] if ref == "HEAD" else []
        listed = self.run(["ls-remote", *symbolic, "--", self.url, ref, f"{ref}^{{}}"])
        meant = _meant(ref, _listed(listed))
        if meant is not None and (branch := _BRANCH.match(listed)):
            meant = meant._replace(name=branch[1])
        if meant is None:
            raise DefinitionError(
                f"repository does not contain ref {ref}: {self.url}",
                hint="check the part after #, or the ref= of the address",
            )
        return meant

    def clone(self, folder: str, meant: GitReference) -> None:
        """Check the commit out in `folder`."""
        self._init(folder, meant.commit)
        self.run(["-C", folder, "remote", "add", "--", "origin", self.url])
        fetch = ["-C", folder, "fetch", "--quiet"]
        # Some servers serve only the tips of branches and tags. Then the reference is fetched,
        # unless it has moved since. A plain file server (git's "dumb http") cannot leave out
        # history, so all of it is fetched. If the folder of git is kept, the reference is fetched
        # into it: git names the commit by it.
        named = f"+{meant.name}:{meant.name}"
        self._first_of(
            *(
                [[*fetch, "--depth=1", "--update-head-ok", "--refmap=", "origin", named]]
                if self._op.keep_git_dir and meant.name.startswith("refs/")
                else []
            ),
            [*fetch, "--depth=1", "origin", meant.commit],
            [*fetch, "--depth=1", "origin", meant.name],
            [*fetch, "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*"],
            then=["-C", folder, "-c", "advice.detachedHead=false", "checkout", "-q", meant.commit],
        )
        if self._op.keep_git_dir:
            self.run(["-C", folder, "reflog", "expire", "--all", "--expire=now"])
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(folder, ".git", "FETCH_HEAD"))
        if self._op.submodules:
            update = ["-C", folder, "submodule", "update", "--init", "--recursive", "-q"]
            self._first_of([*update, "--depth=1"], update)

    def _init(self, folder: str, commit: str, *flags: str) -> None:
        """A new repository for commits whose hashes are like this one: it knows one kind only."""
        kind = "sha256" if len(commit) == _SHA256_DIGITS else "sha1"
        self.run(["init", "--quiet", f"--object-format={kind}", *flags, folder])

    def _first_of(self, *commands: Sequence[str], then: Sequence[str] = ()) -> None:
        """Run the first of the commands that succeeds, with what follows it. Only the last may say
        why it does not."""
        for command in commands:
            last = command is commands[-1]
            try:
                self.run(command, quiet=not last)
                if then:
                    self.run(then, quiet=not last)
            except RegistryError:
                if last:
                    raise
                continue
            return

    def time(self, folder: str) -> int:
        """When the commit that is checked out was made, in seconds since the epoch."""
        return int(self.run(["-C", folder, "log", "-1", "--format=%ct"]))

    def run(self, arguments: Sequence[str], *, quiet: bool = False) -> str:
        """What git prints. Raises `RegistryError` with what it says if it fails."""
        from signal import SIGKILL
        from subprocess import PIPE, Popen, TimeoutExpired

        try:
            process = Popen(
                ["git", *arguments],
                stdout=PIPE,
                stderr=PIPE,
                env=self._environment(),
                umask=0o022,
                start_new_session=True,  # no terminal to ask on; and all of it can be ended
            )
        except FileNotFoundError as error:
            raise HostError(
                "git sources need the git program, which is not installed",
                hint="apt install git, or the like",
            ) from error
        while True:
            try:
                out, err = process.communicate(timeout=0.1)
                break
            except TimeoutExpired:
                if self._client.cancelled.is_set():
                    os.killpg(process.pid, SIGKILL)
                    process.communicate()
                    raise Cancelled("the fetch was cancelled") from None
        if err and not quiet:
            self._progress.log(2, err)
        if process.returncode:
            reason = _reason(err.decode("utf-8", "replace"))
            hint = "a secret GIT_AUTH_TOKEN adds a token; --ssh forwards an agent"
            if any(word in reason.lower() for word in _UNREACHABLE):
                hint = "check the address and the network"
            raise RegistryError(f"failed to fetch {self.url}: {reason}", hint=hint)
        return out.decode("utf-8", "surrogateescape")

    def _auth(self) -> dict[str, str]:
        """What authorises us, as configuration in the environment: everybody sees arguments.

        It is for the host of this address alone: submodules and redirects lead to others.
        """
        from urllib.parse import urlsplit

        try:
            url = urlsplit(self.url)
        except ValueError as error:
            raise RegistryError(f"failed to fetch {self.url}: {error}") from None
        if url.scheme not in ("http", "https"):
            return {}
        value = self._authorization(url.hostname or "", url.netloc)
        if not value:
            return {}
        return {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"http.{url.scheme}://{url.netloc}/.extraheader",
            "GIT_CONFIG_VALUE_0": f"Authorization: {value}",
        }

    def _authorization(self, host: str, host_and_port: str) -> str:
        """From the secrets that BuildKit knows (those that name the host count first), or from the
        address itself."""
        for suffix in (f".{host_and_port}", f".{host}", ""):
            if (header := self._client.secret(f"GIT_AUTH_HEADER{suffix}")) is not None:
                return header.decode().strip()
            if (token := self._client.secret(f"GIT_AUTH_TOKEN{suffix}")) is not None:
                return basic(b"x-access-token:" + token.strip())
        return own_authorization(self._op.url)

    def _environment(self) -> dict[str, str]:
        env = {
            "PATH": os.defpath,
            "HOME": "/nonexistent",
            "LC_ALL": "C",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_NOSYSTEM": "1",
            # A submodule may name any address, also a path of this machine or a program (ext::).
            "GIT_ALLOW_PROTOCOL": "http:https:git:ssh",
            "GIT_SSH_COMMAND": "ssh -F /dev/null -o BatchMode=yes"
            " -o StrictHostKeyChecking=accept-new",
        }
        # As for registries; git's own names for them. A server may pack for long before it sends.
        access = self._client.registries
        env |= {f"{scheme}_proxy": proxy for scheme, proxy in access.proxies.items()}
        env["GIT_HTTP_LOW_SPEED_LIMIT"] = str(LEAST_BYTES_S)
        env["GIT_HTTP_LOW_SPEED_TIME"] = f"{_PACKING * access.stall_s:.0f}"
        agent = self._client.ssh("default")
        return env | self._auth() | ({"SSH_AUTH_SOCK": agent.path} if agent else {})
