"""What a build is to say of its images: the values of `--provenance`, `--sbom` and `--attest`.

Comes in: the texts of the flags. Goes out: `Attestations`, or a `UsageError` that says how to
write it. The form is buildx's; a later flag counts more than an earlier one about the same.
"""

from collections.abc import Iterable, Mapping

from minibuild.buildflags.attributes import attributes, truth
from minibuild.errors import UsageError
from minibuild.graph.spelling import one_of
from minibuild.session.request import Attestations

FIELDS = {
    "provenance": {
        *("type", "disabled", "mode", "version", "builder-id", "reproducible"),
        *("filename", "inline-only", "complete-materials", "capture-usage"),
    },
    "sbom": {"type", "disabled", "generator"},
}
_GENERATOR = "generator"


def attestations(provenance: str, sbom: str, attest: Iterable[str]) -> Attestations:
    """What the flags ask for together; empty texts are flags that were not given."""
    made = Attestations()
    for text in attest:
        given = attributes(text, "attest")
        made = _with(made, given.get("type", ""), given, f"--attest {text}")
    for flag, text in (("provenance", provenance), ("sbom", sbom)):
        if text:
            made = _with(made, flag, _short(text, flag), f"--{flag} {text}")
    return made


def _short(text: str, flag: str) -> Mapping[str, str]:
    """`--provenance=true` and `--sbom=false` say just whether; anything else is pairs."""
    if "=" in text:
        return attributes(text, flag)
    if flag == "provenance" and text in ("min", "max"):
        return {"mode": text}
    return {"disabled": "false" if truth(text, flag) else "true"}


def _with(made: Attestations, kind: str, given: Mapping[str, str], what: str) -> Attestations:
    known = FIELDS.get(kind)
    if known is None:
        raise UsageError(
            f"{what}: unknown type {kind!r}" if kind else f"{what} has no type",
            hint=one_of(kind, FIELDS),
        )
    more = {key: value for key, value in given.items() if key not in known}
    scans = kind == "sbom" and given.get(_GENERATOR)
    if more and not scans:  # An image that scans has settings of its own.
        key = next(iter(more))
        raise UsageError(f"{what}: unknown field {key!r}", hint=one_of(key, sorted(known)))
    enabled = not truth(given.get("disabled", "false"), "disabled")
    if kind == "sbom":
        generator = given.get(_GENERATOR, "") if enabled else ""
        parameters = {key.upper(): value for key, value in more.items()}
        return made._replace(sbom=enabled, generator=generator, parameters=parameters)
    version = given.get("version", "") or "v1"
    if version not in ("v1", "v0.2"):
        raise UsageError(
            f"{what}: version {version!r} is not written", hint=one_of(version, ("v1", "v0.2"))
        )
    if truth(given.get("capture-usage", "false"), "capture-usage"):
        raise UsageError(
            f"{what}: what steps use of the machine is not measured", hint="leave capture-usage out"
        )
    mode = given.get("mode", "min")
    if mode not in ("min", "max", "full"):
        raise UsageError(f"{what}: unknown mode {mode!r}", hint=one_of(mode, ("min", "max")))
    return made._replace(
        mode=("min" if mode == "min" else "max") if enabled else "",
        version="v1" if version == "v1" else "v0.2",
        builder_id=given.get("builder-id", ""),
        reproducible=truth(given.get("reproducible", "false"), "reproducible"),
        filename=_filename(given.get("filename", "") or Attestations().filename, what),
        inline_only=truth(given.get("inline-only", "false"), "inline-only"),
        complete=truth(given.get("complete-materials", "false"), "complete-materials"),
    )


def _filename(text: str, what: str) -> str:
    if "/" in text or "\0" in text or text in (".", ".."):
        raise UsageError(
            f"{what}: {text!r} is no name of a file", hint="the output says in which folder it is"
        )
    return text
