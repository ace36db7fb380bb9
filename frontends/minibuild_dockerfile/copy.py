"""COPY and ADD: a File of copies, on the stage's tree or, with --link, beside it.

Comes in: a stage and an instruction. Goes out: the stage with one layer more. With `--link` the
copy is made on an empty tree and stacked on the stage by a Merge: it does not depend on what the
stage holds, and so neither its cache key nor its layer change with it. It sees nothing of the
stage either: names of users cannot be looked up.
Read next: `minibuild.graph.op`, class `Copy`; `minibuild.graph.remote` for the URLs of ADD.
"""

import posixpath
import re
from itertools import takewhile

from minibuild.errors import DefinitionError
from minibuild.graph import op
from minibuild.graph.address import without_credentials
from minibuild.graph.frontend import ImageContext
from minibuild.graph.ignore import compiled
from minibuild.graph.mode import parse_mode
from minibuild.graph.owner import parse_owner
from minibuild.graph.pattern import clean, escape_glob, has_wildcard
from minibuild.graph.remote import (
    GitUrl,
    InvalidRemote,
    git_url,
    http_filename,
    is_commit_hash,
    is_http,
)
from minibuild.graph.vertex import Note, Vertex, merge
from minibuild.startup.tuples import NamedTuple
from minibuild_dockerfile.checks import rules
from minibuild_dockerfile.errors import DockerfileError
from minibuild_dockerfile.expand import process_heredoc
from minibuild_dockerfile.instructions import Copy, Head, Heredoc
from minibuild_dockerfile.names import step_text
from minibuild_dockerfile.state import Conversion, StageState
from minibuild_dockerfile.words import as_utf8

_EVERYTHING = frozenset(("*", "**", "**/*"))


class _Words(NamedTuple):
    """The words of an instruction, expanded."""

    sources: tuple[str, ...]
    dest: str
    chown: str
    chmod: str
    checksum: str


class _Actions:
    """Collects the copies of one instruction, and the trees they read."""

    __slots__ = ("_begun", "_paths", "inputs", "template")

    def __init__(self, base: Vertex | None, template: op.Copy) -> None:
        self.inputs: list[Vertex | None] = [base]
        self.template = template
        self._begun: list[op.Copy] = []
        self._paths: list[list[str]] = []

    def add(
        self, source: Vertex | None, path: str, *, keep_owner: bool = False, unpack: bool = False
    ) -> None:
        """Copy one path; neighbours from one tree become one action."""
        last = self._begun[-1] if self._begun else None
        if (
            last is not None
            and (last.keep_owner, last.unpack) == (keep_owner, unpack)
            and self.inputs[last.input] == source
        ):
            self._paths[-1].append(path)
            return
        self.inputs.append(source)
        self._begun.append(
            self.template._replace(input=len(self.inputs) - 1, keep_owner=keep_owner, unpack=unpack)
        )
        self._paths.append([path])

    @property
    def actions(self) -> tuple[op.Copy, ...]:
        """The copies, each with its paths."""
        both = zip(self._begun, self._paths, strict=True)
        return tuple(action._replace(paths=tuple(paths)) for action, paths in both)


def copy_or_add(state: StageState, item: Copy) -> None:
    """Copy files into the stage."""
    words = _expand(state, item)
    # BuildKit does not link a copy that changes modes, and what users see depends on it: linked,
    # the directories on the way would take the mode too.
    link = item.link and not words.chmod
    if link:
        _check_owner(words, item)
    if words.chmod:
        _check_mode(words, item)
    template = op.Copy(
        0,
        (),
        _destination(state.workdir, state.path(words.dest, item.head, keep_end=True)),
        words.chown,
        words.chmod,
        parents=item.parents,
        exclude=item.exclude,
    )
    collected = _Actions(None if link else state.vertex, template)
    collect = _collect_copied if item.kind == "COPY" else _collect_added
    collect(state, item, words, collected)
    for heredoc in item.heredocs:
        collected.add(_inline(state, heredoc, item.head), escape_glob(heredoc.name))
    note = state.note(item.head)
    copied = Vertex(op.File(collected.actions), collected.inputs, note)
    if link:
        text = step_text(item.head, state.env, state.conversion.escape)
        merged = state.note(item.head, f"LINK {text}", same_step=True)
        state.vertex = merge((state.vertex, copied), merged)
    else:
        state.vertex = copied
    state.record(_created_by(item, words), layer=True, mark=True)


def _expand(state: StageState, item: Copy) -> _Words:
    head = item.head
    return _Words(
        tuple(state.word(source, head) for source in item.sources),
        state.word(item.dest, head),
        state.word(item.chown, head),
        state.word(item.chmod, head),
        state.word(item.checksum, head),
    )


def _created_by(item: Copy, words: _Words) -> str:
    """The instruction as BuildKit notes it: few of its flags, heredocs after the paths."""
    parts: list[str] = [item.kind]
    if item.parents:
        parts.append("--parents")
    if words.chown:
        parts.append(f"--chown={words.chown}")
    if words.chmod:
        parts.append(f"--chmod={words.chmod}")
    parts += [*words.sources, *(f"<<{heredoc.name}" for heredoc in item.heredocs), words.dest]
    return " ".join(parts)


# --- where to, whose, which mode ----------------------------------------------------------------


def _destination(workdir: str, dest: str) -> str:
    """The absolute destination; a slash at its end, or a dot, says that it is a directory."""
    is_directory = dest in ("", ".") or dest.endswith(("/", "/."))
    path = clean(posixpath.join("/", workdir, dest))
    return path + "/" if is_directory and path != "/" else path


def _check_owner(words: _Words, item: Copy) -> None:
    """With --link there are no users to look names up in."""
    name = parse_owner(words.chown).name
    if name:
        raise DockerfileError(
            f'--link cannot look up the user or group "{name}": invalid user index: -1',
            item.head.flag_span("chown"),
            hint="give numbers, as in --chown=1000:1000, or leave out --link",
        )


def _check_mode(words: _Words, item: Copy) -> None:
    try:
        parse_mode(words.chmod)
    except DefinitionError as error:
        span = item.head.flag_span("chmod")
        raise DockerfileError(error.message, span, hint=error.hint) from None


# --- where from ---------------------------------------------------------------------------------


def _collect_copied(state: StageState, item: Copy, words: _Words, collected: _Actions) -> None:
    """Add the sources of a COPY, which are paths in one tree."""
    for source in words.sources:
        git, name = _remote(item, source)
        if git is not None or name:
            kind = "a git ref" if git is not None else "a URL"
            raise _wrong(item, f"source can't be {kind} for COPY", hint="use ADD for it")
    tree = _copied_tree(state.conversion, item) if words.sources else None
    own = tree is not None and not isinstance(tree.op, op.LocalSource)
    for source in words.sources:
        collected.add(tree, _path(state, item, source), keep_owner=own)


def _collect_added(state: StageState, item: Copy, words: _Words, collected: _Actions) -> None:
    """Add the sources of an ADD: paths of the context, downloads, git repositories."""
    if words.checksum and len(words.sources) != 1:
        message = "checksum can't be specified for multiple sources"
        raise _wrong(item, message, "checksum", "write an ADD for each of them")
    for source in words.sources:
        git, name = _remote(item, source)
        if git is not None:
            collected.add(_git(state, item, git, words), ".")
        elif name:
            _add_download(state, item, op.HttpSource(source, name, words.checksum), collected)
        elif words.checksum:
            message = "checksum requires HTTP(S) or Git sources"
            raise _wrong(item, message, "checksum", "leave it out: files of the context are known")
        else:
            tree = state.conversion.sources.main_context(item.head.span)
            path = _path(state, item, source)
            collected.add(tree, path, unpack=item.unpack is not False)


def _remote(item: Copy, source: str) -> tuple[GitUrl | None, str]:
    """A source as a git address, or the file name of one on the web; neither if it is a path."""
    try:
        git = git_url(source)
        return git, http_filename(source) if git is None and is_http(source) else ""
    except InvalidRemote as error:
        raise _wrong(item, str(error)) from None


def _wrong(item: Copy, message: str, flag: str = "", hint: str = "") -> DockerfileError:
    span = item.head.flag_span(flag) if flag else item.head.span
    return DockerfileError(message, span, hint=hint)


def _copied_tree(conversion: Conversion, item: Copy) -> Vertex | None:
    """The tree that --from names; a stage has a number, too."""
    stage = conversion.table.by_name_or_number(item.from_, item.head)
    return conversion.tree(item.from_, stage, item.head.span)


def _path(state: StageState, item: Copy, source: str) -> str:
    """A source relative to its root: `..` stops there. --parents keeps the pivot `/./`."""
    source = state.path(source, item.head)
    context = state.conversion.request.context
    if not item.from_ and not isinstance(context, ImageContext):
        _check_ignored(state, item, source, context.ignore.patterns)
    if item.parents:
        parent, pivot, rest = source.partition("/./")
        if pivot and _relative(parent) != ".":
            return f"{_relative(parent)}/./{_relative(rest)}"
        return _relative(rest if pivot else source)
    return _relative(source)


def _relative(path: str) -> str:
    """A path below its root. One that tries to leave it keeps a `..`, for the error if it is not
    there: what reads it stops at the root all the same."""
    inside = clean("/" + path).lstrip("/") or "."
    return f"../{inside}" if f"{clean(path.lstrip('/'))}/".startswith("../") else inside


def _check_ignored(state: StageState, item: Copy, source: str, ignore: tuple[str, ...]) -> None:
    """A source of which the ignore file leaves nothing is a finding."""
    path = clean(source)
    if ignore and _all_ignored(path.lstrip("/"), ignore):
        message = (
            f'Attempting to {item.kind.title()} file "{path}" that is excluded by .dockerignore'
        )
        state.conversion.checks.report(rules.COPY_IGNORED_FILE, message, item.head)


def _all_ignored(path: str, ignore: tuple[str, ...]) -> bool:
    """Whether nothing is left of a source, as far as the patterns say."""
    brings_back = any(pattern.startswith("!") for pattern in ignore)
    if path in (".", ""):
        return not brings_back and not _EVERYTHING.isdisjoint(ignore)
    if brings_back and has_wildcard(path):
        # Any of what the wildcard finds may be brought back, so the directory above it counts.
        parts = path.split("/")
        path = "/".join(takewhile(lambda part: not has_wildcard(part), parts))
    return bool(path) and compiled(ignore).may_prune(path)


def _git(state: StageState, item: Copy, git: GitUrl, words: _Words) -> Vertex:
    if git.checksum and words.checksum and git.checksum != words.checksum:
        raise _wrong(item, "checksum in the URL and in --checksum differ", "checksum")
    if None not in (item.keep_git_dir, git.keep_git_dir) and item.keep_git_dir != git.keep_git_dir:
        raise _wrong(item, "inconsistent keep-git-dir configuration", "keep-git-dir")
    if words.checksum and not is_commit_hash(words.checksum):
        raise _wrong(
            item,
            f"invalid checksum {words.checksum} for Git URL, expected hex commit hash",
            "checksum",
            "write the hash of the commit, or its first digits",
        )
    keep = item.keep_git_dir if item.keep_git_dir is not None else git.keep_git_dir
    text = f"load git source {without_credentials(git.remote)}"
    source = git.source(words.checksum, keep_git_dir=bool(keep))
    return Vertex(source, (), _source_note(state, item.head, text))


def _add_download(
    state: StageState, item: Copy, source: op.HttpSource, collected: _Actions
) -> None:
    if source.checksum and not re.fullmatch("sha256:[0-9a-f]{64}", source.checksum):
        what = "length" if re.fullmatch("sha256:(?!.{64}$).+", source.checksum) else "format"
        raise _wrong(
            item,
            f'invalid checksum digest {what}: "{source.checksum}"',
            "checksum",
            "write sha256: and 64 hex digits",
        )
    vertex = Vertex(
        source, (), _source_note(state, item.head, f"load {without_credentials(source.url)}")
    )
    collected.add(vertex, escape_glob(source.filename), unpack=item.unpack is True)


def _source_note(state: StageState, head: Head, text: str) -> Note:
    return Note(f"[internal] {text}", head.span, state.note_stage, state.ignore_cache)


def _inline(state: StageState, heredoc: Heredoc, head: Head) -> Vertex:
    """A tree with an inline file."""
    text = heredoc.text
    if heredoc.expand:
        found = process_heredoc(text, state.env, heredoc.span, state.conversion.budget)
        state.note_unset(found.unset, head)
        text = as_utf8(found.text)
    file = op.Mkfile(f"/{heredoc.name}", text.encode("utf-8", "surrogateescape"))
    note = Note("[internal] preparing inline document", heredoc.span, state.note_stage)
    return Vertex(op.File((file,)), (None,), note)
