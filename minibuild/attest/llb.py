"""BuildSteps as LLB in JSON. Needs the Python package protobuf; see `steps`.

Rules: moby/buildkit `solver/pb/json.go`, `solver/llbsolver/provenance/types`.
Read next: `minibuild.buildkit.definition`.
"""

from collections.abc import Mapping
from typing import Any

from minibuild.attest.call import Json
from minibuild.attest.steps import BuildSteps, Texts, info
from minibuild.buildkit.definition import DefinitionWriter, OpOutput
from minibuild.buildkit.encode import add_ops
from minibuild.buildkit.encode_source import LocalAccess
from minibuild.buildkit.gojson import go_json
from minibuild.buildkit.proto import messages
from minibuild.digest import Digest, digest_bytes
from minibuild.graph.address import masked
from minibuild.graph.vertex import Vertex


def llb_steps(result: Vertex | None, texts: Texts, cache_namespace: str) -> BuildSteps:
    """The steps of a result, each an operation of LLB."""
    writer = DefinitionWriter()
    outputs = add_ops(writer, [result], LocalAccess(), cache_namespace)
    end = None if result is None else outputs[result.digest]
    message = writer.finish(end, texts.sources, texts.language)
    numbers = _numbers(message)
    places = message.Source.locations
    infos = [info(text, texts.language) for text in texts.sources]
    if infos and texts.origin is not None:
        infos[0].update(_config(_definition_of(texts.origin)))
    located = [digest for digest in numbers if digest in places]
    source = {
        "infos": infos,
        "locations": {numbers[digest]: go_json(places[digest]) for digest in located},
    }
    named = {digest: _output(output, numbers) for digest, output in outputs.items()}
    return BuildSteps(_config(message), source if infos else {}, named)


def _definition_of(origin: Vertex) -> Any:
    writer = DefinitionWriter()
    outputs = add_ops(writer, [origin], LocalAccess(), "")
    return writer.finish(outputs[origin.digest], (), "")


def _numbers(message: Any) -> dict[str, str]:
    ops = getattr(message, "def")
    return {digest_bytes(data): f"step{number}" for number, data in enumerate(ops)}


def _output(output: OpOutput, numbers: Mapping[str, str]) -> str:
    return f"{numbers[output.digest]}:{output.number}"


def _config(message: Any) -> Json:
    """A definition as members of a `buildConfig`."""
    numbers = _numbers(message)
    parse = messages("ops")["Op"].FromString
    steps = []
    for digest, data in zip(numbers, getattr(message, "def"), strict=True):
        op = parse(data)
        if op.HasField("source"):
            _hide(op.source)
        inputs = [_output(OpOutput(Digest(i.digest), i.index), numbers) for i in op.inputs]
        del op.inputs[:]
        step: Json = {"id": numbers[digest], "op": {"Op": {}, **go_json(op)}}
        steps.append({**step, "inputs": inputs} if inputs else step)
    return {"llbDefinition": steps, "digestMapping": numbers} if steps else {}


def _hide(source: Any) -> None:
    """Take credentials out of a source, as others may see it."""
    source.identifier = masked(source.identifier)
    if "git.fullurl" in source.attrs:
        source.attrs["git.fullurl"] = masked(source.attrs["git.fullurl"])
