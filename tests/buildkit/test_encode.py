"""LLB as BuildKit's own frontend writes it: the digests of its ops were recorded there.

`recorded.json` has Dockerfiles and, for each, the SHA-256 of every op in order. A digest covers the
bytes of an op and of all ops that it stands on, so one wrong field is seen in all that follow. The
session that a context is read through was called `session` there.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from minibuild_dockerfile.convert import convert

from minibuild.buildkit.encode import encode
from minibuild.buildkit.encode_source import LocalAccess
from minibuild.buildkit.proto import messages
from minibuild.buildkit.show import as_json, as_text
from minibuild.digest import Digest, digest_bytes
from minibuild.errors import SourceText
from minibuild.graph.frontend import FrontendRequest, LocalContext, ResolvedImage
from minibuild.graph.ignore_file import parse as read_ignore_file
from minibuild.graph.op import Exec, ImageSource
from minibuild.graph.platform import Platform
from minibuild.graph.state import Mount, diff, image, local, merge, scratch
from minibuild.graph.vertex import Vertex
from minibuild.serve.caps import LLB_CAPS
from tests.support.resolver import FakeResolver

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())
BUSYBOX = Digest("sha256:de68ccc327e508f44a3a150fc877a442581bb03dd53e24b418fbc425ece79d52")
AMD64 = Platform("linux", "amd64")
SESSION = LocalAccess(session="session")


class Resolver(FakeResolver):
    """Knows one image, by the digest that it had where the ops were recorded."""

    def resolve(self, ref: str, platform: Platform) -> ResolvedImage:
        found = super().resolve(ref, platform)
        return found._replace(source=found.source._replace(digest=BUSYBOX))


def vertex_of(dockerfile: str, args: dict[str, str], ignore: str = "") -> Vertex | None:
    request = FrontendRequest(
        SourceText("Dockerfile", dockerfile),
        (AMD64,),
        AMD64,
        build_args=args,
        allow=frozenset(("network.host", "security.insecure")),
        context=LocalContext("context", read_ignore_file(ignore)),
    )
    return convert(request, Resolver(), lambda _: None).images[0].vertex


def ops(definition: Any) -> list[bytes]:
    return list(getattr(definition, "def"))


@pytest.mark.parametrize("name", RECORDED)
def test_ops_are_those_of_buildkit(name: str) -> None:
    case = RECORDED[name]
    ignore = "*.log\n!keep.log\n/x/<y>&\n" if name == "ignored" else ""
    vertex = vertex_of("\n".join(case["dockerfile"]) + "\n", case["args"], ignore)
    namespace = case["args"].get("BUILDKIT_CACHE_MOUNT_NS", "")
    definition = encode(vertex, SESSION, cache_namespace=namespace)
    made = [digest_bytes(op).partition(":")[2] for op in ops(definition)]
    assert made[:-1] == case["ops"]


def test_the_last_op_names_the_result() -> None:
    definition = encode(vertex_of("FROM busybox\nRUN true\n", {}), SESSION)
    *_, run, last = ops(definition)
    result = messages("ops")["Op"].FromString(last)
    assert MessageToDict(result) == {"inputs": [{"digest": digest_bytes(run)}]}


def test_a_folder_of_the_client_stands_at_no_line() -> None:
    """A debugger stops at each op that has one."""
    text = "FROM busybox\nCOPY a /\n"
    made = encode(vertex_of(text, {}), SESSION, source=SourceText("Dockerfile", text))
    named = {digest: one.description["llb.customname"] for digest, one in made.metadata.items()}
    located = {named[digest].partition(" ")[0] for digest in made.Source.locations}
    assert located == {"[1/2]", "[2/2]"}


def test_scratch_has_no_op() -> None:
    assert ops(encode(None, SESSION)) == []
    assert list(as_text(b"")) == ["the result is empty"]


def test_the_same_graph_makes_the_same_bytes() -> None:
    source = SourceText("Dockerfile", "FROM busybox\nRUN --mount=type=cache,target=/c true\n")
    made = [
        encode(vertex_of(source.text, {}), SESSION, source=source, language="Dockerfile")
        for _ in range(2)
    ]
    assert len({message.SerializeToString(deterministic=True) for message in made}) == 1


@pytest.mark.parametrize(
    ("source", "identifier"),
    [
        (ImageSource("docker.io/library/a:1", BUSYBOX, AMD64), f"docker.io/library/a:1@{BUSYBOX}"),
        (ImageSource(f"a@{BUSYBOX}", Digest("sha256:0"), AMD64), f"a@{BUSYBOX}"),
    ],
)
def test_a_name_that_is_pinned_stays_as_it_is(source: ImageSource, identifier: str) -> None:
    definition = encode(Vertex(source), SESSION)
    op = messages("ops")["Op"].FromString(ops(definition)[0])
    assert op.source.identifier == f"docker-image://{identifier}"


def test_what_is_left_out_of_a_download_and_of_a_repository() -> None:
    text = "FROM scratch\nADD --exclude=x https://x.example/a https://x.example/b.git <<c /\nc\n"
    shown = as_json(encode(vertex_of(text, {}), SESSION).SerializeToString())["ops"]
    (made,) = (
        one["op"]["file"]["actions"] for one in shown if len(one["op"].get("inputs", ())) > 1
    )
    assert [action["copy"]["exclude_patterns"] for action in made] == [["x"]] * 3


@pytest.mark.parametrize(
    ("source", "tree", "pattern", "required"),
    [
        ("x/y", "/", "x/y", ["/x/y"]),
        ("./x/./y/", "/x", "y", ["/x/y"]),
        ("x/../../y", "/", "y", ["/y"]),
        ("x/./../y", "/x", "y", ["/x/y"]),
        ("x/./", "/x", "", ["/x"]),
        ("*/./y", "/*", "y", []),
        ("x/./*.c", "/x", "*.c", []),
    ],
)
def test_a_copy_of_parents(source: str, tree: str, pattern: str, required: list[str]) -> None:
    made = encode(vertex_of(f"FROM scratch\nCOPY --parents {source} /\n", {}), SESSION)
    (action,) = as_json(made.SerializeToString())["ops"][1]["op"]["file"]["actions"]
    copy = action["copy"]
    assert (copy["src"], copy["include_patterns"]) == (tree, [pattern])
    assert copy.get("required_paths", []) == required


def test_what_a_daemon_has_to_be_capable_of() -> None:
    """A daemon refuses a capability that it does not know: there is none for each attribute."""
    text = "FROM scratch\nADD https://x.example/a /\nADD https://x.example/b.git#c:d /\nCOPY a /\n"
    shown = as_json(encode(vertex_of(text, {}), SESSION).SerializeToString())["ops"]
    caps = {cap for op in shown for cap in op.get("metadata", {}).get("caps", {})}
    assert {cap for cap in caps if cap.startswith("source.")} == {
        *("source.http", "source.git", "source.git.fullurl", "source.local"),
        *("source.local.sessionid", "source.local.sharedkeyhint", "source.local.followpaths"),
    }


def test_a_secret_in_a_variable_and_a_proxy_need_what_a_daemon_has_a_name_for() -> None:
    text = "FROM busybox\nRUN --mount=type=secret,id=a,env=A true\n"
    made = encode(vertex_of(text, {"NO_PROXY": "x"}), LocalAccess(unique="u"))
    caps = {cap for one in made.metadata.values() for cap in one.caps}
    assert {"exec.secretenv", "exec.mount.secret", "exec.meta.proxyenv"} <= caps <= {*LLB_CAPS}


def test_a_folder_of_no_session_is_told_apart_by_a_daemon_that_can() -> None:
    made = encode(vertex_of("FROM scratch\nCOPY a /\n", {}), LocalAccess(unique="u"))
    assert "source.local.unique" in {cap for one in made.metadata.values() for cap in one.caps}


def test_names_of_hosts_need_nothing_that_a_daemon_has_a_name_for() -> None:
    """A builder refuses what it does not know: ours, too, when a bake target stands on another."""
    ran = vertex_of("FROM busybox\nRUN --network=host true\n", {})
    assert ran is not None and isinstance(ran.op, Exec)
    op = ran.op._replace(add_hosts=(("h", "1.2.3.4"),), ulimits=(), shm_size_bytes=1 << 20)
    made = encode(Vertex(op, ran.inputs, ran.note), SESSION)
    assert made.metadata.keys()
    assert {cap for one in made.metadata.values() for cap in one.caps} <= {*LLB_CAPS}


def test_what_no_dockerfile_says() -> None:
    """Graphs made in Python: a flat merge, a diff, outputs of mounts, links and removals."""
    base = image("busybox")
    mounts = [Mount("/in", local("src")), Mount("/out", scratch(), readonly=False)]
    ran = base.run("true", mounts=mounts)
    made = ran.get_mount("/out").symlink("/l", "t").rm("/x", missing_ok=True).mkfile("/f", b"data")
    result = merge([made, diff(base, ran), scratch().mkdir("/d")])
    definition = encode(result.vertex, SESSION)
    kinds = [next(iter(set(op["op"]) - {"inputs", "platform", "constraints"}), "result")
             for op in as_json(definition.SerializeToString())["ops"]]  # fmt: skip
    assert " ".join(kinds) == "source source exec file file file diff file merge result"
    data = as_json(definition.SerializeToString())["ops"]
    assert data[2]["op"]["exec"]["mounts"][1:] == [
        {"input": "1", "dest": "/in", "output": "-1", "readonly": True},
        {"input": "-1", "dest": "/out", "output": "1"},
    ]
    assert data[3]["op"]["inputs"] == [{"digest": data[2]["digest"], "index": "1"}]
    assert data[6]["op"]["diff"] == {"lower": {}, "upper": {"input": "1"}}
    assert data[8]["op"]["merge"]["inputs"] == [{}, {"input": "1"}, {"input": "2"}]


def test_text_shows_ops_beside_their_lines() -> None:
    vertex = vertex_of("FROM busybox\n\nRUN true\n", {})
    lines = list(as_text(encode(vertex, SESSION).SerializeToString()))
    assert lines[0].startswith("#1  line 1  [1/2] FROM docker.io/library/busybox")
    assert lines[8].startswith("#2  line 3  [2/2] RUN true")
    assert "    inputs: #1" in lines and '        args: ["/bin/sh", "-c", "true"]' in lines
    assert lines[-1] == "the result is #2"
