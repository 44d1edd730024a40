"""The check of signatures by c2pa-python: against the file, against the trust list, and without the network."""

import contextlib
import multiprocessing
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, features

from edge.imaging import preprocess
from edge.provenance import c2pa as ours
from edge.provenance import verify
from edge.provenance.manifests import read_manifests
from edge.provenance.read import details, evidence
from edge.verdict import CAPTURED, EDITED, GENERATED
from tests.conftest import CHECKOUT, environment
from tests.support.mutation import mutated

pytest.importorskip("c2pa", reason="c2pa-python is not installed; there is none for 32-bit systems")

import c2pa as library

from tests.support.content_credentials import action, authority, impostor, sign

TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
    "AVIF": "image/avif",
    "HEIF": "image/heic",
}
CREATED = [action("created", "trainedAlgorithmicMedia")]


def picture(kind: str = "JPEG") -> bytes:
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    file = BytesIO()
    Image.radial_gradient("L").convert("RGB").save(file, kind)
    return file.getvalue()


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A trust list with the authority of the tests' usual signer."""
    path = tmp_path / "anchors.pem"
    path.write_text(authority().root)
    monkeypatch.setenv(verify.TRUST_LIST, str(path))
    return path


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.usefixtures("trusted")
def test_signed_file_of_a_trusted_signer_is_verified(kind: str, version: int) -> None:
    file, store = sign(picture(kind), TYPES[kind], CREATED, claim_version=version)
    (found,) = ours.evidence(store, file)
    assert (found.says, found.verified) == (GENERATED, True)
    assert "signed by Test Signer, signature fits, signer is on the trust list" in found.detail
    assert ours.report(store, file)["verification"]["verified"] is True


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.usefixtures("trusted")
def test_pixels_changed_after_signing_are_noticed(kind: str) -> None:
    file, store = sign(picture(kind), TYPES[kind], CREATED)
    at = file.index(store)
    changed = len(file) - 20 if at + len(store) < len(file) - 20 else at - 20
    assert not at <= changed < at + len(store)
    file = file[:changed] + bytes((file[changed] ^ 1,)) + file[changed + 1 :]
    (found,) = ours.evidence(store, file)
    assert (found.says, found.verified) == (GENERATED, False)
    assert "names Test Signer as its signer" in found.detail
    assert "does not match: the file was changed after signing" in found.detail


@pytest.mark.usefixtures("trusted")
def test_long_names_do_not_hide_that_a_file_was_changed() -> None:
    steps = [action("created", "trainedAlgorithmicMedia", "agent " * 100)]
    steps += [action(name) for name in ("edited", "cropped", "color_adjustments")]
    file, store = sign(picture(), "image/jpeg", steps, generator="x" * 500, by=authority("y" * 60))
    (found,) = ours.evidence(store, file[:-1] + b"\0")
    assert found.verified is False
    assert len(found.detail) == 300
    assert found.detail.endswith("..., does not match: the file was changed after signing")


@pytest.mark.usefixtures("trusted")
def test_manifest_of_another_file_is_noticed() -> None:
    _, store = sign(picture(), "image/jpeg", CREATED)
    darker = BytesIO()
    Image.linear_gradient("L").convert("RGB").save(darker, "JPEG")
    for other in (picture(), picture("PNG"), sign(darker.getvalue(), "image/jpeg", CREATED)[0]):
        check = verify.check(store, other)
        assert (check.verified, check.reason) == (False, "does not match: the file was changed after signing")


@pytest.mark.usefixtures("trusted")
def test_changed_manifest_is_noticed() -> None:
    file, store = sign(picture(), "image/jpeg", [action("created", "digitalCapture", "Camera A")])
    forged = store.replace(b"Camera A", b"Camera B")
    check = verify.check(forged, file.replace(store, forged))
    assert (check.verified, check.reason) == (False, "does not match: the manifest was changed after signing")


@pytest.mark.usefixtures("trusted")
def test_broken_signature_is_noticed() -> None:
    file, store = sign(picture(), "image/jpeg", CREATED)
    claim = store.index(b"Test Program")
    forged = store[:claim] + b"Fest" + store[claim + 4 :]
    check = verify.check(forged, file.replace(store, forged))
    assert (check.verified, check.reason) == (False, "does not match: the signature is broken")


def test_signer_who_is_not_on_the_bundled_list_stays_unverified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(verify.TRUST_LIST, raising=False)
    (found,) = ours.evidence(*reversed(sign(picture(), "image/jpeg", CREATED)))
    assert found.verified is None
    assert found.detail.endswith("signature fits, but a signer is not on the trust list")


def test_expired_certificate_without_time_stamp_stays_unverified(tmp_path: Path) -> None:
    signer = authority("Expiring", lasts=timedelta(seconds=3))
    path = tmp_path / "anchors.pem"
    path.write_text(signer.root)
    file, store = sign(picture(), "image/jpeg", CREATED, by=signer)
    assert verify.check(store, file, path).verified is True
    time.sleep(4.2)  # both ends count, in whole seconds
    check = verify.check(store, file, path)
    assert (check.verified, check.reason) == (None, "the signer's certificate has expired")


def test_certificate_issued_by_a_signer_is_not_trusted(trusted: Path) -> None:
    file, store = sign(picture(), "image/jpeg", CREATED, by=impostor(authority()))
    assert b"Impostor" in store
    assert verify.check(store, file, trusted).verified is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: no such file"),
        (b"", "holds no certificates"),
        (b"\x30\x82", "holds no certificates"),
        (b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n", "is damaged"),
        (b"-----BEGIN CERTIFICATE-----\n" * 200_000, "too large"),
    ],
    ids=["missing", "empty", "der", "damaged", "large"],
)
def test_unusable_trust_list_is_reported_in_the_reason(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "list.pem"
    if content is not None:
        path.write_bytes(content)
    check = verify.check(*reversed(sign(picture(), "image/jpeg", CREATED)), path)
    assert check.verified is None
    assert check.tried
    assert reason in check.reason


def test_bundled_lists_hold_certificates() -> None:
    from cryptography import x509

    folder = Path(verify.__file__).with_name("trust")
    for name in ("C2PA-TRUST-LIST.pem", "C2PA-TSA-TRUST-LIST.pem"):
        certificates = x509.load_pem_x509_certificates((folder / name).read_bytes())
        assert len(certificates) > 10
        assert any("Google" in one.subject.rfc4514_string() for one in certificates)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([action("created", "digitalCapture")], CAPTURED),
        ([action("created", "computationalCapture")], CAPTURED),
        ([action("created", "compositeWithTrainedAlgorithmicMedia")], EDITED),
    ],
)
@pytest.mark.usefixtures("trusted")
def test_captured_and_composite_pictures_are_verified_as_such(steps: list[dict[str, str]], expected: str) -> None:
    (found,) = ours.evidence(*reversed(sign(picture(), "image/jpeg", steps)))
    assert (found.says, found.verified) == (expected, True)


def copy_of(parent: bytes) -> tuple[bytes, bytes]:
    """A copy of a picture that its usual signer signs: (manifest store, file)."""
    file, store = sign(
        picture(), "image/jpeg", [action("opened", of=0)], ingredients=(("parentOf", "image/jpeg", parent),)
    )
    return store, file


@pytest.mark.usefixtures("trusted")
def test_generated_parent_of_a_trusted_signer_is_verified() -> None:
    parent, _ = sign(picture(), "image/jpeg", CREATED)
    (found,) = ours.evidence(*copy_of(parent))
    assert (found.says, found.verified) == (GENERATED, True)


@pytest.mark.usefixtures("trusted")
def test_record_of_the_signer_decides_nothing_where_the_check_does() -> None:
    """The copy's signer had no trust list and recorded its parent as untrusted; the check knows the parent."""
    parent, _ = sign(picture(), "image/jpeg", CREATED)
    store, file = copy_of(parent)
    assert b"signingCredential.untrusted" in store
    assert len(verify.check(store, file).trusted) == 2


@pytest.mark.usefixtures("trusted")
def test_trusted_signer_of_a_copy_does_not_vouch_for_the_parent_of_another() -> None:
    parent, _ = sign(picture(), "image/jpeg", CREATED, by=authority("Somebody"))
    (found,) = ours.evidence(*copy_of(parent))
    assert (found.says, found.verified) == (GENERATED, None)
    assert "signer is not" in found.detail


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.usefixtures("trusted")
def test_manifest_in_a_container_is_found_and_checked(kind: str) -> None:
    file, _ = sign(picture(kind), TYPES[kind], CREATED)
    found = [one for one in evidence(file) if one.kind == "c2pa"]
    assert [(one.says, one.verified) for one in found] == [(GENERATED, True)]
    report = details(file).as_json()["c2pa"]
    assert (report["problem"], report["verification"]["verified"]) == (None, True)


@pytest.mark.usefixtures("trusted")
def test_file_without_its_manifest_says_nothing() -> None:
    file, _ = sign(picture(), "image/jpeg", CREATED)
    stripped = BytesIO()
    with Image.open(BytesIO(file)) as image:
        image.save(stripped, "JPEG")
    assert evidence(stripped.getvalue()) == ()


@pytest.mark.usefixtures("trusted")
def test_manifest_appended_to_a_file_says_nothing() -> None:
    file, store = sign(picture(), "image/jpeg", CREATED)
    assert evidence(picture() + store) == evidence(picture() + file) == ()


def test_without_the_extra_manifests_are_read_and_nothing_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    file, store = sign(picture(), "image/jpeg", CREATED)
    monkeypatch.setitem(sys.modules, "c2pa", None)
    (found,) = ours.evidence(store, file)
    assert (found.says, found.verified) == (GENERATED, None)
    assert found.detail == "trainedAlgorithmicMedia, names Test Signer as its signer"
    check = verify.check(store, file)
    assert (check.verified, check.tried) == (None, False)
    assert "pip install 'edge-detect[provenance]'" in check.reason


@pytest.mark.usefixtures("trusted")
def test_finding_that_the_library_does_not_share_is_not_verified() -> None:
    file, store = sign(picture(), "image/jpeg", CREATED)
    (manifest,) = read_manifests(store)
    check = verify.check(store, file)
    assert check.of(manifest, manifest).verified is True
    for other in (replace(manifest, label="urn:other"), replace(manifest, actions=())):
        found = check.of(other, other)
        assert (found.verified, found.reason) == (None, "two readers understand the manifest differently")


def test_library_is_loaded_only_to_check() -> None:
    program = (
        "import sys; from edge.provenance import c2pa; c2pa.evidence(b'x', b'y'); c2pa.report(b'x', b'y');"
        " print('c2pa' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_limits_are_those_of_the_decoder() -> None:
    assert verify.MAX_FILE_BYTES == preprocess.MAX_BYTES
    assert verify.check(b"\0" * (verify.MAX_STORE_BYTES + 1), b"").reason == "too large to be checked"


def test_file_of_another_format_is_not_checked() -> None:
    _, store = sign(picture(), "image/jpeg", CREATED)
    assert verify.check(store, b"GIF89a").verified is None


class Server(HTTPServer):
    """An HTTP server that remembers the paths of all requests, and answers each with 404."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.send_error(404)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def read_by(settings: dict[str, object], file: bytes) -> None:
    """Read a file with c2pa-python's own settings, whatever comes of it."""
    with library.Context.from_dict(settings) as context, contextlib.suppress(library.C2paError):
        library.Reader("image/jpeg", BytesIO(file), None, context).close()


@pytest.mark.usefixtures("trusted")
def test_manifest_at_an_address_is_not_fetched(server: Server) -> None:
    file, store = sign(picture(), "image/jpeg", CREATED, remote=f"{server.address}/remote.c2pa", embed=False)
    assert store not in file
    read_by({}, file)
    assert server.paths == ["/remote.c2pa"], "the library's default fetches it"
    server.paths.clear()
    with pytest.raises(library.C2paError, match="must fetch remote manifests"):
        library.Reader("image/jpeg", BytesIO(file), None, verify._context(authority().root))
    assert verify.check(store, file).verified is True
    assert server.paths == []


@pytest.mark.usefixtures("trusted")
def test_embedded_manifest_with_an_address_is_checked_without_fetching(server: Server) -> None:
    file, store = sign(picture(), "image/jpeg", CREATED, remote=f"{server.address}/remote.c2pa")
    (found,) = ours.evidence(store, file)
    assert found.verified is True
    assert server.paths == []


def test_state_of_a_certificate_is_not_fetched(server: Server, tmp_path: Path) -> None:
    signer = authority("Ocsp", ocsp=f"{server.address}/ocsp")
    path = tmp_path / "anchors.pem"
    path.write_text(signer.root)
    file, store = sign(picture(), "image/jpeg", CREATED, by=signer)
    assert verify.check(store, file, path).verified is True
    assert server.paths == []
    read_by({"verify": {"ocsp_fetch": True}, "trust": {"trust_anchors": signer.root}}, file)
    assert len(server.paths) == 1, "the library fetches it if it is asked to"


@pytest.mark.usefixtures("trusted")
def test_threads_check_at_the_same_time() -> None:
    pairs = [sign(picture(kind), TYPES[kind], CREATED) for kind in ("JPEG", "PNG", "WEBP")] * 20
    with ThreadPoolExecutor(4) as pool:
        checks = list(pool.map(lambda pair: verify.check(pair[1], pair[0]), pairs))
    assert {check.reason for check in checks} == {"signature fits, signer is on the trust list"}


def check_mutated(seed: int, count: int, folder: str) -> None:
    """Check mutated stores against their file; exits with 1 if one is verified although it says something else.

    Some bytes of a store are not signed, padding for example.
    """
    chance = random.Random(seed)
    path = Path(folder) / "anchors.pem"
    path.write_text(authority().root)
    parent, _ = sign(picture(), "image/jpeg", CREATED)
    store, file = copy_of(parent)
    os.environ[verify.TRUST_LIST] = str(path)
    expected = ours.evidence(store, file)
    assert expected[0].verified is True
    for _ in range(count):
        data = mutated(store, chance)
        found = ours.evidence(data, file.replace(store, data))
        if found and found[0].verified and found != expected:
            sys.exit(1)


def test_mutated_stores_are_never_verified_and_crash_nothing(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=check_mutated, args=(16, 400, str(tmp_path)))
    process.start()
    process.join(60)
    assert process.exitcode == 0
