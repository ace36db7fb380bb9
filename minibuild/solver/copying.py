"""How the copies of one vertex are done: by whom, watched or not, and packed or not.

Comes in: copies and open directories. Goes out: `Done`, and a layer that the store knows.
Read next: `copiers`.
"""

from minibuild.fileop.job import Done, Form, Hooks, Job, Places
from minibuild.graph.op import Copy
from minibuild.oci.content import ContentStore
from minibuild.solver.copiers import Copiers
from minibuild.solver.packing import Packing
from minibuild.startup.tuples import NamedTuple


class Copying(NamedTuple):
    """`packing` says how to make a layer, if one is wanted; `watched`, that the fingerprints of
    what is read are, too."""

    copiers: Copiers
    content: ContentStore
    packing: Packing | None
    watched: bool = False

    def do(self, copies: tuple[Copy, ...], places: Places, hooks: Hooks, *, tree: bool) -> Done:
        """Do them, as a `tree` or without. Raises `Unplannable` if there is no layer then."""
        packing = self.packing
        form: Form = "tree" if packing is None else "both" if tree else "layer"
        job = Job(copies, form, watched=self.watched)
        if packing is not None:
            job = job._replace(compression=packing.compression, level=packing.level)
        done = self.copiers.do(job, places, self.content, hooks)
        if done.layer is not None and packing is not None:
            packing.layers.remember(done.layer)
        return done
