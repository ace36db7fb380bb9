"""The values of --cache-to and --cache-from."""

import pytest

from minibuild.buildflags.places import cache_place as place
from minibuild.errors import UsageError
from minibuild.session.request import CachePlace

TO, FROM = "cache-to", "cache-from"


@pytest.mark.parametrize(
    ("text", "flag", "made"),
    [
        ("team/app:c", FROM, CachePlace("registry", ref="team/app:c")),
        ("team/app:c,mode=max", TO, CachePlace("registry", ref="team/app:c", mode="max")),
        ("type=registry,ref=r:5000/a", FROM, CachePlace("registry", ref="r:5000/a")),
        ("type=registry,ref=r:5000/a,image-manifest=true,oci-mediatypes=true", TO,
         CachePlace("registry", ref="r:5000/a")),
        ("ref=r:5000/a,registry.insecure=true", FROM,
         CachePlace("registry", ref="r:5000/a", insecure=True)),
        ("type=local,dest=d,tag=x,reset=false", TO,
         CachePlace("local", path="d", tag="x", reset=False)),
        ("type=local,src=d,digest=sha256:0", FROM,
         CachePlace("local", path="d", digest="sha256:0")),
        ("type=inline", TO, CachePlace("inline")),
        ("a/b,image-manifest=false", TO, CachePlace("registry", ref="a/b", form="index")),
        ("a/b,oci-mediatypes=false", TO, CachePlace("registry", ref="a/b", form="list")),
        ("a/b,compat=minibuild", TO, CachePlace("registry", ref="a/b", compat="minibuild")),
        ("a/b,compat=buildkit", TO, CachePlace("registry", ref="a/b", compat="buildkit")),
        ("ref=a/b,compression=zstd,compression-level=9,ignore-error=true,force-compression=1", TO,
         CachePlace("registry", ref="a/b", compression="zstd", level=9, ignore_error=True,
                    force_compression=True)),
    ],
)  # fmt: skip
def test_values(text: str, flag: str, made: CachePlace) -> None:
    assert place(text, flag) == made


@pytest.mark.parametrize(
    ("text", "flag", "says"),
    [
        ("", TO, "must be key=value"),
        ("type=gha", TO, "type=gha needs a service"),
        ("type=s3,bucket=x", FROM, "type=s3 needs a service"),
        ("type=x", TO, "unknown type 'x'"),
        ("mode=max", TO, "no type"),
        ("type=inline", FROM, "read by the name of the image"),
        ("type=inline,mode=max", TO, "unknown field 'mode'"),
        ("type=registry", TO, "names no place"),
        ("type=local,src=d", TO, "unknown field 'src'"),
        ("type=local,dest=d", FROM, "unknown field 'dest'"),
        ("a/b,mode=middle", TO, "unknown mode 'middle'"),
        ("a/b,compat=kaniko", TO, "unknown compat 'kaniko'"),
        ("a/b,compat=minibuild", FROM, "unknown field 'compat'"),
        ("a/b,compression=lzma", TO, "unknown compression 'lzma'"),
        ("a/b,compression-level=x", TO, "not a number"),
        ("a/b,compression-level=99", TO, "level"),
        ("a/b,image-manifest=true,oci-mediatypes=false", TO, "needs OCI's media types"),
        ("a/b,ignore-error=perhaps", TO, "perhaps"),
        (f"a/b@sha256:{'0' * 64}", TO, "a digest cannot be written to"),
        ("A/B", FROM, "A/B"),
        ("a/b,mode", TO, "must be key=value"),
    ],
)
def test_slips(text: str, flag: str, says: str) -> None:
    with pytest.raises(UsageError, match=says.replace("(", r"\(")):
        place(text, flag)
