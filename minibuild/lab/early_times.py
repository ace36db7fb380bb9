"""The exhibit `early-times`: the time of a directory, set before its files are put into it."""

from minibuild.lab.exhibit import Exhibit, Quoted, Variation, linked
from minibuild.linux.tree_writer import TreeWriter

_MAKE = "mkdir /d && echo > /d/file2 && touch -d @1000000000 /d"
_OLD = 'test "$(stat -c %Y /d)" = 1000000000'


EXHIBIT = Exhibit(
    name="early-times",
    title="the time of a directory, set before its files: an image that is never the same twice",
    story="""\
A merge makes a directory, gives it the owner, mode and time of the diff, and then puts the files
into it. Each of those changes the directory, and so its time: the clock of the machine overwrites
what was set. The next build of the same files then gives another image. The fix is one condition:
the time is set when the merge leaves the directory.""",
    condition=Quoted(TreeWriter.describe, '"early-times"', 3),
    buildkit="Flush in snapshot/diffapply_linux.go, which sets the times of directories at the end",
    recipe=linked(_MAKE, _OLD),
    files={"file1": "file1\n", "file3": "file3\n"},
    watched="RUN mkdir ",
    paths=("d", "d/file2"),
    error=r"exit code: 1",
    conditions=(
        "a RUN that is not in the merge's base makes a directory with a time",
        "something is in it",
        "after another COPY --link a step needs the files, so there is a merge",
    ),
    variations=(
        Variation(
            "the directory in the base",
            linked("echo > /other", _OLD, f"RUN {_MAKE}\nCOPY --link file1 /file1"),
            (1,),
        ),
        Variation("an empty directory", linked("mkdir /d && touch -d @1000000000 /d", _OLD), (2,)),
        Variation(
            "no second link",
            linked(_MAKE, _OLD, second=""),
            (3,),
        ),
        Variation(
            "the time of a file",
            linked(
                "mkdir /d && touch -d @1000000000 /d/f", 'test "$(stat -c %Y /d/f)" = 1000000000'
            ),
            (1,),
        ),
    ),
)
