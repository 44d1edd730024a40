"""XMP packets: the forms of properties, and what is refused."""

import pytest

from edge.provenance import xmp
from tests.support.metadata import xmp_packet

CREDIT = (xmp.PHOTOSHOP, "Credit")
TYPE = (xmp.IPTC, "DigitalSourceType")


def test_attribute_element_resource_and_list_forms_are_read() -> None:
    packet = xmp_packet(
        "<photoshop:Credit> The\narchive </photoshop:Credit>"
        '<Iptc4xmpExt:DigitalSourceType rdf:resource="uri"/>'
        "<dc:creator><rdf:Seq><rdf:li>A</rdf:li><rdf:li>B</rdf:li></rdf:Seq></dc:creator>"
        "<dc:description><rdf:Alt><rdf:li xml:lang='x-default'>&lt;text&gt; &#233;</rdf:li></rdf:Alt></dc:description>",
        xmp_CreatorTool='A "tool"',
    )
    assert xmp.properties(packet) == {
        (xmp.XMP, "CreatorTool"): ['A "tool"'],
        CREDIT: ["The\narchive"],
        TYPE: ["uri"],
        (xmp.DC, "creator"): ["A", "B"],
        (xmp.DC, "description"): ["<text> é"],
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_encodings_with_a_mark_and_padding_are_read(encoding: str) -> None:
    text = xmp_packet(photoshop_Credit="Zürich").decode()
    packet = ("\ufeff" + text + " " * 100).encode(encoding) + bytes(50)
    if encoding == "utf-16-be":
        packet = packet.rstrip(b"\0")
    assert xmp.properties(packet) == {CREDIT: ["Zürich"]}


def test_prefixes_do_not_matter_but_namespaces_do() -> None:
    packet = xmp_packet(photoshop_Credit="x")
    assert xmp.properties(packet.replace(b"photoshop:", b"ps7:").replace(b"xmlns:photoshop=", b"xmlns:ps7=")) == {
        CREDIT: ["x"]
    }
    other = packet.replace(b"http://ns.adobe.com/photoshop/1.0/", b"http://example.org/")
    assert xmp.properties(other) == {("http://example.org/", "Credit"): ["x"]}


def test_properties_within_structures_do_not_count() -> None:
    """The history of a picture, and its ingredients, are not the picture."""
    nested = "<Iptc4xmpExt:DigitalSourceType>uri</Iptc4xmpExt:DigitalSourceType>"
    for body in (
        f'<xmp:Thing rdf:parseType="Resource">{nested}</xmp:Thing>',
        f"<xmp:Thing><rdf:Description>{nested}</rdf:Description></xmp:Thing>",
        f"<xmp:Thing><rdf:Bag><rdf:li rdf:parseType='Resource'>{nested}</rdf:li></rdf:Bag></xmp:Thing>",
        '<xmp:Thing><rdf:Bag><rdf:li Iptc4xmpExt:DigitalSourceType="uri"/></rdf:Bag></xmp:Thing>',
    ):
        assert TYPE not in xmp.properties(xmp_packet(body))


def test_elements_outside_of_the_description_do_not_count() -> None:
    packet = xmp_packet(photoshop_Credit="x").decode()
    second = packet[packet.index("<rdf:RDF") : packet.index("</x:xmpmeta>")].replace('"x"', '"y"')
    assert xmp.properties(packet.replace("</x:xmpmeta>", second + "</x:xmpmeta>").encode()) == {CREDIT: ["x"]}
    typed = packet.replace("<rdf:Description", "<dc:Other").replace("</rdf:Description", "</dc:Other")
    assert xmp.properties(typed.replace("dc:Other", "rdf:Bag").encode()) == {}


@pytest.mark.parametrize(
    "head",
    [
        "<!DOCTYPE x>",
        '<!DOCTYPE x [<!ENTITY a "b">]>',
        '<!DOCTYPE x SYSTEM "file:///etc/hostname">',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>',
        '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;"><!ENTITY c "&b;&b;&b;">]>',
    ],
)
def test_document_types_and_entities_are_refused(head: str) -> None:
    packet = xmp_packet(photoshop_Credit="x").decode()
    at = packet.index("<x:xmpmeta")
    assert xmp.properties((packet[:at] + head + packet[at:]).encode()) == {}


def test_large_deep_and_damaged_documents_are_refused() -> None:
    good = xmp_packet("<photoshop:Credit>x</photoshop:Credit>")
    assert xmp.properties(good) == {CREDIT: ["x"]}
    for body in (
        "<dc:a>" * 100 + "</dc:a>" * 100,
        "<dc:a/>" * 40_000,
        '<dc:a xmlns:long="' + "n" * 1000 + '"/>',
        "<dc:a>&undefined;</dc:a>",
        "<dc:a>",
    ):
        assert xmp.properties(xmp_packet("<photoshop:Credit>x</photoshop:Credit>" + body)) == {}
    assert xmp.properties(good + b" " * xmp.MOST_BYTES) == {}
    assert xmp.properties(good[:-60]) == {}
    assert xmp.properties(b"") == {}
    assert xmp.properties(b'<?xml version="1.0" encoding="no-such"?><a/>') == {}
