"""What clients ask of the frontend, as options of a build."""

from typing import Any

import pytest

from minibuild.buildkit.rpc import Failure
from minibuild.serve.attributes import attestations, cache_imports, options, output_attributes
from minibuild.session.request import Attestations


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            {"target": "app", "vcs:source": "x", "sharedkey:localdir:context": "y"},
            {"target": "app"},
        ),
        ({"build-arg:A": "1", "build-arg:B": ""}, {"build_args": {"A": "1", "B": ""}}),
        ({"label:a.b": "c"}, {"labels": {"a.b": "c"}}),
        ({"platform": "linux/amd64,linux/arm64"}, {"platforms": ["linux/amd64", "linux/arm64"]}),
        ({"hostname": "h"}, {"build_args": {"BUILDKIT_SANDBOX_HOSTNAME": "h"}}),
        ({"no-cache": ""}, {"no_cache": True}),
        ({"no-cache": "a,b"}, {"no_cache": False, "no_cache_filter": ["a", "b"]}),
        ({"force-network-mode": "host"}, {"network": "host"}),
        ({"image-resolve-mode": "pull"}, {"pull": "always"}),
        ({"add-hosts": "db=10.0.0.7,x=::1"}, {"add_hosts": ["db:10.0.0.7", "x:::1"]}),
        ({"ulimit": "nofile=10:20,core=0"}, {"ulimits": ["nofile=10:20", "core=0"]}),
        ({"shm-size": "65536"}, {"shm_size_bytes": 65536}),
        ({"memory": "1024", "cpuquota": "5"}, {"resources": ["memory=1024", "cpu-quota=5"]}),
    ],
)
def test_options(attributes: dict[str, str], expected: dict[str, Any]) -> None:
    base = {"network": "default", "pull": "missing"}
    assert options(attributes) == {**base, **expected}


def test_a_value_with_a_comma() -> None:
    given = {"attest:provenance": '"builder-id=https://x.example/a,b"'}
    assert attestations(given).builder_id == "https://x.example/a,b"


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, Attestations()),
        ({"attest:provenance": ""}, Attestations("max")),  # all, where nothing is said
        ({"attest:provenance": "mode=min,new=true"}, Attestations("min")),
        ({"attest:provenance": "complete-materials=1"}, Attestations("max", complete=True)),
        (
            {"build-arg:BUILDKIT_ATTEST_PROVENANCE": "version=v0.2"},
            Attestations("max", version="v0.2"),
        ),
        ({"attest:provenance": "disabled=true", "attest:sbom": ""}, Attestations(sbom=True)),
    ],
)
def test_attestations(attributes: dict[str, str], expected: Attestations) -> None:
    assert attestations(attributes) == expected


def test_a_wrong_value() -> None:
    with pytest.raises(Failure, match="invalid value 'moon' for force-network-mode"):
        options({"force-network-mode": "moon"})
    for size in ("much", "9" * 5000):
        with pytest.raises(Failure, match="failed to parse shm size"):
            options({"shm-size": size})


def test_cache_imports() -> None:
    text = '[{"Type":"registry","Attrs":{"ref":"r/x"}},{"Type":"gha"}]'
    first, second = cache_imports({"cache-imports": text})
    assert (first.Type, first.Attrs) == ("registry", {"ref": "r/x"})
    assert (second.Type, second.Attrs) == ("gha", {})
    older = cache_imports({"cache-imports": text, "cache-from": "r/a,r/b"})[2:]
    assert [(one.Type, one.Attrs["ref"]) for one in older] == [
        ("registry", "r/a"), ("registry", "r/b")
    ]  # fmt: skip
    for wrong in ("{", "[1]", '[{"Attrs":1}]', "1"):
        with pytest.raises(Failure, match="invalid cache-imports"):
            cache_imports({"cache-imports": wrong})


def test_outputs_keep_what_is_known() -> None:
    given = {"name": "a", "prefer-image-digest": "true", "annotation.x": "y", "push": "true"}
    assert output_attributes("oci", given) == {"name": "a", "annotation.x": "y"}
    assert output_attributes("image", given) == {"name": "a", "annotation.x": "y", "push": "true"}
    assert output_attributes("local", given) == {}


@pytest.mark.parametrize(
    ("given", "dated", "kept"),
    [
        ("7", True, ["source-date-epoch", "rewrite-timestamp"]),
        ("", True, []),
        ("", False, ["source-date-epoch", "rewrite-timestamp"]),
        ("context", False, ["rewrite-timestamp"]),
    ],
)
def test_the_time_of_an_output(given: str, dated: bool, kept: list[str]) -> None:
    """What is no time, the build knows. An empty one means none, unless a frontend has set it: then
    the files keep theirs."""
    asked = {"source-date-epoch": given, "rewrite-timestamp": "true"}
    assert output_attributes("oci", asked, dated=dated) == {key: asked[key] for key in kept}
