"""A COPY of a context in which little changed begins with the last one, and comes to the same."""

import os
import random
import re
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing
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


def test_a_layer_that_is_packed_while_files_are_copied(
    builds: Builds, project: Callable[[Mapping[str, str]], str]
) -> None:
    """It is large, so another process packs it: the same bytes, and nothing stays."""
    text = "FROM busybox\nCOPY . /\nRUN ls -l /many > /list\n"
    context = Path(project({"many/000": "", "Dockerfile": text}))
    for n in range(600):
        (context / f"many/{n:03}").write_bytes(random.randbytes(15_000))
    for path in sorted(context.rglob("*"), reverse=True):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    time.sleep(2.1)
    builds.image(str(context))
    for name in ("many/000", "many/400"):
        (context / name).write_text("changed")
    updated, whole = builds.image(str(context)), builds.image(str(context), "--no-cache")
    assert len(os.listdir(f"{builds.cli.root}/patches")) == 1
    assert updated.manifest["layers"][1] == whole.manifest["layers"][1]
    assert builds.leftovers() == [] and os.listdir(f"{builds.cli.root}/ingest") == []


def test_a_copy_that_only_fills_the_cache_is_packed_when_it_is_wanted(
    builds: Builds, project: Callable[[Mapping[str, str]], str]
) -> None:
    """It is a patch of the last one until then; and of that nothing is lost by a prune."""
    text = "FROM busybox\nCOPY many /many/\n"
    with_step = f"{text}RUN cat /many/a/03 /many/b/new > /out\n"
    context = Path(project({**_MANY, "Dockerfile": text, "step": with_step}))
    for path in sorted(context.rglob("*"), reverse=True):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    time.sleep(2.1)
    builds.cli("build", "-o=type=cacheonly", str(context))
    for n, name in enumerate(("a/03", "b/new")):
        (context / "many" / name).write_text(f"changed {n}\n")
        done = builds.cli("build", "--progress=plain", "-o=type=cacheonly", str(context))
        assert " files kept of the last copy" in done.stderr
    assert len(os.listdir(f"{builds.cli.root}/patches")) == 2
    with closing(sqlite3.connect(f"{builds.cli.root}/meta.db")) as db:
        # All but the last copy was not used for a long time.
        last = "(SELECT canonical FROM records WHERE name LIKE '%COPY%' ORDER BY created DESC)"
        db.execute(f"UPDATE records SET used = 1 WHERE canonical != {last}")
        db.commit()
    builds.cli("prune", "--force")
    assert len(os.listdir(f"{builds.cli.root}/patches")) == 1
    assert "nothing needs it" not in builds.cli("du", "--verbose").stdout
    done = builds.cli("build", "--progress=plain", "-f", str(context / "step"), str(context))
    assert "CACHED" in done.stderr
    found, whole = builds.image(str(context)), builds.image(str(context), "--no-cache")
    assert found.files == whole.files
    assert found.text("many/a/03") + found.text("many/b/new") == "changed 0\nchanged 1\n"


def test_a_shared_copy_is_done_again_by_one_process_for_a_file_with_names_far_apart(
    builds: Builds, project: Callable[[Mapping[str, str]], str]
) -> None:
    text = "FROM busybox\nWORKDIR /many\nCOPY . .\nRUN stat -c '%h %Y' d/0000 d/x > /out\n"
    context = Path(project({f"d/{n:04}": "" for n in range(4100)} | {"Dockerfile": text}))
    os.link(context / "d/0000", context / "d/x")
    for path in sorted(context.rglob("*"), reverse=True):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    builds.cli("build", "-o=type=cacheonly", str(context))
    assert builds.image(str(context)).text("out") == "2 1600000000\n" * 2
    assert builds.leftovers() == []
