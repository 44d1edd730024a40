"""XMP packets (ISO 16684-1), read with expat. A document type, entities, and large or deep documents are refused."""

from xml.parsers import expat

Properties = dict[tuple[str, str], list[str]]

DC = "http://purl.org/dc/elements/1.1/"
EXIF = "http://ns.adobe.com/exif/1.0/"
NOTE = "http://ns.adobe.com/xmp/note/"
PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
XMP = "http://ns.adobe.com/xap/1.0/"
IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
SD_CPP = "https://github.com/leejet/stable-diffusion.cpp/ns/1.0/"
AIGC = "http://www.tc260.org.cn/ns/AIGC/1.0/"

MOST_BYTES = 1 << 22  # of a packet
_MOST_NODES = 1 << 15  # elements and attributes
_MOST_DEPTH = 64
_MOST_NAMESPACE = 512  # characters
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_ROOT, _DESCRIPTION, _ITEM, _RESOURCE = (f"{_RDF} {name}" for name in ("RDF", "Description", "li", "resource"))
_LISTS = frozenset(f"{_RDF} {name}" for name in ("Alt", "Seq", "Bag"))


class _RefusedError(ValueError):
    pass


def properties(packet: bytes) -> Properties:
    """The simple properties, and the items of arrays, of a packet's resource. Structures are left out.

    Args:
        packet: serialised RDF, with or without its wrapper.

    Returns:
        values by namespace and name; empty if the packet is damaged or refused.
    """
    reader = _Reader()
    if len(packet) > MOST_BYTES:
        return {}
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartNamespaceDeclHandler = _require_short
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    try:
        parser.Parse(_without_padding(packet), True)
    except (expat.ExpatError, ValueError, LookupError):  # LookupError: an encoding that does not exist
        return {}
    return reader.found


def _without_padding(packet: bytes) -> bytes:
    """A packet without the zeros at its end, which some programs leave there."""
    if packet[:2] in (b"\xff\xfe", b"\xfe\xff"):  # UTF-16, where zeros belong to letters
        return packet.decode("utf-16").rstrip("\0").encode("utf-16")
    return packet.rstrip(b"\0")


def _require_short(_prefix: str | None, uri: str | None) -> None:
    """Refuse long namespaces, because the name of each of their elements would be as long."""
    if uri and len(uri) > _MOST_NAMESPACE:
        raise _RefusedError("a long namespace")


def _refuse(*_: object) -> None:
    raise _RefusedError("a document type or an entity")


class _Reader:
    """Collects properties. Levels below rdf:RDF: 1 description, 2 property, 3 array, 4 item."""

    def __init__(self) -> None:
        self.found: Properties = {}
        self._depth = self._root = self._nodes = 0
        self._property = ""  # empty outside of a description
        self._is_described = self._is_list = self._has_children = False
        self._pieces: list[str] | None = None  # of the text that is being read

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._nodes += 1 + len(attributes)
        if self._depth > _MOST_DEPTH or self._nodes > _MOST_NODES:
            raise _RefusedError("too many or too deep elements")
        if not self._root:
            if name == _ROOT:
                self._root = self._depth
            return
        level = self._depth - self._root
        if level == 1:
            self._is_described = name == _DESCRIPTION
            if self._is_described:
                for key, value in attributes.items():
                    self._add(key, value)
        elif level == 2 and self._is_described:
            self._property, self._is_list, self._has_children, self._pieces = name, False, False, []
            if _RESOURCE in attributes:
                self._add(name, attributes[_RESOURCE])
        elif level == 3:
            self._is_list, self._has_children, self._pieces = name in _LISTS, True, None
        elif level == 4:
            self._pieces = [] if self._is_list and name == _ITEM else None
        else:
            self._pieces = None

    def end(self, _name: str) -> None:
        level = self._depth - self._root
        self._depth -= 1
        if self._root and level in (2, 4) and self._pieces is not None and not (level == 2 and self._has_children):
            self._add(self._property, "".join(self._pieces))
        if level in (2, 4):
            self._pieces = None
        if level == 2:
            self._property = ""
        if level == 0:
            self._root = _MOST_DEPTH + 1  # of several rdf:RDF, the first counts

    def text(self, text: str) -> None:
        if self._pieces is not None:
            self._pieces.append(text)

    def _add(self, name: str, value: str) -> None:
        namespace, _, local = name.rpartition(" ")
        if namespace != _RDF and (value := value.strip()):
            self.found.setdefault((namespace, local), []).append(value)
