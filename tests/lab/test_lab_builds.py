"""`minibuild build --lab`: whole builds with an old defect, kept apart and marked."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CHECKOUT, Cli

pytestmark = [pytest.mark.integration, pytest.mark.needs("mount", "overlay", "busybox")]

MARK = "minibuild.lab"
HARMLESS = "FROM busybox\nCOPY --link a /d/a\nRUN rm /d/a && echo > /b\nCOPY --link c /c\nRUN ls\n"
SOCKET = """\
FROM busybox
COPY --link a /x/a
RUN rm -r /x && ln -s /x /dev/log && syslogd && until test -S /x; do usleep 10000; done
COPY --link c /c
RUN test -S /x
"""


@pytest.fixture
def lab(cli: Cli, busybox_store: str) -> Cli:
    """A store with busybox:latest."""
    cli.has_busybox(busybox_store)
    return cli


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A context with two files."""
    folder = tmp_path / "context"
    folder.mkdir()
    for name in ("a", "c"):
        (folder / name).write_text(name)
    return folder


class Built:
    """A build's metadata, its manifest, and how many steps were cached."""

    def __init__(self, lab: Cli, context: Path, number: int, *flags: str) -> None:
        out = context.parent / f"out{number}"
        meta = context.parent / f"meta{number}.json"
        done = lab(
            *("build", "--progress=plain", f"--metadata-file={meta}", *flags),
            f"--output=type=oci,tar=false,dest={out}",
            str(context),
        )
        self.metadata: dict[str, Any] = json.loads(meta.read_text())
        digest = self.metadata["containerimage.digest"]
        self.manifest = json.loads((out / "blobs" / "sha256" / digest[7:]).read_text())
        self.config = self.manifest["config"]["digest"]
        self.cached = done.stderr.count(" CACHED\n")
        self.log = done.stderr


def test_the_pull_request_fails_as_it_did(lab: Cli) -> None:
    folder = str(CHECKOUT / "testdata/whiteout-hardlink")
    lab("build", "--output=type=cacheonly", folder)
    done = lab("build", "--lab=whiteout-hardlink", "--output=type=cacheonly", folder, code=8)
    if "failed to hardlink" not in done.stderr:
        pytest.skip("this kernel does not share the inode of whiteouts")
    assert "no such file or directory" in done.stderr
    assert "docs/lab.md" in done.stderr and "damaged" not in done.stderr
    # With the other defect, and with none, it goes well.
    lab("build", "--lab=type-mask", "--output=type=cacheonly", folder)
    lab("build", "--output=type=cacheonly", folder)


def test_a_socket_over_a_directory_fails_as_it_did(lab: Cli, context: Path) -> None:
    (context / "Dockerfile").write_text(SOCKET)
    lab("build", "--output=type=cacheonly", str(context))
    done = lab("build", "--lab=type-mask", "--output=type=cacheonly", str(context), code=8)
    assert "file exists" in done.stderr
    lab("build", "--lab=whiteout-hardlink", "--output=type=cacheonly", str(context))


@pytest.mark.parametrize("defect", ["whiteout-hardlink", "type-mask"])
def test_images_say_so(lab: Cli, context: Path, defect: str) -> None:
    (context / "Dockerfile").write_text(HARMLESS)
    normal = Built(lab, context, 1)
    odd = Built(lab, context, 2, f"--lab={defect}")
    assert odd.metadata[MARK] == defect
    assert odd.manifest["annotations"][MARK] == defect
    assert f"built with the defect {defect}" in odd.log
    assert MARK not in normal.metadata
    assert MARK not in normal.manifest.get("annotations", {})
    assert "defect" not in normal.log


def test_the_name_of_before_is_the_same_defect(lab: Cli, context: Path) -> None:
    (context / "Dockerfile").write_text(HARMLESS)
    one = Built(lab, context, 1, "--lab=whiteout-links")
    two = Built(lab, context, 2, "--lab=whiteout-hardlink")
    assert one.metadata[MARK] == two.metadata[MARK] == "whiteout-hardlink"
    assert two.cached == one.cached + 6


def test_neither_uses_what_the_other_made(lab: Cli, context: Path) -> None:
    (context / "Dockerfile").write_text(HARMLESS)
    first = Built(lab, context, 1)
    odd = Built(lab, context, 2, "--lab=whiteout-hardlink")
    other = Built(lab, context, 3, "--lab=type-mask")
    again = Built(lab, context, 4)
    odd_again = Built(lab, context, 5, "--lab=whiteout-hardlink")
    # The base image is cached for all. The four steps and two merges at first are not, at last are.
    assert odd.cached == other.cached == first.cached
    assert again.cached == odd_again.cached == first.cached + 6
    assert again.config == first.config and odd_again.config == odd.config != first.config


def test_merges_are_kept_apart_too(lab: Cli, context: Path) -> None:
    """What a build with a defect merged stands in no other build's way, nor the other way round."""
    (context / "Dockerfile").write_text(HARMLESS)
    odd = Built(lab, context, 1, "--lab=whiteout-hardlink")
    normal = Built(lab, context, 2)
    assert "layers: linked" in odd.log and "layers: stacked" not in odd.log
    assert "layers: stacked" in normal.log and "layers: linked" not in normal.log


def test_a_name_that_is_no_defect(lab: Cli, context: Path) -> None:
    done = lab("build", "--lab=whiteout", str(context), code=2)
    assert "whiteout-hardlink, type-mask" in done.stderr
