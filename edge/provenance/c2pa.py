"""Content Credentials (C2PA): from a manifest store to evidence, and to a report of everything in it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge.provenance import source_types
from edge.provenance.manifests import Action, Ingredient, Manifest, ManifestError, read_manifests
from edge.provenance.values import text
from edge.verdict import CAPTURED, EDITED, GENERATED, Evidence

MAX_DETAIL = 300  # characters

# How the picture came to be, and what leaves its appearance as it was (C2PA's rubrics of 2026). Another action that
# begins with "c2pa." is an edit; actions of other vendors have no meaning that we know.
_BEGINNINGS = ("c2pa.created", "c2pa.opened")
_NO_EDITS = (
    *_BEGINNINGS,
    "c2pa.converted",
    "c2pa.published",
    "c2pa.repackaged",
    "c2pa.transcoded",
    "c2pa.resized.proportional",
    "c2pa.enhanced",
    "c2pa.edited.metadata",
    "c2pa.watermarked",
    "c2pa.watermarked.bound",
    "c2pa.watermarked.unbound",
    "c2pa.redacted",
    "c2pa.unknown",
)


@dataclass(frozen=True)
class _Finding:
    """What a manifest says of the picture.

    Attributes:
        says: as in `Evidence`.
        source: the manifest that says so: the active one, or that of an ingredient.
        source_type: digital source type; empty if the actions alone say so.
        generator: the program that made the manifest.
        agent: the program that acted, if the action names it.
        notes: further facts.
    """

    says: str
    source: Manifest
    source_type: str = ""
    generator: str = ""
    agent: str = ""
    notes: tuple[str, ...] = ()


def evidence(store: bytes, data: bytes | None = None, anchors: Path | None = None) -> tuple[Evidence, ...]:
    """What the active manifest of a store says of the picture's origin; empty if it says nothing, or is damaged.

    A signature alone says nothing: cameras sign photos, too. Digital source types of actions decide, then the actions,
    then the manifests of the picture's parents.

    Args:
        store: a manifest store, as `Metadata.c2pa` holds it.
        data: the file's content, which is checked against the signature if the extra [provenance] is installed; None
            checks nothing.
        anchors: as for `edge.provenance.verify.check`.
    """
    try:
        manifests = read_manifests(store)
    except ManifestError:
        return ()
    active = manifests[-1]
    finding = _Findings(manifests).of(active.label)
    if finding is None:
        return ()
    verified, reason = None, ""
    if data is not None:
        from edge.provenance import verify  # here: who checks nothing does not need it

        check = verify.check(store, data, anchors).of(active, finding.source)
        verified, reason = check.verified, check.reason if check.tried else ""
    signer = _signer(active)
    details = (
        finding.source_type,
        f"by {finding.agent}" if finding.agent and finding.agent != finding.generator else "",
        *finding.notes,
        *((f"signed by {signer}" if verified else f"names {signer} as its signer",) if signer else ()),
    )
    claims = text(
        ", ".join(part for part in details if part), MAX_DETAIL - len(reason) - 2
    )  # long names hide no reason
    line = ", ".join(part for part in (claims, reason) if part)
    return (Evidence("c2pa", finding.says, finding.generator, line, verified),)


def report(store: bytes, data: bytes | None = None, anchors: Path | None = None) -> dict[str, Any]:
    """Everything that is read of a manifest store, as JSON values; all texts are printable and short.

    Args:
        store, data, anchors: as for `evidence`.

    Returns:
        `active` (label of the active manifest), `manifests` (the active one first), `verification` (`verified` as in
        `Evidence`, and `reason`; None if nothing was to be checked) and `problem` (why the store cannot be read; None
        if it can).
    """
    try:
        manifests = read_manifests(store)
    except ManifestError as error:
        return {"active": None, "manifests": [], "verification": None, "problem": text(str(error))}
    verification = None
    if data is not None:
        from edge.provenance import verify  # here: who checks nothing does not need it

        check = verify.check(store, data, anchors)
        verification = {"verified": check.verified, "reason": check.reason}
    return {
        "active": text(manifests[-1].label),
        "manifests": [_manifest_json(manifest) for manifest in reversed(manifests)],
        "verification": verification,
        "problem": None,
    }


class _Findings:
    """What the manifests of a store say, with the help of their ingredients' manifests; each is judged once.

    Args:
        manifests: the store.
    """

    def __init__(self, manifests: tuple[Manifest, ...]) -> None:
        self._manifests = {manifest.label: manifest for manifest in manifests}
        self._known: dict[str, _Finding | None] = {}

    def of(self, label: str) -> _Finding | None:
        """What a manifest says; None if it says nothing, or is not in the store."""
        if label not in self._known and label in self._manifests:
            self._known[label] = None  # meanwhile: references in a circle end here
            self._known[label] = self._judge(self._manifests[label])
        return self._known.get(label)

    def _judge(self, manifest: Manifest) -> _Finding | None:
        typed = [action for action in manifest.actions if action.source_type in source_types.SAYS]
        began = next((action for action in typed if action.name in _BEGINNINGS), None)
        parent = None if began else self._of_ingredient(manifest, "parentOf")
        origin = _of_action(began, manifest) if began else parent
        edits = _edits(manifest.actions)
        if origin and origin.says == GENERATED:
            made = ("made from a generated picture",) if parent else ()
            edited = (f"edited since ({edits})",) if edits else ()
            return replace(origin, notes=_unique((*origin.notes, *made, *edited)))
        before = _before(origin)
        later = [action for action in typed if action is not began]
        if found := _first(later, GENERATED):
            finding = _of_action(found, manifest)
            return replace(finding, says=EDITED, notes=(*before, "with generated parts")) if origin else finding
        if found := _first(later, EDITED):
            return replace(_of_action(found, manifest), notes=before)
        component = self._of_ingredient(manifest, "componentOf")
        if component and component.says == GENERATED:
            notes = (*before, "contains a generated picture")
            return replace(component, says=EDITED, generator=manifest.generator, agent="", notes=notes)
        if not edits or (origin and origin.says == EDITED):
            return origin
        return _Finding(EDITED, manifest, generator=manifest.generator, notes=(*before, edits))

    def _of_ingredient(self, manifest: Manifest, relationship: str) -> _Finding | None:
        """What the ingredients of a relationship say: that one is generated, or else the first finding."""
        labels = [one.manifest for one in manifest.ingredients if one.relationship == relationship]
        found = [finding for label in labels if (finding := self.of(label))]
        return next((one for one in found if one.says == GENERATED), found[0] if found else None)


def _of_action(action: Action, manifest: Manifest) -> _Finding:
    """What an action with a known source type says."""
    notes = ("without a trained model",) if action.source_type == source_types.UNTRAINED else ()
    says = source_types.SAYS[action.source_type]
    return _Finding(says, manifest, action.source_type, manifest.generator, action.program, notes)


def _first(actions: list[Action], says: str) -> Action | None:
    """The first action whose source type says something; one by a trained model goes before others."""
    found = [action for action in actions if source_types.SAYS[action.source_type] == says]
    return next((one for one in found if one.source_type in source_types.BY_MODEL), found[0] if found else None)


def _edits(actions: tuple[Action, ...]) -> str:
    """The names of actions that change the appearance: "cropped, placed"; empty if there are none."""
    names = [one.name for one in actions if one.name.startswith("c2pa.") and one.name not in _NO_EDITS]
    shown = [text(name.removeprefix("c2pa."), 40) for name in _unique(tuple(names))]
    return ", ".join(shown[:3]) + (" and others" if len(shown) > 3 else "")


def _before(origin: _Finding | None) -> tuple[str, ...]:
    """What the picture was before it was edited, as a note."""
    if origin is None:
        return ()
    return (f"from a camera ({origin.source_type})",) if origin.says == CAPTURED else origin.notes


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _signer(manifest: Manifest) -> str:
    """Who signed, and when: "OpenAI, 2026-01-31T12:00:00Z"; empty if the signature does not say who."""
    signature = manifest.signature
    if not signature or not signature.certificate or not signature.certificate.subject:
        return ""
    return " on ".join(part for part in (text(signature.certificate.subject, 80), signature.time) if part)


def _manifest_json(manifest: Manifest) -> dict[str, Any]:
    return {
        "label": text(manifest.label),
        "kind": manifest.kind,
        "claim_version": manifest.claim_version or None,
        "generator": manifest.generator or None,
        "title": manifest.title or None,
        "format": manifest.format or None,
        "actions": [_action_json(action) for action in manifest.actions],
        "ingredients": [_ingredient_json(ingredient) for ingredient in manifest.ingredients],
        "authors": list(manifest.authors),
        "training": dict(manifest.training),
        "signature": _signature_json(manifest),
        "assertions": list(manifest.assertions),
        "problems": list(manifest.problems),
    }


def _action_json(action: Action) -> dict[str, Any]:
    return {
        "action": action.name,
        "source_type": action.source_type or None,
        "program": action.program or None,
        "when": action.when or None,
        "description": action.description or None,
    }


def _ingredient_json(ingredient: Ingredient) -> dict[str, Any]:
    return {
        "title": ingredient.title or None,
        "format": ingredient.format or None,
        "relationship": ingredient.relationship or None,
        "manifest": text(ingredient.manifest) or None,
    }


def _signature_json(manifest: Manifest) -> dict[str, Any] | None:
    signature = manifest.signature
    if signature is None:
        return None
    certificate = signature.certificate
    return {
        "algorithm": signature.algorithm or None,
        "signer": (certificate and certificate.subject) or None,
        "issuer": (certificate and certificate.issuer) or None,
        "valid_from": (certificate and certificate.valid_from) or None,
        "valid_until": (certificate and certificate.valid_until) or None,
        "time": signature.time or None,
    }
