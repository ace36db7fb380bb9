"""RUN, COPY and ADD: the instructions that may have inline files.

Comes in: a `Clause` with its heredocs. Goes out: `Run` and `Copy`. The rules are those of
the Dockerfile reference, and of BuildKit for which sources are heredocs.
Read next: `mounts` for RUN --mount.
"""

from typing import Literal, get_args

from minibuild.errors import Span
from minibuild.graph.op import Network, Security
from minibuild.graph.spelling import did_you_mean
from minibuild_dockerfile.clause import Clause
from minibuild_dockerfile.heredocs import heredoc_word
from minibuild_dockerfile.instructions import (
    Copy,
    ExecForm,
    Head,
    Heredoc,
    MountSpec,
    Run,
    ShellForm,
)

_NETWORKS: dict[str, Network] = {name: name for name in get_args(Network)}
_SECURITY: dict[str, Security] = {name: name for name in get_args(Security)}


def _mount(text: str, span: Span) -> MountSpec:
    from minibuild_dockerfile.mounts import parse_mount  # for those who have one

    return parse_mount(text, span)


def _check_devices(head: Head) -> None:
    for flag in head.flags:
        if flag.name == "device":
            from minibuild_dockerfile.devices import check_device

            check_device(flag.value or "", flag.span)


def run(clause: Clause) -> Run:
    head = clause.head()
    network = head.text("network", "default")
    if network not in _NETWORKS:
        raise clause.error(
            f'invalid network mode "{network}"{did_you_mean(network, _NETWORKS)}',
            "it may be default, none or host",
            head.flag_span("network"),
        )
    security = head.text("security", "sandbox")
    if security not in _SECURITY:
        raise clause.error(
            f'security "{security}" is not valid{did_you_mean(security, _SECURITY)}',
            "it may be sandbox or insecure",
            head.flag_span("security"),
        )
    mounts = tuple(
        _mount(flag.value or "", flag.span) for flag in head.flags if flag.name == "mount"
    )
    _check_devices(head)
    argv = clause.json()
    heredocs = clause.logical.heredocs
    script = bool(heredocs) and heredoc_word(clause.rest.text) is not None
    return Run(
        head,
        ShellForm(clause.rest.text) if argv is None else ExecForm(argv),
        heredocs,
        script,
        mounts,
        _NETWORKS[network],
        _SECURITY[security],
    )


def _sources(clause: Clause) -> tuple[tuple[str, ...], str, tuple[Heredoc, ...]]:
    """The paths, the destination, and the inline files, which come after all paths."""
    array = clause.json()
    words = array or tuple(word.text for word in clause.separated())
    if array == () or len(words) < 2:
        count = "only one was provided" if words and array != () else "none was provided"
        raise clause.error(
            f"{clause.instruction} requires at least two arguments, but {count}. "
            "Destination could not be determined",
            f"write {clause.instruction} source destination",
        )
    *sources, dest = words
    if array is not None:
        return tuple(sources), dest, ()
    if heredoc_word(dest):
        raise clause.error(
            f"{clause.instruction} cannot accept a heredoc as a destination",
            "put the destination after the heredoc",
        )
    by_name = {doc.name: doc for doc in clause.logical.heredocs}
    paths: list[str] = []
    heredocs: list[Heredoc] = []
    for source in sources:
        found = heredoc_word(source)
        if found and found.name in by_name:
            heredocs.append(by_name[found.name])
        elif found or (by_name and source.startswith("<<")):
            raise clause.error(
                f"{clause.instruction} cannot find the text of the heredoc {source}",
                "write <<NAME without spaces, and close every quote in the line",
            )
        else:
            paths.append(source)
    return tuple(paths), dest, tuple(heredocs)


def copy(clause: Clause) -> Copy:
    return _transfer(clause, "COPY")


def add(clause: Clause) -> Copy:
    return _transfer(clause, "ADD")


def _transfer(clause: Clause, kind: Literal["COPY", "ADD"]) -> Copy:
    sources = _sources(clause)
    head = clause.head()
    return Copy(
        head,
        kind,
        *sources,
        from_=head.text("from"),
        chown=head.text("chown"),
        chmod=head.text("chmod"),
        link=head.truth("link") or False,
        parents=head.truth("parents") or False,
        exclude=head.texts("exclude"),
        checksum=head.text("checksum"),
        keep_git_dir=head.truth("keep-git-dir"),
        unpack=head.truth("unpack"),
    )
