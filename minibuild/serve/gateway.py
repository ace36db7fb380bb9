"""What a client wants to be built, as a result that it can ask for.

Comes in: a Dockerfile's attributes, or a definition of LLB. Goes out: the message `Result`, with an
id by which the client asks for it, or with the answer to a question. Nothing is built here, but
what another build of the same client has to give: linked bake targets. A definition that is a
result of a build which still goes on is that result, with the config of its image; any other is
built, into a folder, or into images in layouts, one of which may be for several platforms.
Read next: `definition`; `bridge`, which calls this.
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from minibuild.attest.attestor import RECORD
from minibuild.buildkit.rpc import Failure, api_type
from minibuild.frontend.subrequests import Method
from minibuild.graph.image import platform_to_json
from minibuild.graph.platform import Platform, host_platform
from minibuild.graph.source_policy import Policy
from minibuild.image.layout import DirectoryLayout
from minibuild.image.layout_folder import LayoutFolder
from minibuild.oci.model import OCI_INDEX, Index, describe, index_bytes
from minibuild.serve.attributes import cache_imports
from minibuild.serve.build import Build
from minibuild.serve.client_credentials import with_logins
from minibuild.serve.definition import (
    LOCALS,
    ClientDefinition,
    answer_metadata,
    ask,
    check_frontend,
    described_questions,
    question,
)
from minibuild.serve.layouts import fetch_contexts
from minibuild.serve.llb import (
    CONFIG,
    PLATFORMS,
    ResultPart,
    common_options,
    named_platform,
    prepare,
)
from minibuild.serve.policies import SourceJudge, guarded, judge_of, policies_of
from minibuild.serve.prepared import Needs, Prepared, frontend_call
from minibuild.session.request import BuildRequest, FrontendCall, Output


def result_of(build: Build, request: Any, attributes: Mapping[str, str]) -> Any:
    """The result of a call: of a definition, or of a frontend's attributes. Raises
    `Failure`."""
    build.cache_imports += getattr(request, "CacheImports", ())  # beside a definition
    build.cache_imports += cache_imports(attributes)
    extra = policies_of(getattr(request, "SourcePolicies", ()))
    if getattr(request.Definition, "def"):
        definition = guarded(build, request.Definition, extra)
        part = ResultPart(definition, host_platform())
        result = api_type("Result")()
        _offer(build, result.ref, prepare(build, part), request.Definition)
        return result
    if not request.Frontend:
        return _said({})  # an empty tree
    check_frontend(request.Frontend, attributes)
    described = described_questions(attributes)
    if described is not None:
        return _said(described)
    call = frontend_call(build, request, attributes)
    return _of_dockerfile(build, attributes, request.FrontendInputs, call, extra)


def _of_dockerfile(
    build: Build,
    attributes: Mapping[str, str],
    inputs: Mapping[str, Any],
    call: FrontendCall,
    extra: Sequence[Policy],
) -> Any:
    method = question(attributes)
    folders = {name: input_folder(build, inputs[name]) for name in LOCALS if name in inputs}
    place = build.scratch("definition-")
    policies = (*build.policies, *extra)
    definition = ClientDefinition(attributes, place, folders, policies)
    definition.fetch(build)
    build.status.source = definition.source
    contexts = input_images(build, definition.inputs(), inputs, attributes)
    contexts.update(fetch_contexts(build, definition.layouts()))
    made = definition.request(
        {**common_options(build), "contexts": contexts, "source_policies": policies},
        build.builder.environment,
    )
    made = with_logins(build, made, definition.image_names())
    if method is not None:
        return _answer(build, made, method)
    whole, judge = Prepared(made, definition.folders, Needs(), calls=(call,)), judge_of(build)
    for platform in made.platforms or (None,):
        _add_part(build, whole, platform, judge)
    whole.request = _judged(made, judge)
    return _result(build, whole)


def _answer(build: Build, made: BuildRequest, method: Method) -> Any:
    answer = ask(build, made, method, judge_of(build))
    lines, code = build.builder.show(method, answer)
    return _said(answer_metadata(answer, lines, code))


def _said(metadata: Mapping[str, bytes]) -> Any:
    """A result that is an answer, and no files."""
    result = api_type("Result")(metadata=metadata)
    result.ref.SetInParent()
    return result


def _judged(made: BuildRequest, judge: SourceJudge | None) -> BuildRequest:
    if judge is None:
        return made
    return made._replace(source_policies=(*made.source_policies, *judge.policies))


def _add_part(
    build: Build, whole: Prepared, platform: Platform | None, judge: SourceJudge | None
) -> None:
    """Add what a Dockerfile means for one platform. Raises `Failure`."""
    made = whole.request
    arguments = {k: v for k, v in made.build_args.items() if k != "BUILDKIT_MULTI_PLATFORM"}
    single = made._replace(platforms=(platform,) if platform else (), build_args=arguments)
    answer = ask(build, single, "llb", judge)
    definition = api_type("Definition").FromString(answer["definition"])
    whole.add_part(_judged(single, judge), definition, answer["config"])


def _result(build: Build, whole: Prepared) -> Any:
    """The results of a Dockerfile: one, or one for each platform."""
    result = api_type("Result")()
    if not whole.request.multi_platform:
        (part,) = whole.parts
        _offer(build, result.ref, part, part.definition)
        result.metadata[CONFIG] = part.config
        return result
    names = []
    for part in whole.parts:
        platform = (*part.request.platforms, host_platform())[0]
        _offer(build, result.refs.refs[str(platform)], part, part.definition)
        result.metadata[f"{CONFIG}/{platform}"] = part.config
        names.append({"ID": str(platform), "Platform": platform_to_json(platform)})
    result.metadata[PLATFORMS] = json.dumps({"Platforms": names}).encode()
    return result


def _offer(build: Build, ref: Any, prepared: Prepared, definition: Any) -> None:
    """Make a result one that the client can ask for, and that other builds of it can stand on."""
    ref.id = build.add(prepared)
    getattr(ref, "def").CopyFrom(definition)
    build.builder.offer(definition, build, ref.id)


# --- Results that stand on others ---


Provenance = Mapping[str, Any]

_BLOBS = "blobs/sha256"
_NAME = "latest"


def input_folder(build: Build, definition: Any) -> str:
    """A folder with what a definition gives. Raises `Failure`."""
    if not getattr(definition, "def"):
        raise Failure("invalid nil input definition to definition op")
    folder = build.scratch("input-")
    _build(build, definition, Output("local", folder))
    return folder


def input_images(
    build: Build,
    names: Mapping[str, Mapping[str, str]],
    given: Mapping[str, Any],
    attributes: Mapping[str, str],
) -> dict[str, str]:
    """Contexts as images in layouts of ours: their addresses by their names. `names` says for each
    which of the `given` definitions it is, by platforms; no platform is every one."""
    found = {}
    for name, by_platform in names.items():
        made, told = dict[str, str](), list[Provenance]()
        for platform, key in by_platform.items():
            if key not in given:
                raise Failure(f"the input {key} is not there")
            made[platform] = os.path.join(build.scratch("input-"), "layout")
            config = _config(attributes.get(f"input-metadata:{key}", ""))
            output = Output("oci", made[platform], {"tar": "false", "name": f"input:{_NAME}"})
            told += _build(build, given[key], output, named_platform(platform), config)
        folder = made[""] if "" in made else _joined(build, made)
        found[name] = f"oci-layout://{folder}:{_NAME}"
        build.linked[found[name]] = told
    return found


def _config(metadata: str) -> bytes:
    """The config of an image in what a client says of an input."""
    from base64 import b64decode

    try:
        return b64decode(json.loads(metadata or "{}").get(CONFIG, ""))
    except (ValueError, TypeError, AttributeError):
        raise Failure("the metadata of an input is no JSON of bytes") from None


def _build(
    build: Build,
    definition: Any,
    output: Output,
    platform: Platform | None = None,
    config: bytes = b"",
) -> list[Provenance]:
    """Build a definition into an output. Returns the provenance of what was built. The policies of
    the build that stands on it count, whatever those of the other are."""
    judged = guarded(build, definition)
    same = list(getattr(judged, "def")) == list(getattr(definition, "def"))
    offered = build.builder.offered(definition) if same else None
    if offered is None:
        part = ResultPart(judged, platform or host_platform(), config)
        offered = build, build.add(prepare(build, part))
    other, result = offered
    made = other.solve(result, [output]).metadata
    return [value for key, value in made.items() if key.startswith(RECORD)]


def _joined(build: Build, layouts: Mapping[str, str]) -> str:
    """One layout with the images of several, for their platforms."""
    folder = build.scratch("input-")
    manifests = []
    with LayoutFolder(folder).locked() as joined:
        for platform, layout in layouts.items():
            for blob in os.listdir(os.path.join(layout, _BLOBS)):
                os.rename(os.path.join(layout, _BLOBS, blob), os.path.join(folder, _BLOBS, blob))
            (made,) = DirectoryLayout(layout).index.manifests
            manifests.append(made._replace(platform=named_platform(platform), annotations={}))
        data = index_bytes(Index(tuple(manifests), media_type=OCI_INDEX))
        joined.put(data)
        joined.give_name(_NAME, describe(OCI_INDEX, data))
    return folder
