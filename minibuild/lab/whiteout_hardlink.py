"""The exhibit `whiteout-hardlink`: moby/buildkit pull request 4516.

The same Dockerfile, with comments, is testdata/whiteout-hardlink.
"""

from minibuild.graph.state import Mount, State, diff, image, merge, scratch
from minibuild.lab.exhibit import Exhibit, Quoted, Variation, linked
from minibuild.snapshot.apply import Applier

_LAST = "test ! -e /file1 && test ! -e /file2 && ls -l /file3"
_FIRST = "RUN touch /file2\nCOPY --link file1 /file1"


def the_test_of_the_pull_request() -> State:
    """TestDiffDeleteFilesAfterMerge: a Diff whose upper side is a RUN on a merge. There is no COPY
    --link in it; the merge puts a file beside one that its base has not."""
    base = image("busybox").run("mkdir /dir && touch /dir/file1")
    extra = scratch().mkdir("/dir").mkfile("/dir/file2", b"file2\n")
    top = merge([base, extra]).run("rm /dir/file1 /dir/file2")
    changes = diff(base, top)
    last = "test -d /changes/dir && test ! -e /changes/dir/file1 && test ! -e /changes/dir/file2"
    return image("busybox").run(last, mounts=[Mount("/changes", changes)])


EXHIBIT = Exhibit(
    name="whiteout-hardlink",
    title="two whiteouts with one inode, taken for hardlinks (moby/buildkit pull request 4516)",
    story="""\
The kernel gives all whiteouts of one mount, which is that of one RUN, the same inode. A merge keeps
the hardlinks of a diff together, so the second whiteout is to be linked to where the first was
applied. But a whiteout is written only where a lower layer has the path: the first was left out,
and there is nothing to link to. The fix is one condition: a deletion never takes part in keeping
hardlinks together.""",
    condition=Quoted(Applier._applied_before, '"whiteout-hardlink"', 2),
    buildkit="overlayChanges in snapshot/diffapply_linux.go, for what applyHardlink links there",
    recipe=linked("rm /file1 /file2", _LAST, _FIRST),
    files={"file1": "file1\n", "file2": "file2\n", "file3": "file3\n"},
    watched="RUN rm ",
    paths=("file1", "file2"),
    error=r"^failed to hardlink during apply: link .+/file1 .+/file2: no such file or directory$",
    shared_inode=True,
    conditions=(
        "one file is in the merge's base, so its whiteout is needed",
        "the other is not below the merge, so its whiteout is not",
        "one mount sees both deletions, so that their whiteouts are one inode",
        "the name of the whiteout that is not needed sorts first",
        "something needs the tree, so there is a merge",
    ),
    variations=(
        Variation("the pull request's own test, a Diff", the_test_of_the_pull_request),
        Variation(
            "one RUN, two processes",
            linked("rm /file1 && sh -c 'rm /file2'; sh -c true", _LAST, _FIRST),
        ),
        Variation(
            "names in the other order",
            linked("rm /file1 /file2", _LAST, "RUN touch /file1\nCOPY --link file2 /file2"),
            (4,),
        ),
        Variation("one file only", linked("rm /file2", "test ! -e /file2", _FIRST), (3,)),
        Variation(
            "two RUNs",
            linked("rm /file2", _LAST, "RUN touch /file2\nCOPY --link file1 /file1\nRUN rm /file1"),
            (3,),
        ),
        Variation(
            "no second link",
            linked("rm /file1 /file2", "test ! -e /file1 && test ! -e /file2", _FIRST, second=""),
            (5,),
        ),
        Variation(
            "no step after it",
            linked("rm /file1 /file2", "", _FIRST),
            (5,),
        ),
        Variation(
            "COPY without --link",
            linked("rm /file1 /file2", _LAST, "RUN touch /file2\nCOPY file1 /file1"),
            (2,),
        ),
        Variation(
            "both files by COPY --link",
            linked("rm /file1 /file2", _LAST, "COPY --link file2 /file2\nCOPY --link file1 /file1"),
            (1,),
        ),
    ),
)
