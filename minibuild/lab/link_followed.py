"""The exhibit `link-followed`: the way out of the merge by a symlink."""

from minibuild.lab.exhibit import Exhibit, Quoted, Variation
from minibuild.snapshot.apply import Applier

_LAST = "RUN test ! -L /x && test -e /x/file && test -e /file3\n"


def _dockerfile(links: str, change: str, last: str = _LAST) -> str:
    return f"""\
FROM busybox AS links
RUN mkdir /links && {links}
FROM busybox
COPY --link --from=links /links/ /
RUN {change}
COPY --link file3 /file3
{last}"""


_CHANGE = "rm /x && mkdir /x && echo > /x/file"

EXHIBIT = Exhibit(
    name="link-followed",
    title="a symlink taken for a directory: deletions and writes that leave the merge",
    story="""\
A merge writes into a directory of the store, and what it finds there comes from images: a symlink
may lead anywhere, also to the root of this machine. Here a link to `/` is in the way of a
directory. A merge that asks for the type of what it finds *through* the link takes it for a
directory over a directory, keeps it, and goes on inside: what the diff deletes or writes would be
deleted and written on the machine that builds, as root. The fix is one condition: look at the link,
not through it. There is a second guard, so the defect ends in an error here and not in a disaster:
each directory on the way is opened with O_NOFOLLOW.""",
    condition=Quoted(Applier._type_of, '"link-followed"', 3),
    buildkit="Apply in snapshot/diffapply_linux.go asks os.Lstat; safeJoin is the second guard",
    recipe=_dockerfile("ln -s / /links/x", _CHANGE),
    files={"file3": "file3\n"},
    watched="RUN rm ",
    paths=("x", "x/file"),
    error=r"^failed to create directory during apply: .*/x: not a directory$",
    conditions=(
        "a symlink comes by COPY --link and is not in the merge's base",
        "it leads to a directory",
        "a RUN puts a directory in its place",
        "after another COPY --link a step needs the files, so there is a merge",
    ),
    variations=(
        Variation("a link to /bin", _dockerfile("ln -s /bin /links/x", _CHANGE)),
        Variation(
            "the link made by RUN",
            f"FROM busybox\nRUN ln -s / /x\nRUN {_CHANGE}\nCOPY --link file3 /file3\n{_LAST}",
            (1,),
        ),
        Variation("a link to a file", _dockerfile("ln -s /bin/sh /links/x", _CHANGE), (2,)),
        Variation("a link to nothing", _dockerfile("ln -s /no/where /links/x", _CHANGE), (2,)),
        Variation(
            "a file in its place",
            _dockerfile(
                "ln -s / /links/x",
                "rm /x && echo > /x",
                "RUN test ! -L /x && test -f /x && test -e /file3\n",
            ),
            (3,),
        ),
        Variation(
            "no second link",
            f"""\
FROM busybox AS links
RUN mkdir /links && ln -s / /links/x
FROM busybox
COPY --link --from=links /links/ /
RUN {_CHANGE}
RUN test ! -L /x && test -e /x/file
""",
            (4,),
        ),
    ),
)
