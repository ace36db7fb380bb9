"""What an exhibit is: a Dockerfile, one switch, and what is to be seen. Data only.

Read next: `whiteout_hardlink`, an exhibit; `stage`, which performs them.
"""

from collections.abc import Mapping

from minibuild.startup.tuples import NamedTuple


class Variation(NamedTuple):
    """The Dockerfile with one thing changed.

    `breaks` are the conditions that no longer hold, counted from 1. If there are none, the defect
    shows here as well. `needs_devices`: the kernel must let a step make device nodes.
    """

    name: str
    dockerfile: str
    breaks: tuple[int, ...] = ()
    needs_devices: bool = False


class Exhibit(NamedTuple):
    """A defect to be seen.

    `defect` names the switch in `minibuild.snapshot.defects`. `files` are those of the build
    context. The last RUN of `dockerfile` is the step that needs the merge; `watched` is a part of
    the instruction whose upperdir is shown, `paths` what to look at there. `error` is how the
    merge fails, a regular expression. `shared_inode`: it can be seen only if `paths` are whiteouts
    with one inode.
    """

    name: str
    defect: str
    title: str
    story: str
    dockerfile: str
    files: Mapping[str, str]
    watched: str
    paths: tuple[str, ...]
    error: str
    conditions: tuple[str, ...]
    variations: tuple[Variation, ...]
    shared_inode: bool = False
