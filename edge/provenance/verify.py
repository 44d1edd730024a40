"""The check of a manifest's signature against the file and the trust list, by the extra [provenance] (c2pa-python).

Nothing is fetched: neither manifests that a file names by an address, nor the state of certificates (OCSP). So a
revoked certificate is noticed only if the file itself carries that state. c2pa-python parses hostile data in native
code: call this in a process that may crash.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edge.errors import EdgeDetectError, reason_of
from edge.provenance import source_types, trust_list
from edge.provenance.jumbf import MAX_BYTES as MAX_STORE_BYTES
from edge.provenance.manifests import ACTIONS, Manifest
from edge.provenance.values import text
from edge.requirements import load

MAX_FILE_BYTES = 256 * 1024 * 1024  # edge.imaging.preprocess.MAX_BYTES
MAX_LIST_BYTES = 5_000_000
TRUST_LIST = trust_list.VARIABLE

_LISTS = ("C2PA-TRUST-LIST.pem", "C2PA-TSA-TRUST-LIST.pem")
_MEDIA_TYPES = {
    b"\xff\xd8": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"II*\0": "image/tiff",
    b"MM\0*": "image/tiff",
}
_CHANGED = "the file was changed after signing"
_ALTERED = "the manifest was changed after signing"
# Failures that show that the manifest does not fit the file, and how to put it (C2PA 2.2, section 15.2.2). Others, an
# expired certificate for example, leave that open.
_MISMATCHES = {
    "assertion.dataHash.mismatch": _CHANGED,
    "assertion.boxesHash.mismatch": _CHANGED,
    "assertion.bmffHash.mismatch": _CHANGED,
    "assertion.collectionHash.mismatch": _CHANGED,
    "claimSignature.mismatch": "the signature is broken",
    "claimSignature.missing": "the signature is missing",
    "assertion.hashedURI.mismatch": _ALTERED,
    "assertion.missing": _ALTERED,
    "assertion.undeclared": _ALTERED,
    "hashedURI.mismatch": _ALTERED,
    "hashedURI.missing": _ALTERED,
    "ingredient.hashedURI.mismatch": _ALTERED,
    "ingredient.manifest.mismatch": _ALTERED,
    "ingredient.manifest.missing": _ALTERED,
    "ingredient.claimSignature.mismatch": _ALTERED,
    "ingredient.claimSignature.missing": _ALTERED,
    "claim.hardBindings.missing": "the manifest is not bound to any file",
}
_OPEN = {
    "signingCredential.expired": "the signer's certificate has expired",
    "signingCredential.ocsp.revoked": "the signer's certificate was revoked",
    "claimSignature.outsideValidity": "the signer's certificate was not valid at that time",
}
_UNTRUSTED = "signingCredential.untrusted"
_TRUSTED = "signingCredential.trusted"


class TrustListError(EdgeDetectError):
    """A list of trusted certificates cannot be read."""


@dataclass(frozen=True)
class Check:
    """The result of checking a manifest store against a file.

    Attributes:
        verified: as in `Evidence`.
        reason: why, in one line; empty if it was not checked.
        tried: whether the library was there to check it.
        active: label of the active manifest, as the library reads it.
        trusted: labels of the manifests whose signer is on the trust list, and in which nothing failed.
        source_types: by label of a manifest, the digital source types of its actions, as the library reads them.
    """

    verified: bool | None
    reason: str = ""
    tried: bool = False
    active: str = ""
    trusted: frozenset[str] = frozenset()
    source_types: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))

    def of(self, active: Manifest, source: Manifest) -> "Check":
        """The check as far as it concerns what one manifest says.

        The library reads the store itself. What we report as verified must be what it verified, and its signer must be
        on the trust list even if an ingredient's manifest says it.

        Args:
            active: the active manifest, as we read it.
            source: the manifest that says something, likewise.
        """
        if not self.verified:
            return self
        types = frozenset(one.source_type for one in source.actions if one.source_type)
        if self.active != active.label or self.source_types.get(source.label, frozenset()) != types:
            return replace(self, verified=None, reason="two readers understand the manifest differently")
        if source.label not in self.trusted:
            return replace(self, verified=None, reason="signature fits, but an ingredient's signer is not trusted")
        return self


def require() -> None:
    """Check that signatures can be checked.

    Raises:
        NotInstalledError: c2pa-python is not installed, or does not load.
        TrustListError: the file of `edge.provenance.trust_list.used` cannot be used.
    """
    load("c2pa")
    _context(_further(None))


def check(store: bytes, data: bytes, anchors: Path | None = None) -> Check:
    """Whether a manifest store fits a file, and its signer is on the trust list.

    The store that is checked is the one that was given, even if the library would find another one in the file.

    Args:
        store: the manifest store.
        data: the file's content.
        anchors: a PEM file of authorities that are trusted in addition to those of the bundled lists; None: those
            of `edge.provenance.trust_list.used`.

    Returns:
        verified: True: the signature fits the file, and its certificate is on the trust list. False: it does not fit.
        None: unknown, for example because the signer is not on the list, or the extra is not installed.
    """
    if len(store) > MAX_STORE_BYTES or len(data) > MAX_FILE_BYTES:
        return Check(None, "too large to be checked")
    media_type = _media_type(data)
    if not media_type:
        return Check(None, "cannot be checked in a file of this format")
    try:
        library = load("c2pa")
        context = _context(_further(anchors))
    except EdgeDetectError as error:
        return Check(None, text(str(error)), tried=isinstance(error, TrustListError))
    try:
        with library.Reader(media_type, BytesIO(data), store, context) as reader:
            return _judge(json.loads(reader.json()))
    except Exception as error:  # whatever the library makes of damaged data
        return Check(None, f"it cannot be checked ({text(str(error), 120)})", tried=True)


def _media_type(data: bytes) -> str:
    """The media type of a file; empty if it is none of ours. Without it the library calls each manifest a mismatch."""
    for start, media_type in _MEDIA_TYPES.items():
        if data.startswith(start):
            return media_type
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:8] == b"ftyp":
        return "image/avif" if data[8:12] in (b"avif", b"avis") else "image/heic"
    return ""


def _further(anchors: Path | None) -> str:
    """The certificates of authorities that are trusted in addition, PEM.

    Raises:
        TrustListError: the file is missing, unreadable or too large, or holds no certificate.
    """
    path = anchors or trust_list.used()
    if path is None:
        return ""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_LIST_BYTES + 1)
    except OSError as error:
        raise TrustListError(f"the trust list {text(str(path))} cannot be read: {reason_of(error)}") from error
    if len(content) > MAX_LIST_BYTES or b"-----BEGIN CERTIFICATE-----" not in content:
        raise TrustListError(f"the trust list {text(str(path))} holds no certificates (PEM), or is too large")
    return content.decode("utf-8", "replace")


@lru_cache(maxsize=2)
def _context(further: str) -> Any:
    """The library's settings.

    Raises:
        TrustListError: a certificate in the further ones is damaged.
    """
    library = load("c2pa")
    folder = Path(__file__).with_name("trust")
    trust = {"trust_anchors": "\n".join((folder / name).read_text("utf-8") for name in _LISTS)}
    if further:
        trust["user_anchors"] = further
    settings = {
        "trust": trust,
        "verify": {"verify_trust": True, "remote_manifest_fetch": False, "ocsp_fetch": False},
        # No host at all: a second lock, should a version fetch something else.
        "core": {"allowed_network_hosts": [], "allow_redirects": False, "max_decompressed_manifest_size_in_mb": 10}
        | {"decode_identity_assertions": False},
    }
    try:
        return library.Context.from_dict(settings)
    except library.C2paError as error:
        raise TrustListError(f"the trust list is damaged ({text(str(error), 120)})") from error


def _judge(found: dict[str, Any]) -> Check:
    """The check, from the library's report."""
    state = found.get("validation_state")
    active = found.get("active_manifest")
    labels = found.get("manifests") or {}
    failures = _failures(found.get("validation_results") or {})
    result = Check(
        None,
        tried=True,
        active=active if isinstance(active, str) else "",
        trusted=frozenset(label for label in labels if _is_trusted(label, found)),
        source_types=MappingProxyType({label: _types(labels[label]) for label in labels}),
    )
    if mismatch := next((_MISMATCHES[code] for code in failures if code in _MISMATCHES), ""):
        return replace(result, verified=False, reason=f"does not match: {mismatch}")
    if state == "Trusted":
        return replace(result, verified=True, reason="signature fits, signer is on the trust list")
    if state == "Valid":
        return replace(result, verified=None, reason="signature fits, but a signer is not on the trust list")
    code = next((code for code in failures if code != _UNTRUSTED), "")
    reason = _OPEN.get(code) or f"signature is not valid ({text(code, 80) or 'for an unknown reason'})"
    return replace(result, verified=None, reason=reason)


def _failures(results: dict[str, Any]) -> list[str]:
    """The codes of all failures: of the active manifest, and of what changed in its ingredients since it was signed."""
    parts = [results.get("activeManifest") or {}]
    parts += [delta.get("validationDeltas") or {} for delta in results.get("ingredientDeltas") or ()]
    return [str(status.get("code")) for part in parts for status in part.get("failure") or ()]


def _is_trusted(label: str, found: dict[str, Any]) -> bool:
    """Whether a manifest's signer is on the trust list, and nothing in the manifest failed.

    The library leaves out what an ingredient's record holds already: the state at the time when the ingredient was
    added. What it finds now goes before the record, and the record counts only without a failure. A forged record of
    success does not hide a failure of now.
    """
    now = {code for status in _statuses(found.get("validation_results")) if (code := _code(status, label))}
    recorded = {code for status in _statuses(found.get("manifests")) if (code := _code(status, label))}
    if now & {_UNTRUSTED, *_MISMATCHES}:
        return False
    return _TRUSTED in now or (_TRUSTED in recorded and not recorded & {_UNTRUSTED, *_MISMATCHES})


def _code(status: dict[str, Any], label: str) -> str:
    """The code of a status that is about a manifest; empty if it is about another one."""
    url = status.get("url")
    is_about = isinstance(url, str) and f"{url}/".startswith(f"self#jumbf=/c2pa/{label}/")
    return str(status.get("code")) if is_about else ""


def _statuses(value: Any) -> Iterator[dict[str, Any]]:
    """All validation statuses in the library's report."""
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, dict):
            if "code" in one:
                yield one
            pending.extend(one.values())
        elif isinstance(one, list):
            pending.extend(one)


def _types(manifest: dict[str, Any]) -> frozenset[str]:
    """The digital source types of a manifest's actions."""
    names = set()
    for assertion in manifest.get("assertions") or ():
        if ACTIONS.fullmatch(str(assertion.get("label")).split("__", 1)[0]):
            for action in assertion["data"]["actions"]:
                names.add(source_types.name(action.get("digitalSourceType")))
    return frozenset(names - {""})
