"""A base swapped without a build: the layers of an image on another base.

Comes in: an image, the base that it was made on, and another base. Goes out: the documents of the
image on the other base; no layer is read or written. It is the idea of `COPY --link`: a layer says
what it adds, and not to what. So it is right where the layers on top do not depend on the base's
files, as with programs that only run on it; a RUN that looked at the old base is not run again.

What the config says is merged: where the image has what the old base had, it gets what the new
base has; where it has something of its own, that stays. Variables, labels, ports and volumes are
merged one by one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from minibuild.errors import ImageError
from minibuild.imagetools.edit import Image, entries_below, write_image
from minibuild.oci.model import Descriptor
from minibuild.oci.multi import MultiSource

BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"
"""What an image was made on (image-spec annotations.md)."""

_MISSING = object()
# Of the new base, whatever the image says: what its files are for.
_MACHINE = ("architecture", "os", "variant", "os.version", "os.features")


def rebase(blobs: MultiSource, image: Image, old: Image, new: Image, name: str) -> Descriptor:
    """The image on `new`, which is called `name`, in place of `old`. Raises `ImageError`."""
    count = len(old.layers)
    if image.diff_ids[:count] != old.diff_ids:
        raise ImageError(
            f"the image was not made on {old.descriptor.digest}: its lowest layers are others",
            hint="name the very base, best by its digest",
        )
    if image.platform != new.platform:
        raise ImageError(f"the image is for {image.platform}, and the base for {new.platform}")
    config: dict[str, Any] = dict(image.config)
    config["config"] = merge_config(_object(old.config), _object(new.config), _object(image.config))
    for key in _MACHINE:
        if key in new.config:
            config[key] = new.config[key]
    own = image.history[entries_below(image.history, count) :]
    # Entries without a layer at the seam are the old base's if it has them.
    while own and own[0] in old.history:
        own = own[1:]
    return write_image(
        blobs,
        image,
        (*new.layers, *image.layers[count:]),
        (*new.history, *own),
        config=config,
        annotations={
            **image.manifest.annotations,
            BASE_NAME: name,
            BASE_DIGEST: new.descriptor.digest,
        },
    )


def merge_config(
    old: Mapping[str, Any], new: Mapping[str, Any], own: Mapping[str, Any]
) -> dict[str, Any]:
    """The container config of an image whose base changed from `old` to `new`."""
    merged: dict[str, Any] = {}
    for key in dict.fromkeys((*own, *new)):
        sides = [side.get(key, _MISSING) for side in (old, new, own)]
        if key == "Env":
            value: Any = _merge_variables([[] if s in (_MISSING, None) else s for s in sides])
        elif all(side in (_MISSING, None) or isinstance(side, dict) for side in sides):
            value = _merge_maps([side if isinstance(side, dict) else {} for side in sides])
        else:
            value = _chosen(*sides)
        if value is not _MISSING:
            merged[key] = value
    return merged


def _chosen(old: Any, new: Any, own: Any) -> Any:
    """What the new base has if the image has what the old one had."""
    return new if own == old else own


def _merge_maps(sides: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    old, new, own = sides
    merged = {}
    for key in dict.fromkeys((*new, *own)):
        value = _chosen(*(side.get(key, _MISSING) for side in (old, new, own)))
        if value is not _MISSING:
            merged[key] = value
    return merged


def _merge_variables(sides: Sequence[list[str]]) -> list[str]:
    merged = _merge_maps([dict(text.partition("=")[::2] for text in side) for side in sides])
    return [f"{key}={value}" for key, value in merged.items()]


def _object(config: Mapping[str, Any]) -> Mapping[str, Any]:
    return config.get("config") or {}
