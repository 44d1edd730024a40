"""Files with Content Credentials, signed by c2pa-python with certificates that are made for a test."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from io import BytesIO
from typing import Any

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
OFFLINE = {"verify": {"remote_manifest_fetch": False, "verify_after_sign": False}}


@dataclass(frozen=True)
class Authority:
    """An authority and a signer that it certified.

    Attributes:
        root: the authority's certificate, PEM.
        chain: the signer's certificate and the authority's, PEM.
        key: the signer's private key, PEM.
    """

    root: str
    chain: str
    key: str


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _certificate(
    subject: x509.Name, issuer: x509.Name, public: Any, private: Any, first: datetime, last: datetime, ocsp: str = ""
) -> x509.Certificate:
    is_authority = subject == issuer
    usage = {"digital_signature": not is_authority, "key_cert_sign": is_authority, "crl_sign": is_authority}
    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only")
    builder = (
        x509.CertificateBuilder(issuer, subject, public, x509.random_serial_number(), first, last)
        .add_extension(x509.BasicConstraints(is_authority, None), True)
        .add_extension(x509.KeyUsage(**usage, **dict.fromkeys(others, False), decipher_only=False), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(private.public_key()), False)
    )
    if not is_authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    if ocsp:
        access = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(ocsp))
        builder = builder.add_extension(x509.AuthorityInformationAccess([access]), False)
    return builder.sign(private, hashes.SHA256())


def _signer(subject: str, issuer: x509.Certificate, key: Any, lasts: timedelta, ocsp: str) -> tuple[str, str]:
    """(certificate, private key) of a signer, PEM, issued by the owner of a certificate and its key."""
    own = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    leaf = _certificate(
        _name(subject), issuer.subject, own.public_key(), key, now - timedelta(days=30), now + lasts, ocsp
    )
    private = own.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return _pem(leaf), private.decode()


def _name(organisation: str) -> x509.Name:
    parts = ((NameOID.ORGANIZATION_NAME, organisation), (NameOID.COMMON_NAME, "common name"))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


@cache
def authority(organisation: str = "Test Signer", *, lasts: timedelta = timedelta(days=30), ocsp: str = "") -> Authority:
    """An authority, and a signer of an organisation, the same ones for the same arguments.

    Args:
        lasts: how long the signer's certificate is valid.
        ocsp: address at which the state of the signer's certificate can be had.
    """
    key, name, now = ec.generate_private_key(ec.SECP256R1()), _name(f"Authority of {organisation}"), datetime.now(UTC)
    root = _certificate(name, name, key.public_key(), key, now - timedelta(days=60), now + timedelta(days=60))
    leaf, private = _signer(organisation, root, key, lasts, ocsp)
    return Authority(_pem(root), leaf + _pem(root), private)


def impostor(of: Authority) -> Authority:
    """Somebody else, certified by a signer who is no authority."""
    (certificate, _) = x509.load_pem_x509_certificates(of.chain.encode())
    key = serialization.load_pem_private_key(of.key.encode(), None)
    leaf, private = _signer("Impostor", certificate, key, timedelta(days=1), "")
    return Authority(of.root, leaf + of.chain, private)


def action(name: str, source_type: str = "", agent: str = "", of: int | None = None) -> dict[str, Any]:
    """An action of a manifest; `of` is the number of the ingredient that it is about."""
    fields: dict[str, Any] = {"action": f"c2pa.{name}"}
    if of is not None:
        fields["parameters"] = {"ingredientIds": [f"ingredient-{of}"]}
    if source_type:
        fields["digitalSourceType"] = SOURCE_TYPE + source_type
    if agent:
        fields["softwareAgent"] = {"name": agent}
    return fields


def sign(
    picture: bytes,
    media_type: str,
    actions: list[dict[str, Any]],
    *,
    by: Authority | None = None,
    ingredients: tuple[tuple[str, str, bytes], ...] = (),
    generator: str = "Test Program",
    assertions: tuple[dict[str, Any], ...] = (),
    claim_version: int = 2,
    remote: str = "",
    embed: bool = True,
) -> tuple[bytes, bytes]:
    """(file, manifest store) of a picture that is signed.

    Args:
        by: the signer.
        ingredients: (relationship, media type, file) of each; actions name them as "ingredient-0" and so on.
        assertions: further ones, as c2pa-python takes them.
        remote: an address that the file names as the place of its manifest.
        embed: whether the file holds the manifest itself.
    """
    by = by or authority()
    definition = {
        "claim_version": claim_version,
        "claim_generator_info": [{"name": generator, "version": "1.2"}],
        "title": "picture",
        "assertions": [
            {"label": "c2pa.actions.v2" if claim_version == 2 else "c2pa.actions", "data": {"actions": actions}},
            *assertions,
        ],
    }
    settings = OFFLINE | {"builder": {"thumbnail": {"enabled": False}}}
    output = BytesIO()
    with c2pa.Context.from_dict(settings) as context, c2pa.Builder(json.dumps(definition), context) as builder:
        for number, (relationship, kind, content) in enumerate(ingredients):
            about = {"title": "other picture", "relationship": relationship, "label": f"ingredient-{number}"}
            builder.add_ingredient(json.dumps(about), kind, BytesIO(content))
        if remote:
            builder.set_remote_url(remote)
        if not embed:
            builder.set_no_embed()
        information = c2pa.C2paSignerInfo("es256", by.chain.encode(), by.key.encode(), None)
        with c2pa.Signer.from_info(information) as signer:
            store = builder.sign(signer, media_type, BytesIO(picture), output)
    return output.getvalue(), store
