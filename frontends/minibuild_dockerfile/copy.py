"""COPY and ADD: a File of copies, on the stage's tree or, with --link, beside it.

Comes in: a stage and an instruction. Goes out: the stage with one layer more. With `--link` the
copy is made on an empty tree and stacked on the stage by a Merge: it does not depend on what the
stage holds, and so neither its cache key nor its layer change with it. It sees nothing of the
stage either: names of users cannot be looked up.
Read next: `minibuild.graph.op`, class `Copy`; `minibuild.graph.remote` for the URLs of ADD.
"""

import posixpath
import re
from collections.abc import Iterator
from itertools import groupby, takewhile

from minibuild.errors import DefinitionError
from minibuild.graph import op
from minibuild.graph.address import without_credentials
from minibuild.graph.frontend import ImageContext
from minibuild.graph.ignore import compiled
from minibuild.graph.owner import parse_owner
from minibuild.graph.pattern import clean, escape_glob, has_wildcard
from minibuild.graph.remote import GitUrl, InvalidRemote, is_commit_hash, parse_remote
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


class _CopySource(NamedTuple):
    """One path of a tree; None is the empty one."""

    tree: Vertex | None
    path: str
    keep_owner: bool = False
    unpack: bool = False
    rules: op.CopyRules = op.CopyRules()


def copy_or_add(state: StageState, written: Copy) -> None:
    """Copy files into the stage."""
    item = _expanded(state, written)
    # BuildKit does not link a copy that changes modes, and what users see depends on it: linked,
    # the directories on the way would take the mode too.
    link = item.link and not item.chmod
    if link:
        _check_owner(item)
    if item.chmod:
        _check_mode(item)
    template = op.Copy(
        0,
        (),
        _destination(state.workdir, state.path(item.dest, item.head, keep_end=True)),
        item.chown,
        item.chmod,
        parents=item.parents,
        exclude=item.exclude,
    )
    inputs: list[Vertex | None] = [None if link else state.vertex]
    actions: list[op.Copy] = []
    # Neighbours of one kind are one action.
    for source, alike in groupby(_sources(state, item), lambda source: source._replace(path="")):
        paths = tuple(one.path for one in alike)
        _, _, kept, unpack, rules = source
        action = template._replace(input=len(inputs), paths=paths, keep_owner=kept, unpack=unpack)
        action = action._replace(rules=rules)
        inputs.append(source.tree)
        actions.append(action)
    note = state.note(item.head)
    copied = Vertex(op.File(tuple(actions)), inputs, note)
    if link:
        text = step_text(item.head, state.env, state.conversion.escape)
        merged = state.note(item.head, f"LINK {text}", same_step=True)
        state.vertex = merge((state.vertex, copied), merged)
    else:
        state.vertex = copied
    state.record(_created_by(item), layer=True, mark=True)


def _expanded(state: StageState, item: Copy) -> Copy:
    """The instruction with its words as they are meant."""

    def word(text: str) -> str:
        return state.word(text, item.head)

    return item._replace(
        sources=tuple(map(word, item.sources)),
        dest=word(item.dest),
        chown=word(item.chown),
        chmod=word(item.chmod),
        checksum=word(item.checksum),
    )


def _created_by(item: Copy) -> str:
    """The instruction as BuildKit notes it: few of its flags, heredocs after the paths."""
    parts: list[str] = [item.kind]
    if item.parents:
        parts.append("--parents")
    if item.chown:
        parts.append(f"--chown={item.chown}")
    if item.chmod:
        parts.append(f"--chmod={item.chmod}")
    parts += [*item.sources, *(f"<<{heredoc.name}" for heredoc in item.heredocs), item.dest]
    return " ".join(parts)


# --- where to, whose, which mode ----------------------------------------------------------------


def _destination(workdir: str, dest: str) -> str:
    """The absolute destination; a slash at its end, or a dot, says that it is a directory."""
    is_directory = dest in ("", ".") or dest.endswith(("/", "/."))
    path = clean(posixpath.join("/", workdir, dest))
    return path + "/" if is_directory and path != "/" else path


def _check_owner(item: Copy) -> None:
    """With --link there are no users to look names up in."""
    name = parse_owner(item.chown).name
    if name:
        raise DockerfileError(
            f'--link cannot look up the user or group "{name}": invalid user index: -1',
            item.head.flag_span("chown"),
            hint="give numbers, as in --chown=1000:1000, or leave out --link",
        )


def _check_mode(item: Copy) -> None:
    from minibuild.graph.mode import parse_mode

    try:
        parse_mode(item.chmod)
    except DefinitionError as error:
        span = item.head.flag_span("chmod")
        raise DockerfileError(error.message, span, hint=error.hint) from None


# --- where from ---------------------------------------------------------------------------------


def _sources(state: StageState, item: Copy) -> Iterator[_CopySource]:
    """All that is copied, in order."""
    yield from (_copied if item.kind == "COPY" else _added)(state, item)
    for heredoc in item.heredocs:
        yield _CopySource(_inline(state, heredoc, item.head), escape_glob(heredoc.name))


def _copied(state: StageState, item: Copy) -> Iterator[_CopySource]:
    """The sources of a COPY, which are paths in one tree."""
    for source in item.sources:
        git, name = remote_of(item, source)
        if git is not None or name:
            kind = "a git ref" if git is not None else "a URL"
            raise _wrong(item, f"source can't be {kind} for COPY", hint="use ADD for it")
    tree = _copied_tree(state.conversion, item) if item.sources or item.from_ else None
    own = tree is not None and not isinstance(tree.op, op.LocalSource)
    for source in item.sources:
        yield _CopySource(tree, _path(state, item, source), keep_owner=own)


def _added(state: StageState, item: Copy) -> Iterator[_CopySource]:
    """The sources of an ADD: paths of the context, downloads, git repositories."""
    if item.checksum and len(item.sources) != 1:
        message = "checksum can't be specified for multiple sources"
        raise _wrong(item, message, "checksum", "write an ADD for each of them")
    for source in item.sources:
        git, name = remote_of(item, source)
        if git is not None:
            # Its top has a mode, too, which a symbolic --chmod changes.
            rules = op.CopyRules(contents=not item.chmod)
            yield _CopySource(_git(state, item, git), ".", rules=rules)
        elif name:
            tree = _download(state, item, op.HttpSource(source, name, item.checksum))
            yield _CopySource(tree, escape_glob(name), unpack=item.unpack is True)
        elif item.checksum:
            message = "checksum requires HTTP(S) or Git sources"
            raise _wrong(item, message, "checksum", "leave it out: files of the context are known")
        else:
            context = state.conversion.sources.main_context(item.head.span)
            path = _path(state, item, source)
            yield _CopySource(context, path, unpack=item.unpack is not False)


def remote_of(item: Copy, source: str) -> tuple[GitUrl | None, str]:
    """A source as a git address, or the file name of one on the web; neither if it is a path."""
    try:
        return parse_remote(source)
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
    context = state.conversion.request.context
    if not item.from_ and not isinstance(context, ImageContext):
        path = state.path(source, item.head)
        _check_ignored(state, item, path, context.ignore.patterns)
    parent, pivot, rest = source.partition("/./") if item.parents else ("", "", "")
    rest = _relative(state.path(rest if pivot else source, item.head))
    parent = _relative(state.path(parent, item.head))
    return f"{parent}/./{rest}" if pivot and parent != "." else rest


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


def _git(state: StageState, item: Copy, git: GitUrl) -> Vertex:
    if git.checksum and item.checksum and git.checksum != item.checksum:
        raise _wrong(item, "checksum in the URL and in --checksum differ", "checksum")
    if None not in (item.keep_git_dir, git.keep_git_dir) and item.keep_git_dir != git.keep_git_dir:
        raise _wrong(item, "inconsistent keep-git-dir configuration", "keep-git-dir")
    if item.checksum and not is_commit_hash(item.checksum):
        raise _wrong(
            item,
            f"invalid checksum {item.checksum} for Git URL, expected hex commit hash",
            "checksum",
            "write the hash of the commit, or its first digits",
        )
    keep = item.keep_git_dir if item.keep_git_dir is not None else git.keep_git_dir
    text = f"load git source {without_credentials(git.remote)}"
    source = git.source(item.checksum, keep_git_dir=bool(keep))
    return Vertex(source, (), _source_note(state, item.head, text))


def _download(state: StageState, item: Copy, source: op.HttpSource) -> Vertex:
    if source.checksum and not re.fullmatch("sha256:[0-9a-f]{64}", source.checksum):
        what = "length" if re.fullmatch("sha256:(?!.{64}$).+", source.checksum) else "format"
        raise _wrong(
            item,
            f'invalid checksum digest {what}: "{source.checksum}"',
            "checksum",
            "write sha256: and 64 hex digits",
        )
    text = f"load {without_credentials(source.url)}"
    return Vertex(source, (), _source_note(state, item.head, text))


def _source_note(state: StageState, head: Head, text: str) -> Note:
    return Note(f"[internal] {text}", head.span, state.note_stage, state.ignore_cache)


def _inline(state: StageState, heredoc: Heredoc, head: Head) -> Vertex:
    """A tree with an inline file."""
    text = heredoc.text
    if heredoc.expand:
        found = process_heredoc(text, state.env, heredoc.span, state.conversion.budget)
        state.note_unset(found.unset, head)
        text = as_utf8(found.text)
    return state.inline_file(heredoc, text)
