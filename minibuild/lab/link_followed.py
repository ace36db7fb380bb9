"""The exhibit `link-followed`: the way out of the merge by a symlink."""

from minibuild.lab.exhibit import Exhibit, Quoted, Variation, linked
from minibuild.snapshot.apply import Applier

_CHANGE = "rm /x && mkdir /x && echo > /x/file"
_LAST = "test ! -L /x && test -e /x/file && test -e /file3"
_FIRST = "COPY --link --from=links /links/ /"
_SECOND = "COPY --link file3 /file3"


def _dockerfile(links: str, change: str = _CHANGE, last: str = _LAST, second: str = _SECOND) -> str:
    made = f"FROM busybox AS links\nRUN mkdir /links && {links}\n"
    return made + linked(change, last, _FIRST, second)


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
    recipe=_dockerfile("ln -s / /links/x"),
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
        Variation("a link to /bin", _dockerfile("ln -s /bin /links/x")),
        Variation(
            "the link made by RUN",
            linked(_CHANGE, _LAST, "RUN ln -s / /x"),
            (1,),
        ),
        Variation("a link to a file", _dockerfile("ln -s /bin/sh /links/x"), (2,)),
        Variation("a link to nothing", _dockerfile("ln -s /no/where /links/x"), (2,)),
        Variation(
            "a file in its place",
            _dockerfile(
                "ln -s / /links/x",
                "rm /x && echo > /x",
                "test ! -L /x && test -f /x && test -e /file3",
            ),
            (3,),
        ),
        Variation(
            "no second link",
            _dockerfile("ln -s / /links/x", last="test ! -L /x && test -e /x/file", second=""),
            (4,),
        ),
    ),
)
