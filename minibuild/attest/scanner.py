"""An SBOM by an image that scans: a step runs it on the result, and what it writes is said.

Comes in: an image to be built. Goes out: the same, with the attestation that the step writes. The
scanner sees trees below /run/src, and writes statements of in-toto into /run/out.
Rules: BuildKit's docs/attestations/sbom-protocol.md. Read next: `written`.
"""

from minibuild.attest.sbom import PREDICATE_TYPE
from minibuild.errors import UsageError
from minibuild.graph.frontend import Built, ImageResolver, StepAttestation
from minibuild.graph.op import BindMount, Exec, MountOutput, TmpfsMount
from minibuild.graph.platform import host_platform
from minibuild.graph.vertex import Note, Vertex
from minibuild.session.request import Attestations

_CORE = "/run/src/core/sbom"
_EXTRAS = "/run/src/extras"
_OUT = "/run/out"


def scanned(image: Built, asked: Attestations, resolver: ImageResolver) -> Built:
    """The image, to be scanned as well. One that has an SBOM already stays as it is."""
    if any(one.predicate_type == PREDICATE_TYPE for one in image.attestations):
        return image
    found = resolver.resolve(asked.generator, host_platform())
    config = found.config.config
    args = (*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ()))
    if not args:
        raise UsageError(
            f"the scanner {asked.generator} does not say what to run",
            hint="the image of a scanner has an ENTRYPOINT or a CMD",
        )
    trees = [image.vertex, *image.scanned.values()]
    places = [_CORE, *(f"{_EXTRAS}/sbom-{name}" for name in image.scanned)]
    mounts = [BindMount(place, number) for number, place in enumerate(places, 1)]
    out = BindMount(_OUT, len(trees) + 1, readonly=False, output=True)
    environment = [item.partition("=")[::2] for item in config.get("Env") or ()]
    environment += [("BUILDKIT_SCAN_DESTINATION", f"{_OUT}/"), ("BUILDKIT_SCAN_SOURCE", _CORE)]
    if image.scanned:
        environment.append(("BUILDKIT_SCAN_SOURCE_EXTRAS", f"{_EXTRAS}/"))
    environment += [(f"BUILDKIT_SCAN_{key}", value) for key, value in asked.parameters.items()]
    op = Exec(
        tuple(map(str, args)),
        tuple(environment),
        config.get("WorkingDir") or "/",
        mounts=(TmpfsMount("/tmp"), *mounts, out),
    )
    note = Note(f"[{image.platform}] generating sbom using {asked.generator}")
    base = Vertex(found.source, (), Note(f"FROM {found.source.ref}"))
    ran = Vertex(op, (base, *trees, None), note)
    wrote = Vertex(MountOutput(len(op.mounts) - 1), (ran,), note)
    said = StepAttestation(wrote, bundle=True, predicate_type=PREDICATE_TYPE, core="sbom")
    return image._replace(attestations=(*image.attestations, said))
