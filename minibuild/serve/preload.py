"""What a process loads while it waits for its build: what nearly all builds need, and import late.

Read next: `children`, which starts such processes.
"""

import shlex  # noqa: F401
import tempfile  # noqa: F401
import traceback  # noqa: F401
from importlib import import_module

import minibuild.attest.attestor
import minibuild.attest.llb
import minibuild.attest.provenance
import minibuild.builder
import minibuild.executor.local
import minibuild.fileop.copy
import minibuild.fileop.tee
import minibuild.fileop.tree
import minibuild.image.archive
import minibuild.layer.compress
import minibuild.record.recorder
import minibuild.record.writing
import minibuild.snapshot.overlay
import minibuild.snapshot.select
import minibuild.snapshot.view
import minibuild.solver.exec
import minibuild.solver.file
import minibuild.solver.last_copy
import minibuild.solver.packer
import minibuild.solver.step  # noqa: F401
from minibuild.buildkit.proto import messages
from minibuild.frontend.loader import built_in

import_module(f"{built_in().__module__}.convert")
messages("ops")
