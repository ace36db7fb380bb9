"""Which blobs hold which layer: a diff packed or pulled once is never packed again.

Comes in: what `pack`, a pull or a conversion found out. Goes out: the blobs of a diff id. One
diff can have several blobs, one for each compression. Kept in the table `layers` of the store.
"""

from minibuild.digest import DiffID, Digest
from minibuild.oci.content import ContentStore
from minibuild.oci.model import Descriptor
from minibuild.startup.tuples import NamedTuple
from minibuild.store.database import Database


class PackedLayer(NamedTuple):
    """A layer as a blob: `diff_id` is the digest of the tar, `digest` that of the blob."""

    diff_id: DiffID
    digest: Digest
    size_bytes: int
    media_type: str

    @property
    def descriptor(self) -> Descriptor:
        """The blob as a manifest names it."""
        return Descriptor(self.media_type, self.digest, self.size_bytes)


def remember(db: Database, layer: PackedLayer) -> None:
    """Note that this blob holds that diff. Known ones are left alone."""
    db.execute(
        "INSERT OR IGNORE INTO layers (diff_id, digest, media_type, size_bytes)"
        " VALUES (?, ?, ?, ?)",
        (layer.diff_id, layer.digest, layer.media_type, layer.size_bytes),
    )


def blobs_of(db: Database, content: ContentStore, diff_id: DiffID) -> list[PackedLayer]:
    """The blobs of a diff that are in the store; those that are gone are forgotten."""
    rows = db.execute(
        "SELECT digest, size_bytes, media_type FROM layers WHERE diff_id = ? ORDER BY digest",
        (diff_id,),
    ).fetchall()
    found: list[PackedLayer] = []
    for digest, size_bytes, media_type in rows:
        if content.has(digest, size_bytes):
            found.append(PackedLayer(diff_id, digest, size_bytes, media_type))
        else:
            db.execute("DELETE FROM layers WHERE diff_id = ? AND digest = ?", (diff_id, digest))
    return found


def diff_id_of(db: Database, digest: Digest) -> DiffID | None:
    """The diff that a blob holds, if it is known."""
    row = db.execute("SELECT diff_id FROM layers WHERE digest = ?", (digest,)).fetchone()
    return None if row is None else DiffID(Digest(row[0]))
