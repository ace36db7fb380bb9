"""A COPY of a context in which little changed begins with the last one, and comes to the same."""

import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.integration.conftest import Builds
from tests.support.images import read_image

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "overlay", "busybox")]

_MANY = {f"many/{name}/{n:02}": f"{name} {n}\n" * n for name in ("a", "b") for n in range(30)}
_LIST = "RUN find /many | sort | xargs stat -c '%n %a %F %Y' > /list\n"


@pytest.mark.parametrize("flags", ["", "--link ", "--chmod=u=rwX,go= "])
def test_an_updated_copy_is_that_of_everything(
    builds: Builds, project: Callable[[Mapping[str, str]], str], flags: str
) -> None:
    text = f"FROM busybox\nCOPY {flags}. /\n{_LIST}"
    context = Path(project({**_MANY, ".dockerignore": "**/29\n", "Dockerfile": text}))
    for path in sorted(context.rglob("*"), reverse=True):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    time.sleep(2.1)  # What was changed just now may change again without a trace.
    builds.image(str(context))
    (context / "many/a/03").write_text("changed")
    (context / "many/a/04").unlink()
    (context / "many/a/new").symlink_to("03")
    (context / "many/b/05").chmod(0o755)
    os.link(context / "many/b/06", context / "many/b/066")
    (context / "many/b/07").unlink()
    (context / "many/b/07").mkdir()
    (context / "many/b/07/in").write_text("in")
    out = str(builds.folder / "updated")
    done = builds.cli(
        "build", "--progress=plain", f"-o=type=oci,tar=false,dest={out}", str(context)
    )
    assert re.search(r" 5\d files kept of the last copy", done.stderr)
    updated, whole = read_image(out), builds.image(str(context), "--no-cache")
    assert updated.files == whole.files
    assert updated.config["rootfs"]["diff_ids"][:2] == whole.config["rootfs"]["diff_ids"][:2]
