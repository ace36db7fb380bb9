"""Where caches travel to: the values of `--cache-to`, `--cache-from`, and of `--cache-mount-to`,
`--cache-mount-from`.

Comes in: the text of a flag. Goes out: a place, or a `UsageError` that says how to write it. The
keys are those of buildx (its reference of `build`, and "Cache storage backends"); places of cache
mounts have some of these, and a few of their own.
"""

from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from minibuild.buildflags.attributes import check_reference, fields, truth
from minibuild.errors import UsageError
from minibuild.graph.spelling import one_of
from minibuild.layer.compress import parse_level
from minibuild.oci.model import Compression
from minibuild.session.request import CacheMountPlace, CachePlace
from minibuild.startup.tuples import NamedTuple

_NAME = {"ref", "registry.insecure"}
_EXPORT = {"compression", "compression-level", "ignore-error"}
_STEPS = _EXPORT | {"mode", "compat", "force-compression", "image-manifest", "oci-mediatypes"}
_KEYS = {
    ("cache-to", "registry"): _NAME | _STEPS,
    ("cache-to", "local"): {"dest", "tag", "reset"} | _STEPS,
    ("cache-to", "inline"): set[str](),
    ("cache-from", "registry"): _NAME,
    ("cache-from", "local"): {"src", "tag", "digest"},
    ("cache-mount-to", "registry"): {"id", "tag"} | _NAME | _EXPORT,
    ("cache-mount-to", "local"): {"id", "dest", "tag"} | _EXPORT,
    ("cache-mount-from", "registry"): {"id", "tag", "force"} | _NAME,
    ("cache-mount-from", "local"): {"id", "src", "tag", "force"},
}
_SERVICES = ("gha", "s3", "azblob")

AnyPlace = TypeVar("AnyPlace", CachePlace, CacheMountPlace)


class _Given(NamedTuple):
    """The fields of a flag, and its ids, of which there may be several."""

    type: Any
    values: Mapping[str, str]
    ids: tuple[str, ...]

    def truth(self, key: str, default: str = "false") -> bool:
        return truth(self.values.get(key, default), key)

    def one_of(self, key: str, known: tuple[str, ...], default: str = "") -> Any:
        value = self.values.get(key, default)
        if value not in (*known, default):
            raise UsageError(f"unknown {key} {value!r}", hint=one_of(value, known))
        return value

    def compression(self) -> Compression | None:
        return self.one_of("compression", get_args(Compression)) or None

    def level(self, compression: Compression) -> int | None:
        text = self.values.get("compression-level")
        return None if text is None else parse_level(text, compression)


def cache_place(text: str, flag: str) -> CachePlace:
    """The place that the value of `flag` (`cache-to`, `cache-from`) names."""
    given = _read(text, flag)
    oci = given.values.get("oci-mediatypes", "true")
    is_manifest, is_oci = given.truth("image-manifest", oci), given.truth("oci-mediatypes", oci)
    if is_manifest and not is_oci:
        raise UsageError(
            f"--{flag} {text}: an image manifest needs OCI's media types",
            hint="leave image-manifest or oci-mediatypes out",
        )
    compression = given.compression()
    made = CachePlace(
        given.type,
        ref=given.values.get("ref", ""),
        path=given.values.get("dest", "") or given.values.get("src", ""),
        tag=given.values.get("tag", "latest"),
        digest=given.values.get("digest", ""),
        mode=given.one_of("mode", ("min", "max"), "min"),
        compression=compression,
        level=given.level(compression or "gzip"),
        force_compression=given.truth("force-compression"),
        insecure=given.truth("registry.insecure"),
        ignore_error=given.truth("ignore-error"),
        reset=given.truth("reset", "true"),
        compat=given.one_of("compat", ("minibuild", "buildkit")),
        form="manifest" if is_manifest else "index" if is_oci else "list",
    )
    return checked_place(made, flag, text)


def cache_mount_place(text: str, flag: str) -> CacheMountPlace:
    """The place that the value of `flag` (`cache-mount-to`, `cache-mount-from`) names."""
    given = _read(text, flag)
    compression = given.compression() or "zstd"
    made = CacheMountPlace(
        given.type,
        ref=given.values.get("ref", ""),
        path=given.values.get("dest", "") or given.values.get("src", ""),
        tag=given.values.get("tag", "latest"),
        ids=given.ids,
        force=given.truth("force"),
        compression=compression,
        level=given.level(compression),
        insecure=given.truth("registry.insecure"),
        ignore_error=given.truth("ignore-error"),
    )
    return checked_place(made, flag, text)


def _read(text: str, flag: str) -> _Given:
    """The fields, of which a name in a registry needs no key; if the type has them all."""
    values: dict[str, str] = {}
    ids: list[str] = []
    for number, field in enumerate(fields(text)):
        key, equals, value = field.partition("=")
        if not number and field and not equals:
            key, equals, value = "ref", "=", field
        key = key.strip().lower()
        if not equals:
            raise _wrong(f"--{flag} {text}: {field!r} must be key=value", flag)
        if key == "id" and flag.startswith("cache-mount"):
            ids.append(value)
        else:
            values[key] = value
    kind = values.pop("type", "registry" if "ref" in values else "")
    if (flag, kind) == ("cache-from", "inline"):
        raise UsageError(
            f"--{flag} {text}: a cache that is in an image is read by the name of the image",
            hint="write --cache-from REGISTRY/NAME:TAG",
        )
    if (flag, kind) not in _KEYS:
        if kind in _SERVICES:
            what = f"type={kind} needs a service that minibuild has no client for"
            raise _wrong(f"--{flag} {text}: {what}", flag)
        raise _unknown(f"--{flag} {text}", flag, kind)
    for key in values:
        if key not in _KEYS[flag, kind]:
            hint = one_of(key, ("type", *sorted(_KEYS[flag, kind])))
            raise UsageError(f"--{flag} {text}: unknown field {key!r}", hint=hint)
    return _Given(kind, values, tuple(ids))


def _unknown(what: str, flag: str, kind: str) -> UsageError:
    if not kind:
        return _wrong(f"{what}: no type", flag)
    hint = one_of(kind, (name for of_flag, name in _KEYS if of_flag == flag))
    return UsageError(f"{what}: unknown type {kind!r}", hint=hint)


def _wrong(message: str, flag: str) -> UsageError:
    folder = "src" if flag.endswith("-from") else "dest"
    more = ",mode=max, type=inline" if flag == "cache-to" else ""
    form = f"type=registry,ref=REGISTRY/NAME:TAG{more} or type=local,{folder}=DIR"
    return UsageError(message, hint=f"write {form}")


def checked_place(made: AnyPlace, flag: str, text: str = "") -> AnyPlace:
    """The place, if it has what its type needs: a slip is found before the build. Raises
    `UsageError`."""
    what = f"--{flag} {text}" if text else f"{flag.replace('-', '_')}, type={made.type},"
    if (flag, made.type) not in _KEYS:
        raise _unknown(what, flag, made.type)
    if made.type == "inline":
        return made
    if (made.path and made.ref) or not (made.path if made.type == "local" else made.ref):
        raise _wrong(f"{what} names no place", flag)
    if made.type == "registry":
        check_reference(made.ref, what, written=flag.endswith("-to"))
    return made
