"""The values of --cache-mount-to and --cache-mount-from."""

import pytest

from minibuild.buildflags.places import cache_mount_place as place
from minibuild.errors import UsageError
from minibuild.session.request import CacheMountPlace

TO, FROM = "cache-mount-to", "cache-mount-from"


@pytest.mark.parametrize(
    ("text", "flag", "made"),
    [
        ("team/app:c", TO, CacheMountPlace("registry", ref="team/app:c")),
        ("team/app:c,force=true", FROM, CacheMountPlace("registry", ref="team/app:c", force=True)),
        ("type=registry,ref=r:5000/a", FROM, CacheMountPlace("registry", ref="r:5000/a")),
        ("ref=r:5000/a,registry.insecure=true", FROM,
         CacheMountPlace("registry", ref="r:5000/a", insecure=True)),
        ("type=local,dest=d,tag=x", TO, CacheMountPlace("local", path="d", tag="x")),
        ("type=local,src=d,force=true", FROM, CacheMountPlace("local", path="d", force=True)),
        ('type=local,src=d,id=/a,"id=b,c"', FROM,
         CacheMountPlace("local", path="d", ids=("/a", "b,c"))),
        ("ref=a/b,compression=gzip,compression-level=9,ignore-error=true", TO,
         CacheMountPlace("registry", ref="a/b", compression="gzip", level=9, ignore_error=True)),
    ],
)  # fmt: skip
def test_values(text: str, flag: str, made: CacheMountPlace) -> None:
    assert place(text, flag) == made


@pytest.mark.parametrize(
    ("text", "flag", "says"),
    [
        ("", TO, "must be key=value"),
        ("type=s3,ref=x", TO, "type=s3 needs a service"),
        ("id=x", TO, "no type"),
        ("type=registry", TO, "names no place"),
        ("id=x,team/app", TO, "'team/app' must be key=value"),
        ("type=local,ref=x", FROM, "unknown field 'ref'"),
        ("type=local,src=x,ref=y", FROM, "unknown field 'ref'"),
        ("type=local,dest=x", FROM, "unknown field 'dest'"),
        ("type=local,src=x", TO, "unknown field 'src'"),
        ("ref=x,force=true", TO, "unknown field 'force'"),
        ("ref=x,force=perhaps", FROM, "perhaps"),
        ("ref=x,mode=max", TO, "unknown field 'mode'"),
        ("a/UPPER", TO, "lowercase"),
        ("x@sha256:" + 64 * "0", TO, "a digest cannot be written to"),
        ("ref=x,compression=lzma", TO, "unknown compression"),
        ("ref=x,compression=gzip,compression-level=10", TO, "out of range"),
        ("ref=x,compression-level=1.5", TO, "not a number"),
    ],
)
def test_slips(text: str, flag: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        place(text, flag)
