"""`type=oci` and `type=docker`: a file, or a directory in the form of an OCI layout.

Read next: `assemble`, `oci`.
"""

import os

from minibuild.errors import UsageError
from minibuild.exporter.assemble import assemble_all, bundle_of, image_options_of
from minibuild.exporter.oci import export_oci
from minibuild.exporter.output import Exported, OutputContext
from minibuild.session.request import Output


def export_archive(target: OutputContext, output: Output) -> Exported:
    """`oci` and `docker`: a file, or a directory in the form of an OCI layout."""
    options = image_options_of(target, output)
    if not output.dest:
        raise UsageError(
            f"output type={output.type} needs a destination",
            hint=f"write type={output.type},dest=FILE, or dest=- for standard output",
        )
    images = assemble_all(target, options)
    bundle = bundle_of(target, options, images)
    export_oci(
        [bundle],
        os.fspath(output.dest),
        tar=options.tar,
        docker=output.type == "docker",
        cancelled=target.build.cancelled,
    )
    return Exported(bundle.top, images, bundle.names)
