"""What BuildKit took, and what minibuild is to take: figures recorded once, on one machine.

BuildKit needs a daemon that few machines have, so its seconds are written down here (medians of
three to five runs; master of August 2026, warm daemon, overlayfs, runc, 2 cores, ext4). They are
worth something on a machine of the same kind only; where there is a live one (`--vs buildkit`), it
is the one that counts, and these stand beside it.
"""

from collections.abc import Mapping

BUILDKIT = "BuildKit"
"""What the live one is called among the builders."""

BUILDKIT_S: Mapping[tuple[str, str], float] = {
    ("W1", "cold"): 0.333,
    ("W1", "noop"): 0.076,
    ("W2", "cold"): 1.518,
    ("W2", "noop"): 0.083,
    ("W3", "cold"): 5.667,
    ("W3", "noop"): 0.617,
    ("W3", "change"): 3.314,
    ("W3", "cold+oci"): 8.563,
    ("W3", "noop+oci"): 0.766,
    ("W3", "change+oci"): 5.676,
    ("W4", "cold"): 5.517,
    ("W4", "noop"): 0.598,
    ("W4", "change"): 2.239,
    ("W4b", "cold"): 6.343,
    ("W4b", "noop"): 0.676,
    ("W4b", "change"): 2.352,
    ("W5", "cold+oci"): 18.655,
    ("W5", "cold+oci-zstd"): 14.827,
    ("W6", "cold"): 3.782,
    ("W7", "cold"): 7.470,
    ("W7", "noop"): 0.164,
    ("W8", "cold"): 9.615,
    ("W8", "noop"): 0.063,
    ("W9", "cold"): 4.745,
    ("W9", "noop"): 0.085,
    ("W9", "change"): 0.404,
}

GOALS: Mapping[tuple[str, str], float] = {
    ("W1", "cold"): 0.3,
    ("W1", "noop"): 0.75,
    ("W2", "cold"): 0.12,
    ("W2", "noop"): 0.85,
    ("W3", "cold"): 0.22,
    ("W3", "cold+oci"): 0.2,
    ("W3", "noop"): 0.4,
    ("W3", "change"): 0.14,
    ("W3", "change+oci"): 0.08,
    ("W4", "cold"): 0.22,
    ("W4", "noop"): 0.4,
    ("W4", "change"): 0.38,
    ("W4b", "cold"): 0.25,
    ("W4b", "noop"): 0.4,
    ("W4b", "change"): 0.2,
    ("W5", "cold+oci"): 0.25,
    ("W5", "cold+oci-zstd"): 0.4,
    ("W6", "cold"): 1.0,
    ("W7", "cold"): 0.09,
    ("W7", "noop"): 0.6,
    ("W8", "cold"): 0.3,
    ("W8", "noop"): 1.0,
    ("W9", "cold"): 0.95,
    ("W9", "change"): 0.6,
}
"""Times of BuildKit's master, at most."""
