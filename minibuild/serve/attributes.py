"""What a client asks of the frontend, as options of a build.

Comes in: the attributes of a call, text by text, as BuildKit's clients send them. Goes out: options
by the names of `BuildRequest`, in the words of the command line. Attributes that are not known are
left alone, as BuildKit does: a client sends more of them than any frontend reads.
Rules: moby/buildkit `frontend/dockerui/config.go`, `frontend/dockerui/attr.go`.
Read next: `build`.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from minibuild.buildflags.attest import FIELDS
from minibuild.buildflags.attest import attestations as parse_attestations
from minibuild.buildkit.rpc import Failure, api_type
from minibuild.graph.literals import parse_uint
from minibuild.serve.answers import as_failures
from minibuild.session.request import Attestations

Attributes = Mapping[str, str]
_NETWORKS = {
    "": "default",
    "sandbox": "default",
    "default": "default",
    "host": "host",
    "none": "none",
}
PULLS = {"": "missing", "default": "missing", "pull": "always", "local": "never"}
_EPOCH = "source-date-epoch"
_LIMITS = {
    "memory": "memory",
    "memswap": "memory-swap",
    "cpushares": "cpu-shares",
    "cpuperiod": "cpu-period",
    "cpuquota": "cpu-quota",
    "cpusetcpus": "cpuset-cpus",
    "cpusetmems": "cpuset-mems",
}
_ALL = {"provenance": ("mode=max",)}
# Of outputs: what minibuild knows under the same name. BuildKit leaves out what it does not know.
_IMAGE_KEYS = frozenset(
    "name compression compression-level force-compression oci-mediatypes oci-artifact "
    "attestation-inline rewrite-timestamp source-date-epoch tar".split()
)
_OUTPUT_KEYS: Mapping[str, frozenset[str]] = {
    "oci": _IMAGE_KEYS,
    "docker": _IMAGE_KEYS,
    "image": _IMAGE_KEYS
    | set(
        "push push-by-digest registry.insecure store name-canonical dangling-name-prefix".split()
    ),
    "local": frozenset(("platform-split", "source-date-epoch", "attestation-prefix")),
    "tar": frozenset(("platform-split", "source-date-epoch", "attestation-prefix")),
}


def options(attributes: Attributes) -> dict[str, Any]:
    """The options that the attributes mean. Raises `Failure` for values that make no sense."""
    found: dict[str, Any] = {
        "target": attributes.get("target", ""),
        "context_subdir": attributes.get("contextsubdir", ""),
        "build_args": dict(_with_prefix(attributes, "build-arg:")),
        "labels": dict(_with_prefix(attributes, "label:")),
        "platforms": _listed(attributes.get("platform", "")),
        "network": _choice(attributes, "force-network-mode", _NETWORKS),
        "pull": _choice(attributes, "image-resolve-mode", PULLS),
        "add_hosts": [
            ":".join(item.partition("=")[::2]) for item in _listed(attributes.get("add-hosts", ""))
        ],
        "ulimits": _listed(attributes.get("ulimit", "")),
        "resources": [
            f"{to}={attributes[key]}" for key, to in _LIMITS.items() if attributes.get(key)
        ],
    }
    if "no-cache" in attributes:
        stages = _listed(attributes["no-cache"])
        found["no_cache"], found["no_cache_filter"] = not stages, stages
    if size := attributes.get("shm-size"):
        found["shm_size_bytes"] = parse_uint(size)
        if found["shm_size_bytes"] < 0:
            raise Failure(f"failed to parse shm size: {size!r}")
    if attributes.get("hostname"):
        found["build_args"].setdefault("BUILDKIT_SANDBOX_HOSTNAME", attributes["hostname"])
    if attributes.get("multi-platform"):
        found["build_args"].setdefault("BUILDKIT_MULTI_PLATFORM", attributes["multi-platform"])
    return {name: value for name, value in found.items() if value not in ("", [], {})}


def _with_prefix(attributes: Attributes, prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in attributes.items():
        if key.startswith(prefix):
            yield key.removeprefix(prefix), value


def _listed(text: str) -> list[str]:
    """The fields of one record of CSV."""
    return [field for field in next(csv.reader([text]), []) if field] if text else []


def joined(fields: Sequence[str]) -> str:
    """One record of CSV, as the flags of the command line are written."""
    made = io.StringIO()
    csv.writer(made, lineterminator="").writerow(fields)
    return made.getvalue()


def _choice(attributes: Attributes, key: str, known: Mapping[str, str]) -> str:
    value = attributes.get(key, "")
    if value not in known:
        raise Failure(f"invalid value {value!r} for {key}")
    return known[value]


def attestations(attributes: Attributes) -> Attestations:
    """The attestations that are asked for. Raises `Failure` for values that make no sense."""
    found = {k.lower(): v for k, v in _with_prefix(attributes, "build-arg:BUILDKIT_ATTEST_")}
    found.update((kind.lower(), value) for kind, value in _with_prefix(attributes, "attest:"))
    texts, parameters = [], dict[str, str]()
    for kind, value in found.items():
        if kind not in FIELDS:
            raise Failure(f"unknown attestation type {kind!r}")
        fields = []
        for field in _listed(value):
            key, _, setting = field.partition("=")
            if key in FIELDS[kind]:
                fields.append(field)
            elif kind == "sbom":  # Of others BuildKit leaves out what it does not know.
                parameters[key] = setting
        # Those who do not say how much they want get everything.
        texts.append(joined([f"type={kind}", *_ALL.get(kind, ()), *fields]))
    with as_failures():
        return parse_attestations("", "", texts)._replace(parameters=parameters)


def cache_imports(attributes: Attributes) -> list[Any]:
    """The caches that are to be read, as messages `CacheOptionsEntry`. Raises `Failure`."""
    entry = api_type("CacheOptionsEntry")
    text = attributes.get("cache-imports", "") or "[]"
    names = attributes.get("cache-from", "")  # of old clients: registries alone
    older = [entry(Type="registry", Attrs={"ref": n}) for n in names.split(",") if n]
    try:
        found = [entry(Type=str(i.get("Type")), Attrs=i.get("Attrs")) for i in json.loads(text)]
    except (ValueError, TypeError, AttributeError):
        raise Failure(f"invalid cache-imports: {text!r}") from None
    return [*found, *older]


def output_attributes(kind: str, attributes: Attributes, *, dated: bool = True) -> dict[str, str]:
    """Those attributes of an output that mean something here. Where the frontend has `dated` the
    image, an output cannot take that back; but without a time of its own it dates no files."""
    known = _OUTPUT_KEYS[kind]
    found = {
        key: value
        for key, value in attributes.items()
        if key in known or (key.startswith("annotation") and kind in ("oci", "docker", "image"))
    }
    # Clients repeat the build argument, whatever it says. Where it is no time, the build knows it.
    # Nothing means that the output has no time of its own.
    moment = found.get(_EPOCH, "0")
    if not moment.isdecimal() and (dated or moment):
        del found[_EPOCH]
        if not moment:
            found.pop("rewrite-timestamp", None)
    return found
