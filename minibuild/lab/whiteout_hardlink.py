"""The exhibit `whiteout-hardlink`: moby/buildkit pull request 4516.

The same Dockerfile, with comments, is testdata/whiteout-hardlink.
"""

from minibuild.lab.exhibit import Exhibit, Variation

_LAST = "RUN test ! -e /file1 && test ! -e /file2 && ls -l /file3\n"

EXHIBIT = Exhibit(
    name="whiteout-hardlink",
    defect="whiteout-links",
    title="two whiteouts with one inode, taken for hardlinks (moby/buildkit pull request 4516)",
    story="""\
The kernel gives the whiteouts that one RUN makes the same inode. A merge keeps the hardlinks of a
diff together, so the second whiteout is to be linked to where the first was applied. But a whiteout
is written only where a lower layer has the path: the first was left out, and there is nothing to
link to. The fix is one condition: a deletion never takes part in keeping hardlinks together.""",
    dockerfile=f"""\
FROM busybox
RUN touch /file2
COPY --link file1 /file1
RUN rm /file1 /file2
COPY --link file3 /file3
{_LAST}""",
    files={"file1": "file1\n", "file2": "file2\n", "file3": "file3\n"},
    watched="RUN rm ",
    paths=("file1", "file2"),
    error=r"^failed to hardlink during apply: link .+/file1 .+/file2: no such file or directory$",
    shared_inode=True,
    conditions=(
        "one file is in the merge's base, so its whiteout is needed",
        "another comes by COPY --link and is not in the base, so its whiteout is not",
        "one RUN deletes both, so that their whiteouts are one inode",
        "the name of the whiteout that is not needed sorts first",
        "after another COPY --link a step needs the files, so there is a merge",
    ),
    variations=(
        Variation(
            "names in the other order",
            """\
FROM busybox
RUN touch /file1
COPY --link file2 /file2
RUN rm /file1 /file2
COPY --link file3 /file3
"""
            + _LAST,
            (4,),
        ),
        Variation(
            "one file only",
            """\
FROM busybox
RUN touch /file2
COPY --link file1 /file1
RUN rm /file2
COPY --link file3 /file3
RUN test ! -e /file2
""",
            (3,),
        ),
        Variation(
            "two RUNs",
            """\
FROM busybox
RUN touch /file2
COPY --link file1 /file1
RUN rm /file1
RUN rm /file2
COPY --link file3 /file3
"""
            + _LAST,
            (3,),
        ),
        Variation(
            "no second link",
            """\
FROM busybox
RUN touch /file2
COPY --link file1 /file1
RUN rm /file1 /file2
RUN test ! -e /file1 && test ! -e /file2
""",
            (5,),
        ),
        Variation(
            "no step after it",
            """\
FROM busybox
RUN touch /file2
COPY --link file1 /file1
RUN rm /file1 /file2
COPY --link file3 /file3
""",
            (5,),
        ),
        Variation(
            "COPY without --link",
            """\
FROM busybox
RUN touch /file2
COPY file1 /file1
RUN rm /file1 /file2
COPY --link file3 /file3
"""
            + _LAST,
            (2,),
        ),
        Variation(
            "both files by COPY --link",
            """\
FROM busybox
COPY --link file2 /file2
COPY --link file1 /file1
RUN rm /file1 /file2
COPY --link file3 /file3
"""
            + _LAST,
            (1,),
        ),
    ),
)
