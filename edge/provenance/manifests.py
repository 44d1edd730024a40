"""C2PA manifests (Content Credentials): a manifest store as plain facts, nothing of it verified.

After the C2PA specification 2.2, sections 8 to 18; claims of version 1 and 2 are read. Only assertions that the claim
lists count: others are not covered by its signature.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from edge.provenance import source_types
from edge.provenance.cbor import CborError, Decoder
from edge.provenance.certificate import Certificate, DerError, read_certificate, read_time
from edge.provenance.jumbf import JumbfError, Superbox, read
from edge.provenance.values import text

MAX_MANIFESTS = 100
MAX_CBOR_BYTES = 1_000_000  # of one assertion
MAX_JSON_BYTES = 100_000
MAX_PROGRAM = 100  # characters
MAX_SHOWN = 100  # actions, ingredients, or other entries of one list

_STORE, _ASSERTIONS, _CLAIM, _SIGNATURE = b"c2pa", b"c2as", b"c2cl", b"c2cs"
_KINDS = {b"c2ma": "manifest", b"c2um": "update", b"c2cm": "compressed"}
_ALGORITHMS = {-7: "ES256", -35: "ES384", -36: "ES512", -37: "PS256", -38: "PS384", -39: "PS512", -8: "EdDSA"}
_X5CHAIN = 33
ACTIONS = re.compile(r"c2pa\.actions(\.v\d+)?")
_INGREDIENT = re.compile(r"c2pa\.ingredient(\.v\d+)?")
_TRAINING = re.compile(r"(c2pa|cawg)\.training-mining")
_CREATIVE_WORK = "stds.schema-org.CreativeWork"


class ManifestError(ValueError):
    """The manifest store is damaged, or exceeds a limit."""


@dataclass(frozen=True)
class Action:
    """One step of how the picture was made, as the signer states it.

    Attributes:
        name: such as "c2pa.created".
        source_type: last part of the digital source type's URI; empty if there is none.
        program: the program that acted; empty if unknown.
        when: a time, as written; empty if unknown.
        description: in words; may be empty.
    """

    name: str
    source_type: str = ""
    program: str = ""
    when: str = ""
    description: str = ""


@dataclass(frozen=True)
class Ingredient:
    """A file from which the picture was made.

    Attributes:
        title, format: name and media type; may be empty.
        relationship: "parentOf", "componentOf" or "inputTo".
        manifest: label of its manifest in the same store; empty if it has none.
    """

    title: str
    format: str
    relationship: str
    manifest: str


@dataclass(frozen=True)
class Signature:
    """Who signed a claim, and when, as the signature states it.

    Attributes:
        algorithm: name in COSE, such as "ES256"; empty if unknown.
        certificate: the signer's; None if it is missing or unreadable.
        time: of the time stamp, ISO 8601; empty if there is none.
    """

    algorithm: str
    certificate: Certificate | None
    time: str


@dataclass(frozen=True)
class Manifest:
    """One manifest of a store.

    Attributes:
        label: its name in the store, not made printable.
        kind: "manifest", "update" or, unread because it is compressed, "compressed".
        claim_version: 1 or 2; 0 if there is no readable claim.
        generator: the program that made the claim; empty if unknown.
        title, format: of the picture; may be empty.
        authors: names in a CreativeWork assertion.
        training: (entry, use) of a training-mining assertion: whether training on the picture is allowed.
        assertions: labels of all that the claim lists.
        problems: what could not be read, one line each.
    """

    label: str
    kind: str
    claim_version: int = 0
    generator: str = ""
    title: str = ""
    format: str = ""
    actions: tuple[Action, ...] = ()
    ingredients: tuple[Ingredient, ...] = ()
    authors: tuple[str, ...] = ()
    training: tuple[tuple[str, str], ...] = ()
    signature: Signature | None = None
    assertions: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def read_manifests(store: bytes) -> tuple[Manifest, ...]:
    """The manifests of a store in their order: the last one is active, the others belong to its ingredients.

    Raises:
        ManifestError: the store is damaged or empty, exceeds a limit, or has two manifests of one label.
    """
    try:
        root = read(store)
    except JumbfError as error:
        raise ManifestError(str(error)) from error
    boxes = [box for box in root.children if box.type in _KINDS]
    if root.type != _STORE or not boxes:
        raise ManifestError("not a manifest store, or an empty one")
    if len(boxes) > MAX_MANIFESTS:
        raise ManifestError(f"{len(boxes)} manifests, more than the limit of {MAX_MANIFESTS}")
    if len({box.label for box in boxes}) < len(boxes):
        raise ManifestError("two manifests have the same label")
    decoder = Decoder()
    return tuple(_Parts(box, decoder).manifest() for box in boxes)


@dataclass
class _Parts:
    """Reads one manifest. An unreadable part becomes a problem; the rest is read."""

    box: Superbox
    decoder: Decoder
    problems: list[str] = field(default_factory=list)

    def manifest(self) -> Manifest:
        label, kind = self.box.label, _KINDS[self.box.type]
        if kind == "compressed":
            return Manifest(label, kind, problems=("it is compressed and was not read",))
        claims = [child for child in self.box.children if child.type == _CLAIM]
        claim = self._cbor(claims[0]) if len(claims) == 1 else None
        if not isinstance(claim, dict):
            return Manifest(label, kind, problems=(*self.problems, "no readable claim, or several"))
        version = 2 if "created_assertions" in claim else 1
        named = list(self._assertions(claim))
        agents = claim.get("claim_generator_info")
        return Manifest(
            label,
            kind,
            version,
            _program(agents[0] if isinstance(agents, list) and agents else agents)
            or text(claim.get("claim_generator"), MAX_PROGRAM),
            text(claim.get("dc:title")),
            text(claim.get("dc:format")),
            tuple(action for name, box in named if ACTIONS.fullmatch(name) for action in self._actions(box)),
            tuple(one for name, box in named if _INGREDIENT.fullmatch(name) for one in self._ingredient(box)),
            tuple(author for name, box in named if name == _CREATIVE_WORK for author in self._authors(box)),
            tuple(entry for name, box in named if _TRAINING.fullmatch(name) for entry in self._training(box)),
            self._signature(),
            tuple(text(box.label) for _, box in named[:MAX_SHOWN]),
            tuple(self.problems[:MAX_SHOWN]),
        )

    def _assertions(self, claim: dict[Any, Any]) -> Iterator[tuple[str, Superbox]]:
        """(name without version of the copy, box) of each assertion that the claim lists and the manifest holds."""
        stores = [child for child in self.box.children if child.type == _ASSERTIONS]
        boxes: dict[str, Superbox] = {}
        for box in stores[0].children if len(stores) == 1 else ():
            if boxes.setdefault(box.label, box) is not box:
                self.problems.append(f"two assertions are named {text(box.label)}")
                return
        listed = [claim.get(key) for key in ("assertions", "created_assertions", "gathered_assertions")]
        for link in [link for links in listed if isinstance(links, list) for link in links]:
            url = link.get("url") if isinstance(link, dict) else None
            name = url.rsplit("/", 1)[-1] if isinstance(url, str) else ""
            if "c2pa.assertions/" in str(url) and name in boxes:
                yield name.split("__", 1)[0], boxes.pop(name)

    def _cbor(self, box: Superbox) -> Any:
        """The content of a CBOR box; None if it is missing or damaged."""
        content = box.content(b"cbor")
        try:
            if content is None or len(content) > MAX_CBOR_BYTES:
                raise CborError("missing, or too large")
            return self.decoder.decode(content)
        except CborError as error:
            self.problems.append(f"{text(box.label)}: {error}")
            return None

    def _data(self, box: Superbox) -> dict[Any, Any]:
        """The content of an assertion in CBOR or JSON; empty if it is damaged or no map."""
        content = box.content(b"json")
        if content is None:
            data = self._cbor(box)
        else:
            try:
                data = json.loads(content) if len(content) <= MAX_JSON_BYTES else None
            except (ValueError, RecursionError):
                self.problems.append(f"{text(box.label)}: damaged JSON")
                data = None
        return data if isinstance(data, dict) else {}

    def _actions(self, box: Superbox) -> Iterator[Action]:
        data = self._data(box)
        agents = data.get("softwareAgents")
        for action in _maps(data.get("actions")):
            agent, index = action.get("softwareAgent"), action.get("softwareAgentIndex")
            if agent is None and isinstance(agents, list) and isinstance(index, int) and 0 <= index < len(agents):
                agent = agents[index]
            yield Action(
                text(action.get("action")),
                source_types.name(action.get("digitalSourceType")),
                _program(agent),
                text(action.get("when"), 40),
                text(action.get("description")),
            )

    def _ingredient(self, box: Superbox) -> Iterator[Ingredient]:
        data = self._data(box)
        link = data.get("activeManifest") or data.get("c2pa_manifest")
        url = link.get("url") if isinstance(link, dict) else None
        path = re.match(r"self#jumbf=/c2pa/([^/]+)", url) if isinstance(url, str) else None
        if data:
            yield Ingredient(
                text(data.get("dc:title")),
                text(data.get("dc:format")),
                text(data.get("relationship")),
                path[1] if path else "",
            )

    def _authors(self, box: Superbox) -> Iterator[str]:
        authors = self._data(box).get("author")
        for author in _maps(authors if isinstance(authors, list) else [authors]):
            if name := text(author.get("name")):
                yield name

    def _training(self, box: Superbox) -> Iterator[tuple[str, str]]:
        entries = self._data(box).get("entries")
        for name, entry in list(entries.items())[:MAX_SHOWN] if isinstance(entries, dict) else ():
            yield text(name), text(entry.get("use")) if isinstance(entry, dict) else ""

    def _signature(self) -> Signature | None:
        """The COSE_Sign1 structure (RFC 9052) of the claim's signature."""
        boxes = [child for child in self.box.children if child.type == _SIGNATURE]
        parts = self._cbor(boxes[0]) if len(boxes) == 1 else None
        if not isinstance(parts, list) or len(parts) != 4 or not isinstance(parts[0], bytes):
            return None
        try:
            protected = self.decoder.decode(parts[0]) if parts[0] else {}
        except CborError:
            return None
        headers = [part for part in (protected, parts[1]) if isinstance(part, dict)]
        chains = [chain for part in headers if (chain := part.get(_X5CHAIN) or part.get("x5chain"))]
        first = chains[0][0] if chains and isinstance(chains[0], list) else (chains or [None])[0]
        algorithm = headers[0].get(1) if headers else None
        return Signature(
            _ALGORITHMS.get(algorithm, "") if isinstance(algorithm, int) else "",
            _certificate(first),
            next((time for part in headers for time in _times(part)), ""),
        )


def _certificate(data: Any) -> Certificate | None:
    try:
        return read_certificate(data) if isinstance(data, bytes) else None
    except DerError:
        return None


def _times(headers: dict[Any, Any]) -> Iterator[str]:
    """The times of a signature's time stamps."""
    for key in ("sigTst2", "sigTst"):
        stamps = headers.get(key)
        for token in _maps(stamps.get("tstTokens") if isinstance(stamps, dict) else None):
            value = token.get("val")
            try:
                yield read_time(value) if isinstance(value, bytes) else ""
            except DerError:
                continue


def _maps(values: Any) -> list[dict[Any, Any]]:
    """The maps in a list, MAX_SHOWN at most; none if it is no list."""
    return [value for value in values if isinstance(value, dict)][:MAX_SHOWN] if isinstance(values, list) else []


def _program(value: Any) -> str:
    """A program as "name version": of a map of both, or a text."""
    if not isinstance(value, dict):
        return text(value, MAX_PROGRAM)
    return text(f"{text(value.get('name'))} {text(value.get('version'), 40)}", MAX_PROGRAM)
