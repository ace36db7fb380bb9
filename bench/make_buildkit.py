#!/usr/bin/env python3
"""Make a folder with BuildKit in it, from Debian's packages alone: for `--vs-root`.

    bench/make_buildkit.py DIR

Comes in: Debian's unstable, which has a new BuildKit as the library in Docker's source. Goes out: a
Debian in DIR with runc, Docker and, compiled from that source, buildkitd and buildctl, of which
there is no package. Nothing of this machine is changed. Written for BuildKit 0.25: where a newer
one does not compile, Docker's packages are there all the same, for `--vs dockerd`.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile

if __name__ == "__main__":  # Called by its path: the checkout has to be found first.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bench.contents import write
from bench.daemon import APART
from bench.tree import Tree

_PROGRAMS = ("buildkitd", "buildctl")
_RUN = "runc,docker.io,docker-cli,docker-buildx,ca-certificates"
_COMPILE = (
    "golang-go,golang-github-docker-docker-dev,golang-github-google-shlex-dev,"
    "golang-github-gofrs-flock-dev,golang-github-pkg-profile-dev,"
    "golang-github-coreos-go-systemd-dev,golang-github-mitchellh-hashstructure-dev"
)

# Two kinds of snapshots that are never asked for here: of the one there is no package, and of the
# other one that is too old. Go wants to have seen the names.
_SNAPSHOTS = '"github.com/containerd/containerd/v2/core/snapshots"'
_STARGZ = "github.com/containerd/stargz-snapshotter"
_STUBS = {
    "github.com/containerd/fuse-overlayfs-snapshotter/v2": f"""
package fuseoverlayfs
import ("errors"; {_SNAPSHOTS})
var left = errors.New("left out")
func Supported(string) error {{ return left }}
func NewSnapshotter(string) (snapshots.Snapshotter, error) {{ return nil, left }}
""",
    f"{_STARGZ}/fs/config": """
package config
type Config struct{}
""",
    f"{_STARGZ}/fs/layer": """
package layer
type OverlayOpaqueType int
const (OverlayOpaqueTrusted OverlayOpaqueType = iota; OverlayOpaqueUser)
""",
    f"{_STARGZ}/fs/source": """
package source
import (
  "github.com/containerd/containerd/v2/core/remotes/docker"
  "github.com/containerd/containerd/v2/pkg/reference"
)
type Source struct{}
type GetSources func(map[string]string) ([]Source, error)
type RegistryHosts func(reference.Spec) ([]docker.RegistryHost, error)
func FromDefaultLabels(RegistryHosts) GetSources { return nil }
""",
    f"{_STARGZ}/fs": f"""
package fs
import (
  "github.com/sirupsen/logrus"
  "{_STARGZ}/fs/config"; "{_STARGZ}/fs/layer"; "{_STARGZ}/fs/source"; "{_STARGZ}/snapshot"
)
type Option func()
func WithGetSources(source.GetSources) Option {{ return nil }}
func WithMetricsLogLevel(logrus.Level) Option {{ return nil }}
func WithOverlayOpaqueType(layer.OverlayOpaqueType) Option {{ return nil }}
func NewFilesystem(string, config.Config, ...Option) (snapshot.FileSystem, error) {{
  return nil, nil
}}
""",
    f"{_STARGZ}/snapshot": f"""
package snapshot
import ("context"; "errors"; {_SNAPSHOTS})
type FileSystem any
type Opt func()
func AsynchronousRemove() {{}}
func NoRestore() {{}}
func NewSnapshotter(context.Context, string, FileSystem, ...Opt) (snapshots.Snapshotter, error) {{
  return nil, errors.New("left out")
}}
""",
}

# /mnt is a folder for the work; of Docker's source only what its packages lack is taken. apt tells
# of failure if a mirror lacks one of the files of that source, even one that is not needed.
_BUILD = r"""
sed 's/^deb /deb-src /' /etc/apt/sources.list > /etc/apt/sources.list.d/source.list
apt-get update
apt-get build-dep -y --no-install-recommends docker.io
cd /mnt
version=$(dpkg-query -W -f '${Version}' golang-github-docker-docker-dev)
apt-get source --download-only "docker.io=$version" || ls docker.io_*.orig.tar.xz
mkdir source
tar -xf docker.io_*.orig.tar.xz -C source
vendor=$(find source -type d -path '*/vendor/github.com')
packaged=/usr/share/gocode/src/github.com extra=/mnt/extra/src/github.com
for part in moby/profiles tonistiigi/go-archvariant tonistiigi/go-actions-cache; do
    mkdir -p "$extra/${part%/*}"
    cp -r "$vendor/$part" "$extra/$part"
done
# Packages whose place has no version in it.
mkdir -p $extra/coreos/go-systemd $extra/mitchellh/hashstructure
ln -s $packaged/coreos/go-systemd $extra/coreos/go-systemd/v22
ln -s $packaged/mitchellh/hashstructure $extra/mitchellh/hashstructure/v2
release=$(sed -n 's|.*moby/buildkit \(v[0-9.]*\).*|\1|p' "${vendor%/vendor/*}/vendor.mod")
export GO111MODULE=off GOPATH=/mnt/extra:/usr/share/gocode GOCACHE=/mnt/cache
cd $packaged/moby/buildkit
for name in buildkitd buildctl; do
    go build -tags 'osusergo netgo seccomp' -o /mnt/$name \
        -ldflags "-X github.com/moby/buildkit/version.Version=$release" ./cmd/$name
done
"""


def _debian(suite: str, packages: str, folder: str) -> None:
    # A mirror that was frozen some time ago is as good as another.
    valid = '--aptopt=Acquire::Check-Valid-Until "false"'
    command = ["mmdebstrap", "--quiet", "--variant=minbase", valid, f"--include={packages}"]
    subprocess.run([*command, suite, folder], check=True)


def main() -> int:
    """Make the folder; 1 if BuildKit did not compile."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", metavar="DIR", help="a folder that is not there yet")
    parser.add_argument("--suite", default="sid", help="the release of Debian (default: sid)")
    given = parser.parse_args()
    _debian(given.suite, _RUN, given.folder)
    with tempfile.TemporaryDirectory(prefix="buildkit-") as top:
        workshop, work = os.path.join(top, "debian"), os.path.join(top, "work")
        _debian(given.suite, _COMPILE, workshop)
        for place, text in _STUBS.items():
            write(f"{work}/extra/src/{place}/stub.go", text)
        done = subprocess.run([*APART, *Tree(workshop).inside(work, "sh", "-exc", _BUILD)])
        if done.returncode:
            return 1
        for name in _PROGRAMS:
            shutil.copy(os.path.join(work, name), os.path.join(given.folder, "usr/local/bin"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
