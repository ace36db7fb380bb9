"""The exhibit `type-mask`: types of files compared by one bit.

A socket stands for a block device, so that it can be seen without root as well: busybox's syslogd
makes one where the symlink /dev/log points to.
"""

from minibuild.lab.exhibit import Exhibit, Quoted, Variation, linked
from minibuild.snapshot.apply import Applier

_SOCKET = "ln -s /x /dev/log && syslogd && until test -S /x; do usleep 10000; done"
_LINKED = "COPY --link file1 /x/file1"

EXHIBIT = Exhibit(
    name="type-mask",
    title="a socket or a block device over a directory, taken for a directory",
    story="""\
The type of a file is a number in its mode: directory 04, block device 06, socket 014 (octal). These
share a bit. A merge that asks "are both directories?" by AND-ing the two numbers with each other
takes a socket over a directory for a directory over a directory, does not remove the old one, and
finds it in the way. The fix is one condition: both numbers have to be that of a directory.""",
    condition=Quoted(Applier._make_room, '"type-mask"', 4),
    buildkit="applyDelete in snapshot/diffapply_linux.go, where the test by one bit still is",
    recipe=linked(f"rm -r /x && {_SOCKET}", "test -S /x && test -e /file3", _LINKED),
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
            linked("rm -r /x && mknod /x b 7 0", "test -b /x && test -e /file3", _LINKED),
            needs_devices=True,
        ),
        Variation(
            "a fifo", linked("rm -r /x && mkfifo /x", "test -p /x && test -e /file3", _LINKED), (3,)
        ),
        Variation(
            "a file", linked("rm -r /x && echo > /x", "test -f /x && test -e /file3", _LINKED), (3,)
        ),
        Variation(
            "nothing in its place",
            linked("rm -r /x", "test ! -e /x && test -e /file3", _LINKED),
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
            linked(f"rm -r /x && {_SOCKET}", "test -S /x", _LINKED, second=""),
            (4,),
        ),
    ),
)
