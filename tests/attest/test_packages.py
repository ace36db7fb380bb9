"""Packages are found where package managers note them, inside the tree and nowhere else."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from minibuild.attest.packages import FoundPackages, Package, find_packages

STATUS = """\
Package: bash
Status: install ok installed
Maintainer: Some Body <some@example.org>
Architecture: amd64
Source: bash (5.2)
Version: 5.2.15-2+b7
Description: a shell
 Version: 9 of something else

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: broken
Status: install ok installed
"""
APK = "C:Q1\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\nm:A B <a@b>\nF:lib\n\nP:zlib\nV:1.3-r1\n"
METADATA = "Metadata-Version: 2.1\nName: My_Package.x\nVersion: 1.0\nLicense: MIT\n\nName: no\n"


def found_in(top: Path, files: Mapping[str, str]) -> FoundPackages:
    for name, text in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return find_packages(fd)
    finally:
        os.close(fd)


CASES: dict[str, tuple[dict[str, str], list[Package]]] = {
    "nothing": ({"etc/passwd": "x"}, []),
    "dpkg": (
        {"var/lib/dpkg/status": STATUS, "etc/os-release": 'ID="ubuntu"\n'},
        [
            Package(
                "deb", "bash", "5.2.15-2+b7", "ubuntu", "amd64",
                supplier="Some Body <some@example.org>", source="bash",
            )
        ],
    ),
    "distroless": (
        {
            "var/lib/dpkg/status.d/base": "Package: base-files\nVersion: 12\nArchitecture: all\n",
            "var/lib/dpkg/status.d/base.md5sums": "Package: not\nVersion: one\n",
        },
        [Package("deb", "base-files", "12", "debian", "all")],
    ),
    "apk": (
        {"lib/apk/db/installed": APK},
        [
            Package("apk", "musl", "1.2.5-r0", "alpine", "x86_64", "MIT", "A B <a@b>", "musl"),
            Package("apk", "zlib", "1.3-r1", "alpine"),
        ],
    ),
    "python": (
        {"opt/x/site-packages/My_Package.x-1.0.dist-info/METADATA": METADATA},
        [Package("pypi", "my-package-x", "1.0", licence="MIT")],
    ),
    "npm": (
        {
            "app/node_modules/left/package.json": '{"name": "left", "version": "1.3.0"}',
            "app/node_modules/@a/b/package.json":
                '{"name": "@a/b", "version": "2", "license": "ISC"}',
            "app/package.json": '{"name": "app", "version": "1"}',
            "app/node_modules/odd/package.json": '{"name": 1, "version": []}',
            "app/node_modules/cut/package.json": '{"name": ',
        },
        [
            Package("npm", "b", "2", "@a", "", "ISC"),
            Package("npm", "left", "1.3.0"),
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_found(tmp_path: Path, case: str) -> None:
    files, packages = CASES[case]
    assert list(found_in(tmp_path, files).packages) == packages


def test_rpm_is_said_to_be_unread(tmp_path: Path) -> None:
    assert found_in(tmp_path, {"var/lib/rpm/rpmdb.sqlite": "x"}).unread == ("/var/lib/rpm",)


def test_links_that_lead_out_lead_nowhere(tmp_path: Path) -> None:
    """An image may link its database to that of the machine it is built on."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "status").write_text(STATUS)
    tree = tmp_path / "tree"
    (tree / "var/lib").mkdir(parents=True)
    (tree / "var/lib/dpkg").symlink_to(outside)
    (tree / "lib").symlink_to("/../../..")
    assert found_in(tree, {}).packages == ()


def test_a_folder_in_place_of_the_database_has_no_packages(tmp_path: Path) -> None:
    (tmp_path / "var/lib/dpkg/status").mkdir(parents=True)
    assert found_in(tmp_path, {}).packages == ()


def test_a_fifo_in_place_of_the_database_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    os.mkfifo(tmp_path / "var/lib/dpkg/status")
    assert found_in(tmp_path, {}).packages == ()
