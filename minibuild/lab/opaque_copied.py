"""The exhibit `opaque-copied`: the mark of an opaque directory, taken to another base.

It takes a Diff that is put on another base than its own, which no Dockerfile can say; so it is a
graph.
"""

from minibuild.graph.state import State, diff, image, merge
from minibuild.lab.exhibit import Exhibit, Quoted, Variation
from minibuild.snapshot.apply import Applier

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


EXHIBIT = Exhibit(
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
