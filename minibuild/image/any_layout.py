"""A layout at a path, of whatever kind: a directory, or one of the archives.

Comes in: a path, from a person. Goes out: a `Layout`. Read next: `layout`, `docker_archive`.
"""

import os

from minibuild.errors import ImageError
from minibuild.image.layout import DirectoryLayout, Layout


def open_layout(path: str) -> Layout:
    """The layout at `path`: a directory, an OCI archive, or what `docker save` wrote."""
    if os.path.isdir(path):
        return DirectoryLayout(path)
    if not os.path.exists(path):
        raise ImageError(f"{path} does not exist")
    from minibuild.image.docker_archive import open_archive

    return open_archive(path)
