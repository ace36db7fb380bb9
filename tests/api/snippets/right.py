# ruff: noqa
"""What people write: all of it passes `mypy --strict`."""

import io
import threading
from pathlib import Path

import minibuild
from minibuild import Output, Platform, Secret

here = Path("context")
result = minibuild.build()
result = minibuild.build(".")
result = minibuild.build(here, tags=["app:1"], file=here / "Dockerfile", root=here)
result = minibuild.build(context="path", tags=("a", "b"), jobs=2, no_cache=True, pull="always")
result = minibuild.build(
    {"Dockerfile": "FROM busybox\n", "src/a.bin": b"\0"},
    build_args={"A": "b"},
    labels={"c": "d"},
    outputs=["type=oci,dest=image.tar", Output("local", here), Output("tar", "-", {"a": "b"})],
    platforms=["linux/arm64", Platform("linux", "amd64")],
    secrets=["id=a,src=b", Secret("token", value=b"x"), Secret("file", here)],
    ssh=["default"],
    allow={"network.host"},
    no_cache_filter=frozenset({"build"}),
    add_hosts={"db": "10.0.0.7"},
    ulimits=["nofile=5", minibuild.Ulimit("nproc", 1, 2)],
    resources=["memory=2g", "cpus=1.5"],
    cache_to=[minibuild.CachePlace("local", path=here), "type=inline"],
    cache_mount_from=[minibuild.CacheMountPlace("registry", ref="example.com/a")],
    contexts={"base": "docker-image://busybox", "more": {"a": "b"}, "tar": b"..."},
    attestations=minibuild.Attestations(mode="max"),
    network="none",
)
result = minibuild.build(b"a tar", dockerfile="FROM scratch")
result = minibuild.build(io.BytesIO(b"a tar"))
with open("a.tar", "rb") as archive:
    result = minibuild.build(archive, cancelled=threading.Event())

result = minibuild.build(root=None, cancelled=None, environment=None, dockerfile=None)
denied = minibuild.PolicyRule("DENY", "*", "WILDCARD", (minibuild.Constraint("a", "b"),))
result = minibuild.build(source_policies=[minibuild.Policy((denied,)), "policy.json"])

request = minibuild.BuildRequest(context="path", tags=("app:1",))
result = minibuild.build(request, root="store", environment=minibuild.Environment({}, 0))
result = minibuild.build(minibuild.State(), tags=["a"], config={"Cmd": ["sh"]})
result = minibuild.State().build(minibuild.Output("oci", here), tags=["a"], config={"Cmd": ["sh"]})
result = minibuild.State().build([minibuild.Output("oci", "a.tar")], root=here, report=print)


def report(event: minibuild.Event) -> None:
    match event:
        case minibuild.Started(vertex, time):
            print(vertex, time + 1)
        case minibuild.Log(_, stream, data):
            print(stream, data.decode())
        case _:
            pass


minibuild.build(".", report=report)
minibuild.build(".", report=minibuild.Progress(show=print))
options: minibuild.BuildOptions = {"tags": ["a"], "squash": True}
minibuild.build(".", **options)

digest: minibuild.Digest | None = result.digest
size: int = result.images[0].layers[0].size_bytes
try:
    minibuild.build(".")
except minibuild.StepFailed as error:
    code: int = error.code
    line = error.span.first if error.span else 0
