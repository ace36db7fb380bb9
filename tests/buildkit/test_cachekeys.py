"""What counts of an op in BuildKit's caches, and what of its inputs.

That the digests are those of BuildKit is tested in `tests/remotecache/test_exchange.py`.
"""

import pytest

from minibuild.buildkit.cachekeys import OpKey, Selector, keyed_graph
from minibuild.digest import Digest, digest_bytes
from minibuild.graph.op import (
    BindMount,
    CacheMount,
    Exec,
    ExecMount,
    ImageSource,
    LocalSource,
    SecretMount,
    TmpfsMount,
)
from minibuild.graph.platform import Platform
from minibuild.graph.vertex import Vertex

AMD64 = Platform("linux", "amd64")
BASE = Vertex(ImageSource("example.com/base:1", digest_bytes(b"base"), AMD64))
CONTEXT = Vertex(LocalSource("context"))
RUN = Exec(("make",), platform=AMD64)


def key_of(op: Exec, *others: Vertex) -> OpKey:
    """The key of a RUN on a base."""
    run = Vertex(op, (BASE, *others))
    graph = keyed_graph([run])
    return graph.ops[graph.outputs[run.digest].digest]


def digest_of(op: Exec, *others: Vertex) -> Digest:
    digest = key_of(op, *others).digest
    assert digest is not None
    return digest


ALL, SUB = Selector(), Selector("/sub")


@pytest.mark.parametrize(
    ("mounts", "contents"),
    [
        pytest.param([BindMount("/in", 1, "/sub")], (SUB,), id="read-only"),
        pytest.param([BindMount("/in", 1)], (ALL,), id="all of it"),
        pytest.param(
            [BindMount("/a", 1, "/sub"), BindMount("/b", 1, "/sub/deep")], (SUB,), id="one in other"
        ),
        pytest.param([BindMount("/in", 1, "/sub"), BindMount("/all", 1)], (ALL,), id="both"),
        pytest.param([BindMount("/in", 1, "/sub", readonly=False)], (SUB,), id="not kept"),
        pytest.param(
            [BindMount("/in", 1, "/sub", readonly=False, output=True)], None, id="kept, of a part"
        ),
        pytest.param([BindMount("/in", 1, readonly=False, output=True)], (ALL,), id="kept, of all"),
        pytest.param([CacheMount("/in", "id", input=1, source="/sub")], (SUB,), id="a seed"),
    ],
)
def test_what_is_read_of_a_mount(
    mounts: list[ExecMount], contents: tuple[Selector, ...] | None
) -> None:
    """Files that a step did not see may be in what it leaves for others: then they count, too."""
    base, mounted = key_of(RUN._replace(mounts=tuple(mounts)), CONTEXT).inputs
    assert mounted.contents == contents
    assert base.contents is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(
            RUN._replace(add_hosts=(("a", "10.0.0.1"),)),
            RUN._replace(add_hosts=(("a", "10.0.0.2"),)),
            id="where a host is",
        ),
        pytest.param(
            RUN._replace(mounts=(CacheMount("/c", "one"),)),
            RUN._replace(mounts=(CacheMount("/c", "two", "locked"),)),
            id="which cache it is",
        ),
    ],
)
def test_what_counts_not(one: Exec, other: Exec) -> None:
    assert digest_of(one) == digest_of(other)


@pytest.mark.parametrize(
    "other",
    [
        RUN._replace(args=("make", "all")),
        RUN._replace(env=(("A", "1"),)),
        RUN._replace(cwd="/src"),
        RUN._replace(user="7"),
        RUN._replace(network="none"),
        RUN._replace(security="insecure"),
        RUN._replace(hostname="here"),
        RUN._replace(add_hosts=(("a", "10.0.0.1"),)),
        RUN._replace(platform=Platform("linux", "arm64")),
        RUN._replace(platform=Platform("linux", "amd64", "v2")),
        RUN._replace(readonly=True),
        RUN._replace(exit_codes=(0, 1)),
        RUN._replace(mounts=(TmpfsMount("/tmp"),)),
        RUN._replace(mounts=(TmpfsMount("/tmp", 1 << 20),)),
        RUN._replace(mounts=(SecretMount("key", "/key"),)),
        RUN._replace(mounts=(CacheMount("/c", "/c"),)),
        RUN._replace(mounts=(CacheMount("/d", "/d"),)),
    ],
)
def test_what_counts(other: Exec) -> None:
    assert digest_of(other) != digest_of(RUN)
