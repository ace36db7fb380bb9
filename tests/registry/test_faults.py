"""Servers that fail: what is temporary is tried again, the rest is one sentence and exit code 4."""

import hashlib
import os
import re
import threading
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from minibuild.digest import Digest
from minibuild.errors import BuildError, Cancelled, ImageError, RegistryError
from minibuild.graph.reference import parse_reference
from minibuild.oci.content import BlobSource, ContentStore
from minibuild.oci.model import Descriptor
from minibuild.registry.fetch import fetch_blob, fetch_image
from minibuild.registry.patience import Patience, patient
from minibuild.registry.pull import Registry
from minibuild.registry.push import Repository, push_image
from minibuild.store.layout import Store
from tests.support.faulty import LAYER, Fault, Faulty
from tests.support.waiting import PATIENCE_S

BLOB = os.urandom(1 << 20)


SILENCE_S = 0.9
"""How long a client waits that is to give up. Others wait longer than a busy machine takes."""


class Client:
    """A registry client that notes its pauses instead of making them."""

    def __init__(self, attempts: int = 3, *, silence_s: float = 30.0) -> None:
        self.pauses: list[float] = []
        self.registry = Registry(
            patience=Patience(attempts, 1.0, 60.0, 30.0, silence_s, self.pauses.append)
        )

    @classmethod
    def meeting(cls, fault: Fault) -> "Client":
        """One that waits for an answer, if there is to be one."""
        return cls(silence_s=SILENCE_S) if fault.kind == "hang" else cls()


@pytest.fixture
def server() -> Iterator[Faulty]:
    with Faulty() as running:
        yield running


@pytest.fixture
def content(store: Store) -> ContentStore:
    return ContentStore(store)


def described(data: bytes, server: Faulty) -> Descriptor:
    return Descriptor(LAYER, Digest(server.put(data)), len(data))


ONCE = [
    (Fault("manifests", 429, (("Retry-After", "7"),)), [7.0]),
    (Fault("manifests", 500), [1.0]),
    (Fault("manifests", 503), [1.0]),
    (Fault("manifests", "cut", at=10), [1.0]),
    (Fault("manifests", "hang"), [1.0]),
]


@pytest.mark.parametrize(
    ("fault", "pauses"), ONCE, ids=lambda value: str(getattr(value, "kind", ""))
)
def test_what_happens_once_is_tried_again(
    server: Faulty, fault: Fault, pauses: list[float]
) -> None:
    name = parse_reference(server.image("app", BLOB))
    server.faults.append(fault)
    client = Client.meeting(fault)
    descriptor, _ = client.registry.find(name)
    assert descriptor.digest in server.manifests
    assert client.pauses == pauses


def test_silence_is_waited_for_twice_and_no_more(server: Faulty) -> None:
    """Each time takes half a minute in real life."""
    name = parse_reference(server.image("app", BLOB))
    server.faults += [Fault("manifests", "hang")] * 9
    client = Client(attempts=9, silence_s=SILENCE_S)
    with pytest.raises(RegistryError, match="did not answer within"):
        client.registry.find(name)
    assert client.pauses == [1.0]


def test_what_is_to_be_stored_may_take_longer(server: Faulty, content: ContentStore) -> None:
    server.faults += [Fault("PUT", "hang")]
    slow = Patience(1, 0.0, 1.0, 2.0, 0.1, lambda seconds: None, store_s=0.7)
    repository = Repository(Registry(patience=slow), parse_reference(f"{server.address}/app:1"))
    with pytest.raises(RegistryError, match=r"within 0\.7 seconds"):
        repository.push_manifest(b"{}", tag="1")


def test_pauses_double(server: Faulty) -> None:
    name = parse_reference(server.image("app", BLOB))
    server.faults += [Fault("manifests", 500)] * 3
    client = Client(attempts=4)
    client.registry.find(name)
    assert client.pauses == [1.0, 2.0, 4.0]


ALWAYS = [
    (Fault("manifests", 401), r"127\.0\.0\.1:\d+ denies access to app:latest \(401: so it is\)"),
    (Fault("manifests", 403), r"127\.0\.0\.1:\d+ denies access to app:latest \(403: so it is\)"),
    (Fault("manifests", 404), r"127\.0\.0\.1:\d+ has no app:latest \(404: so it is\)"),
    (
        Fault("manifests", 429, (("Retry-After", "600"),)),
        r"127\.0\.0\.1:\d+ takes no more requests for now \(429: so it is\)",
    ),
    (
        Fault("manifests", 500),
        r"127\.0\.0\.1:\d+ has trouble of its own with app:latest \(500: so it is\)",
    ),
    (Fault("manifests", "cut", at=10), r"127\.0\.0\.1:\d+ broke off its answer: it ended early"),
    (
        Fault("manifests", "loop"),
        r"127\.0\.0\.1:\d+ redirects from one address to the next without end",
    ),
    (Fault("manifests", "hang"), r"127\.0\.0\.1:\d+ did not answer within 0\.9 seconds"),
]


@pytest.mark.parametrize(("fault", "sentence"), ALWAYS, ids=lambda v: str(getattr(v, "kind", "")))
def test_what_stays_is_one_sentence(server: Faulty, fault: Fault, sentence: str) -> None:
    name = parse_reference(server.image("app", BLOB))
    server.faults += [fault] * 3
    with pytest.raises(RegistryError) as caught:
        Client.meeting(fault).registry.find(name)
    assert re.fullmatch(sentence, caught.value.message), caught.value.message
    assert caught.value.exit_code == 4


def test_the_hint_of_a_rate_limit_says_how_long(server: Faulty) -> None:
    name = parse_reference(server.image("app", BLOB))
    headers = (("Retry-After", "600"), ("RateLimit-Limit", "100;w=21600"))
    server.faults.append(Fault("manifests", 429, headers))
    client = Client()
    with pytest.raises(RegistryError) as caught:
        client.registry.find(name)
    assert client.pauses == []  # nobody wants to wait for that
    assert "600 seconds" in caught.value.hint
    assert "100 in 6 hours" in caught.value.hint


def test_nobody_there(server: Faulty) -> None:
    address = server.address
    server.__exit__()
    with pytest.raises(RegistryError, match=r"cannot be reached: connection refused"):
        Client().registry.find(parse_reference(f"{address}/app"))


def test_no_such_host() -> None:
    with pytest.raises(RegistryError, match=r"there is no host registry\.invalid"):
        Client().registry.find(parse_reference("registry.invalid/app"))


# --- Transfers ------------------------------------------------------------------------------------


def test_a_cut_transfer_goes_on_where_it_was(server: Faulty, content: ContentStore) -> None:
    blob = described(BLOB, server)
    server.faults += [Fault("blobs", "cut", at=300_000), Fault("blobs", "cut", at=200_000)]
    source = Client().registry.blobs(parse_reference(f"{server.address}/app"))
    fetch_blob(content, source, blob)
    assert content.read(blob.digest) == BLOB
    path = f"GET /v2/app/blobs/{blob.digest}"
    asked = [line for line in server.asked if "blobs" in line]
    assert asked == [path, f"{path} bytes=300000-", f"{path} bytes=500000-"]


def test_a_server_without_ranges_sends_it_all_again(server: Faulty, content: ContentStore) -> None:
    blob = described(BLOB, server)
    server.faults += [Fault("blobs", "cut", at=300_000), Fault("blobs", "norange")]
    fetch_blob(content, Client().registry.blobs(parse_reference(f"{server.address}/app")), blob)
    assert content.read(blob.digest) == BLOB


def test_the_next_attempt_takes_up_what_is_there(server: Faulty, content: ContentStore) -> None:
    """Another process, another day: the first bytes are not asked for again."""
    blob = described(BLOB, server)
    server.faults += [Fault("blobs", "cut", at=300_000), *[Fault("blobs", 500)] * 3]
    reference = parse_reference(f"{server.address}/app")
    with pytest.raises(RegistryError):
        fetch_blob(content, Client().registry.blobs(reference), blob)
    assert not content.has(blob.digest)
    server.asked.clear()
    fetch_blob(content, Client().registry.blobs(reference), blob)
    assert content.read(blob.digest) == BLOB
    assert server.asked[-1].endswith("bytes=300000-")
    assert os.listdir(content.store.path("partial")) == []


def test_a_transfer_that_never_ends_well(server: Faulty, content: ContentStore) -> None:
    blob = described(BLOB, server)
    server.faults += [Fault("blobs", "cut", at=1), *[Fault("blobs", "hang")] * 9]
    source = Client(silence_s=SILENCE_S).registry.blobs(parse_reference(f"{server.address}/app"))
    with pytest.raises(RegistryError, match=r"did not answer within 0\.9 seconds"):
        fetch_blob(content, source, blob)


def test_wrong_bytes_are_refused_and_not_kept(server: Faulty, content: ContentStore) -> None:
    blob = described(BLOB, server)
    server.faults.append(Fault("blobs", "wrong"))
    with pytest.raises(ImageError, match="has the digest"):
        fetch_blob(content, Client().registry.blobs(parse_reference(f"{server.address}/app")), blob)
    assert not content.has(blob.digest)
    assert os.listdir(content.store.path("partial")) == []


def test_a_damaged_beginning_is_fetched_anew(server: Faulty, content: ContentStore) -> None:
    """What a power cut left of an earlier attempt need not be what was written."""
    blob = described(BLOB, server)
    os.makedirs(content.store.path("partial"))
    with open(content.store.path("partial", blob.digest[7:]), "wb") as file:
        file.write(bytes(1000))
    fetch_blob(content, Client().registry.blobs(parse_reference(f"{server.address}/app")), blob)
    assert content.read(blob.digest) == BLOB


def test_too_many_bytes_are_refused(server: Faulty, content: ContentStore) -> None:
    blob = described(BLOB, server)._replace(size=1000)
    with pytest.raises(ImageError, match="larger than the 1000 bytes"):
        fetch_blob(content, Client().registry.blobs(parse_reference(f"{server.address}/app")), blob)
    assert os.listdir(content.store.path("partial")) == []


def test_a_manifest_that_is_not_the_one_asked_for(server: Faulty) -> None:
    server.image("app", BLOB)
    asked = parse_reference(f"{server.address}/app@sha256:{'0' * 64}")
    server.manifests[str(asked.digest)] = server.manifests["latest"]
    with pytest.raises(RegistryError, match=r"sent sha256:.* when asked for app@sha256:000"):
        Client().registry.find(asked)


def test_layers_come_side_by_side(server: Faulty, content: ContentStore) -> None:
    """Two that wait for each other: only who asks for both at once gets both."""
    layers = [os.urandom(2000), os.urandom(2000)]
    name = parse_reference(server.image("app", *layers))
    asked, both = set[bytes](), threading.Event()

    class Meeting(dict[str, bytes]):
        def __getitem__(self, key: str) -> bytes:
            data = super().__getitem__(key)
            if data in layers:
                asked.add(data)
                if len(asked) == len(layers):
                    both.set()
                assert both.wait(60)
            return data

    server.blobs = Meeting(server.blobs)
    top, blobs = Client().registry.find(name)
    fetch_image(content, blobs, top)
    assert all(content.has(Digest(key)) for key in server.blobs)


def test_waiting_can_be_cancelled(server: Faulty) -> None:
    name = parse_reference(server.image("app", BLOB))
    server.faults.append(Fault("manifests", 429, (("Retry-After", "50"),)))
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Cancelled):
        Registry(patience=patient(cancelled)).find(name)


# --- Uploads --------------------------------------------------------------------------------------


def push(server: Faulty, content: ContentStore, data: bytes, **options: object) -> str:
    content.put(data)
    blob = Descriptor(LAYER, Digest("sha256:" + hashlib.sha256(data).hexdigest()), len(data))
    repository = Repository(Client().registry, parse_reference(f"{server.address}/app"))
    return repository.push_blob(blob, content, **options)  # type: ignore[arg-type]


LARGE = BLOB * 3


def test_an_upload_is_taken_up_where_it_broke_off(server: Faulty, content: ContentStore) -> None:
    server.faults.append(Fault("PATCH", "cut", at=1_000_000))
    assert push(server, content, LARGE) == "sent"
    assert LARGE in server.blobs.values()
    ranges = [line.rpartition(" ")[2] for line in server.asked if line.startswith("PATCH")]
    assert ranges[-1] == f"1000000-{len(LARGE) - 1}"


def test_a_lost_session_is_begun_anew(server: Faulty, content: ContentStore) -> None:
    server.faults += [Fault("PATCH", "cut", at=1_000_000), Fault("GET /v2/app/blobs/uploads", 404)]
    assert push(server, content, LARGE) == "sent"
    assert LARGE in server.blobs.values()
    assert len(server.uploads) == 2


def test_parts_where_the_server_wants_them(server: Faulty, content: ContentStore) -> None:
    server.chunk_min = 1000
    data = BLOB * 17
    assert push(server, content, data) == "sent"
    assert data in server.blobs.values()
    ranges = [line.rpartition(" ")[2] for line in server.asked if line.startswith("PATCH")]
    assert ranges == [f"0-{(16 << 20) - 1}", f"{16 << 20}-{len(data) - 1}"]


def test_what_is_there_is_not_sent(server: Faulty, content: ContentStore) -> None:
    server.put(BLOB)
    assert push(server, content, BLOB) == "present"
    assert [line.split()[0] for line in server.asked] == ["GET", "HEAD"]


def test_a_mount_of_another_repository(server: Faulty, content: ContentStore) -> None:
    server.mounts = True
    other = [parse_reference(f"{server.address}/other/one"), parse_reference("elsewhere.invalid/x")]
    assert push(server, content, BLOB, mount_from=other) == "mounted"
    assert "&from=other/one" in server.asked[-1]


def test_a_server_that_mounts_nothing_gets_the_blob(server: Faulty, content: ContentStore) -> None:
    other = [parse_reference(f"{server.address}/other")]
    assert push(server, content, BLOB, mount_from=other) == "sent"
    assert BLOB in server.blobs.values()


def test_blobs_are_sent_side_by_side(server: Faulty, content: ContentStore) -> None:
    """Two that are read only when both are asked for."""
    name = parse_reference(server.image("app", b"one", b"two"))
    top, blobs = Client().registry.find(name)
    both = threading.Barrier(2, timeout=PATIENCE_S)

    class Meeting(BlobSource):
        def open(self, descriptor: Descriptor, offset: int = 0) -> BinaryIO:
            if descriptor.media_type == LAYER:
                both.wait()
            return blobs.open(descriptor, offset)

    with Faulty() as other:
        push_image(Client().registry, Meeting(), top, [parse_reference(f"{other.address}/app:1")])
        assert other.blobs == server.blobs


def test_a_manifest_is_put_again_when_a_digest_in_it_was_being_written(
    server: Faulty, content: ContentStore
) -> None:
    """As docker-registry answers while somebody else pushes the same blob; nothing else is."""
    where = "PUT /v2/app/manifests"
    server.faults += [Fault(where, 400, code="DIGEST_INVALID")] * 2
    repository = Repository(Client().registry, parse_reference(f"{server.address}/app:1"))
    data = b'{"schemaVersion": 2}'
    repository.push_manifest(data, tag="1")
    assert len([line for line in server.asked if line.startswith(where)]) == 3
    server.faults += [Fault(where, 400, code="MANIFEST_INVALID")]
    with pytest.raises(BuildError, match="so it is"):
        repository.push_manifest(data, tag="1")


@pytest.mark.parametrize("status", [400, 403, 405, 500])
def test_a_push_that_is_refused(server: Faulty, content: ContentStore, status: int) -> None:
    server.faults += [Fault("POST", status)] * 20
    with pytest.raises(BuildError, match=rf"\({status}: so it is\)") as caught:
        push(server, content, BLOB)
    assert caught.value.exit_code == 4
