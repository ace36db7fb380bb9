"""The exhibits: for each defect a build that shows it, and variations that break its conditions.

A new one is data here, a switch in `minibuild.snapshot.defects`, and a story in docs/lab.md.
Read next: `exhibit_builder`.
"""

from collections.abc import Mapping

from minibuild.errors import UsageError
from minibuild.graph.spelling import one_of
from minibuild.graph.state import Mount, State, diff, image, merge, scratch
from minibuild.lab.exhibit import Exhibit, Quoted, Variation, linked
from minibuild.linux.tree_writer import TreeWriter
from minibuild.snapshot.apply import Applier
from minibuild.snapshot.defects import OLD_NAMES

# --- whiteout-hardlink: moby/buildkit pull request 4516, also in testdata/whiteout-hardlink ---

_GONE = "test ! -e /file1 && test ! -e /file2 && ls -l /file3"
_BELOW = "RUN touch /file2\nCOPY --link file1 /file1"


def the_test_of_the_pull_request() -> State:
    """TestDiffDeleteFilesAfterMerge: a Diff whose upper side is a RUN on a merge. There is no COPY
    --link in it; the merge puts a file beside one that its base has not."""
    base = image("busybox").run("mkdir /dir && touch /dir/file1")
    extra = scratch().mkdir("/dir").mkfile("/dir/file2", b"file2\n")
    top = merge([base, extra]).run("rm /dir/file1 /dir/file2")
    changes = diff(base, top)
    last = "test -d /changes/dir && test ! -e /changes/dir/file1 && test ! -e /changes/dir/file2"
    return image("busybox").run(last, mounts=[Mount("/changes", changes)])


_WHITEOUT_HARDLINK = Exhibit(
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
    recipe=linked("rm /file1 /file2", _GONE, _BELOW),
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
            linked("rm /file1 && sh -c 'rm /file2'; sh -c true", _GONE, _BELOW),
        ),
        Variation(
            "names in the other order",
            linked("rm /file1 /file2", _GONE, "RUN touch /file1\nCOPY --link file2 /file2"),
            (4,),
        ),
        Variation("one file only", linked("rm /file2", "test ! -e /file2", _BELOW), (3,)),
        Variation(
            "two RUNs",
            linked("rm /file2", _GONE, "RUN touch /file2\nCOPY --link file1 /file1\nRUN rm /file1"),
            (3,),
        ),
        Variation(
            "no second link",
            linked("rm /file1 /file2", "test ! -e /file1 && test ! -e /file2", _BELOW, second=""),
            (5,),
        ),
        Variation("no step after it", linked("rm /file1 /file2", "", _BELOW), (5,)),
        Variation(
            "COPY without --link",
            linked("rm /file1 /file2", _GONE, "RUN touch /file2\nCOPY file1 /file1"),
            (2,),
        ),
        Variation(
            "both files by COPY --link",
            linked("rm /file1 /file2", _GONE, "COPY --link file2 /file2\nCOPY --link file1 /file1"),
            (1,),
        ),
    ),
)


# --- type-mask: types of files compared by one bit ---

# A socket stands for a block device, so that it can be seen without root as well: busybox's syslogd
# makes one where the symlink /dev/log points to.
_SOCKET = "ln -s /x /dev/log && syslogd && until test -S /x; do usleep 10000; done"
_FOLDER = "COPY --link file1 /x/file1"

_TYPE_MASK = Exhibit(
    name="type-mask",
    title="a socket or a block device over a directory, taken for a directory",
    story="""\
The type of a file is a number in its mode: directory 04, block device 06, socket 014 (octal). These
share a bit. A merge that asks "are both directories?" by AND-ing the two numbers with each other
takes a socket over a directory for a directory over a directory, does not remove the old one, and
finds it in the way. The fix is one condition: both numbers have to be that of a directory.""",
    condition=Quoted(Applier._make_room, '"type-mask"', 4),
    buildkit="applyDelete in snapshot/diffapply_linux.go, where the test by one bit still is",
    recipe=linked(f"rm -r /x && {_SOCKET}", "test -S /x && test -e /file3", _FOLDER),
    files={"file1": "file1\n", "file3": "file3\n"},
    watched="RUN rm ",
    paths=("x",),
    error=r"^failed to (create file|hardlink) during apply: .*: file exists$",
    conditions=(
        "a directory comes by COPY --link and is not in the merge's base",
        "a RUN puts something else in its place",
        "its type has the bit of a directory: a socket, a block device",
        "after another COPY --link a step needs the files, so there is a merge",
    ),
    variations=(
        Variation(
            "a block device",
            linked("rm -r /x && mknod /x b 7 0", "test -b /x && test -e /file3", _FOLDER),
            needs_devices=True,
        ),
        Variation(
            "a fifo", linked("rm -r /x && mkfifo /x", "test -p /x && test -e /file3", _FOLDER), (3,)
        ),
        Variation(
            "a file", linked("rm -r /x && echo > /x", "test -f /x && test -e /file3", _FOLDER), (3,)
        ),
        Variation(
            "nothing in its place",
            linked("rm -r /x", "test ! -e /x && test -e /file3", _FOLDER),
            (2, 3),
        ),
        Variation(
            "the directory made by RUN",
            linked(
                f"rm -r /x && {_SOCKET}",
                "test -S /x && test -e /file3",
                "RUN mkdir /x && echo > /x/file1",
            ),
            (1,),
        ),
        Variation(
            "no second link",
            linked(f"rm -r /x && {_SOCKET}", "test -S /x", _FOLDER, second=""),
            (4,),
        ),
    ),
)


# --- opaque-copied: the mark of an opaque directory, taken to another base ---
# A Diff is put on another base than its own, which no Dockerfile can say; so it is a graph.

_NEW = "rm -r /d && mkdir /d && touch /d/new"
_LAST = "test -e /d/new && test ! -e /d/old && test -e /d/base"


def on_another_base() -> State:
    """A directory is removed and made again; what changed is put on a base that has one, too."""
    base = image("busybox").run("mkdir /d && touch /d/base")
    before = image("busybox").run("mkdir /d && touch /d/old")
    after = before.run("rm -r /d && mkdir /d && touch /d/new")
    last = "test -e /d/new && test ! -e /d/old && test -e /d/base"
    return merge([base, diff(before, after)]).run(last)


def not_made_again() -> State:
    """The file in the directory is replaced, and the directory stays."""
    base = image("busybox").run("mkdir /d && touch /d/base")
    before = image("busybox").run("mkdir /d && touch /d/old")
    after = before.run("rm /d/old && touch /d/new")
    return merge([base, diff(before, after)]).run(_LAST)


def on_its_own_base() -> State:
    """The same changes, one more link, and the base that they were made on."""
    before = image("busybox").run("mkdir /d && touch /d/old")
    after = before.run(_NEW)
    other = diff(image("busybox"), image("busybox").run("touch /other"))
    last = "test -e /d/new && test ! -e /d/old && test -e /other"
    return merge([before, other, diff(before, after)]).run(last)


def the_base_has_no_such_directory() -> State:
    """What the mark would hide is not there."""
    base = image("busybox").run("touch /base")
    before = image("busybox").run("mkdir /d && touch /d/old")
    after = before.run(_NEW)
    return merge([base, diff(before, after)]).run("test -e /d/new && test -e /base")


_OPAQUE_COPIED = Exhibit(
    name="opaque-copied",
    title="an opaque directory on another base: files that no step deleted are gone",
    story="""\
A directory that a RUN removes and makes again is, in its upperdir, opaque: an attribute hides all
that lies below. That is right where it was made. In a diff it means "these names are gone", one by
one; on another base the same directory may have other files, and they have to stay. A merge that
copies the attribute with the others hides them, without a word. The fix is one condition: the
attributes of overlayfs say how a layer is stored, and no merge copies them.""",
    condition=Quoted(Applier._make_directory, '"opaque-copied"', 2),
    buildkit="applyCopy in snapshot/diffapply_linux.go, which leaves out what isOpaqueXattr says",
    recipe=on_another_base,
    files={},
    watched="RUN /bin/sh -c rm ",
    paths=("d", "d/new"),
    error=r"exit code: 1",
    conditions=(
        "a RUN removes a directory and makes it again, so it is opaque",
        "its changes are put on a base that has other files in that directory",
    ),
    variations=(
        Variation("the directory is not made again", not_made_again, (1,)),
        Variation("put on its own base", on_its_own_base, (2,)),
        Variation("a base without the directory", the_base_has_no_such_directory, (2,)),
    ),
)


# --- link-followed: the way out of the merge by a symlink ---

_INSTEAD = "rm /x && mkdir /x && echo > /x/file"
_NO_LINK = "test ! -L /x && test -e /x/file && test -e /file3"
_LINKS_FIRST = "COPY --link --from=links /links/ /"


def _with_links(links: str, change: str = _INSTEAD, last: str = _NO_LINK, **rest: str) -> str:
    made = f"FROM busybox AS links\nRUN mkdir /links && {links}\n"
    return made + linked(change, last, _LINKS_FIRST, **rest)


_LINK_FOLLOWED = Exhibit(
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
    recipe=_with_links("ln -s / /links/x"),
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
        Variation("a link to /bin", _with_links("ln -s /bin /links/x")),
        Variation("the link made by RUN", linked(_INSTEAD, _NO_LINK, "RUN ln -s / /x"), (1,)),
        Variation("a link to a file", _with_links("ln -s /bin/sh /links/x"), (2,)),
        Variation("a link to nothing", _with_links("ln -s /no/where /links/x"), (2,)),
        Variation(
            "a file in its place",
            _with_links(
                "ln -s / /links/x",
                "rm /x && echo > /x",
                "test ! -L /x && test -f /x && test -e /file3",
            ),
            (3,),
        ),
        Variation(
            "no second link",
            _with_links("ln -s / /links/x", last="test ! -L /x && test -e /x/file", second=""),
            (4,),
        ),
    ),
)


# --- early-times: the time of a directory, set before its files are put into it ---

_TIMED = "mkdir /d && echo > /d/file2 && touch -d @1000000000 /d"
_IS_OLD = 'test "$(stat -c %Y /d)" = 1000000000'


_EARLY_TIMES = Exhibit(
    name="early-times",
    title="the time of a directory, set before its files: an image that is never the same twice",
    story="""\
A merge makes a directory, gives it the owner, mode and time of the diff, and then puts the files
into it. Each of those changes the directory, and so its time: the clock of the machine overwrites
what was set. The next build of the same files then gives another image. The fix is one condition:
the time is set when the merge leaves the directory.""",
    condition=Quoted(TreeWriter.describe, '"early-times"', 3),
    buildkit="Flush in snapshot/diffapply_linux.go, which sets the times of directories at the end",
    recipe=linked(_TIMED, _IS_OLD),
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
            linked("echo > /other", _IS_OLD, f"RUN {_TIMED}\nCOPY --link file1 /file1"),
            (1,),
        ),
        Variation(
            "an empty directory", linked("mkdir /d && touch -d @1000000000 /d", _IS_OLD), (2,)
        ),
        Variation("no second link", linked(_TIMED, _IS_OLD, second=""), (3,)),
        Variation(
            "the time of a file",
            linked(
                "mkdir /d && touch -d @1000000000 /d/f", 'test "$(stat -c %Y /d/f)" = 1000000000'
            ),
            (1,),
        ),
    ),
)


# --- owner-last: the owner of a copy, set after its mode ---

_OWNER_LAST = Exhibit(
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
            "no second link", linked("mkfifo /x && chmod 4755 /x", "test -u /x", second=""), (4,)
        ),
    ),
)


EXHIBITS: Mapping[str, Exhibit] = {
    made.name: made
    for made in (_WHITEOUT_HARDLINK, _TYPE_MASK, _OPAQUE_COPIED, _LINK_FOLLOWED, _EARLY_TIMES,
                 _OWNER_LAST)
}  # fmt: skip
"""All of them by name."""


def exhibit(name: str) -> Exhibit:
    """The exhibit called `name`, now or before. Raises `UsageError`."""
    found = EXHIBITS.get(OLD_NAMES.get(name, name))
    if found is None:
        raise UsageError(f"there is no exhibit {name!r}", hint=one_of(name, EXHIBITS))
    return found
