"""The exhibit `owner-last`: the owner of a copy, set after its mode."""

from minibuild.lab.exhibit import Exhibit, Quoted, Variation, linked
from minibuild.linux.tree_writer import TreeWriter

EXHIBIT = Exhibit(
    name="owner-last",
    title="the owner of a copy, set after its mode: set-user-id bits and capabilities are lost",
    story="""\
A change of owner takes the set-user-id bit and the capabilities away from a file: the kernel does
so for safety, see chown(2). So a copy gets its owner first, then its mode, then its extended
attributes. A merge links files and copies few things: fifos and sockets, which must not be shared,
and what is on another filesystem. So a fifo shows the defect here. Where files have to be copied,
sudo and ping would stop working. The fix is the order.""",
    condition=Quoted(TreeWriter.special, '"owner-last"', 6),
    buildkit='applyCopy in snapshot/diffapply_linux.go: "chown happens before setting xattrs"',
    recipe=linked("mkfifo /x && chmod 4755 /x", "test -u /x"),
    files={"file1": "file1\n", "file3": "file3\n"},
    watched="RUN mkfifo ",
    paths=("x",),
    error=r"exit code: 1",
    conditions=(
        "something is copied and not linked: a fifo, a socket",
        "it has a set-user-id bit",
        "a RUN makes it that is not in the merge's base",
        "after another COPY --link a step needs the files, so there is a merge",
    ),
    variations=(
        Variation("a file", linked("echo > /x && chmod 4755 /x", "test -u /x"), (1,)),
        Variation("an ordinary mode", linked("mkfifo -m 700 /x", "test ! -u /x"), (2,)),
        Variation(
            "the fifo in the base",
            linked(
                "echo > /other",
                "test -u /x",
                "RUN mkfifo /x && chmod 4755 /x\nCOPY --link file1 /file1",
            ),
            (3,),
        ),
        Variation(
            "no second link",
            linked("mkfifo /x && chmod 4755 /x", "test -u /x", second=""),
            (4,),
        ),
    ),
)
