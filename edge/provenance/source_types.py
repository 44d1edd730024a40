"""IPTC's digital source types: what each reveals about the origin of a picture.

Source: http://cv.iptc.org/newscodes/digitalsourcetype/ (release of 2024-10-23, with retired terms). C2PA uses the same
terms.
"""

from typing import Any

from edge.verdict import CAPTURED, EDITED, GENERATED

# By the last part of the URI. A type that is not listed is about neither: digitalCreation and digitalArt, for example,
# were drawn by people, screenCapture shows what a screen showed, and softwareImage is retired because it says nothing.
SAYS = {
    "trainedAlgorithmicMedia": GENERATED,
    "algorithmicMedia": GENERATED,
    "compositeWithTrainedAlgorithmicMedia": EDITED,
    "compositeSynthetic": EDITED,
    "composite": EDITED,
    "compositeCapture": EDITED,
    "humanEdits": EDITED,
    "minorHumanEdits": EDITED,
    "algorithmicallyEnhanced": EDITED,
    "digitalCapture": CAPTURED,
    "computationalCapture": CAPTURED,
    "negativeFilm": CAPTURED,
    "positiveFilm": CAPTURED,
    "print": CAPTURED,
}
UNTRAINED = "algorithmicMedia"  # made by a program, but without a trained model
BY_MODEL = ("compositeWithTrainedAlgorithmicMedia", "compositeSynthetic")
MEANINGS = {
    "trainedAlgorithmicMedia": "made by a generative model",
    "algorithmicMedia": "made by an algorithm without a trained model",
    "compositeWithTrainedAlgorithmicMedia": "changed with a generative model, as by inpainting",
    "compositeSynthetic": "composed of several elements, at least one of a generative model",
    "composite": "composed of several elements, which may be of a generative model",
    "compositeCapture": "composed of several captures of real life",
    "humanEdits": "edited by people without a generative model",
    "minorHumanEdits": "slightly edited by people",
    "algorithmicallyEnhanced": "enhanced by an algorithm; the main content is unchanged",
    "digitalCapture": "captured by a camera",
    "computationalCapture": "several frames of a camera, merged without a generative model",
    "negativeFilm": "digitised from a negative",
    "positiveFilm": "digitised from a positive",
    "print": "digitised from a print",
}
_BASES = (
    "http://cv.iptc.org/newscodes/digitalsourcetype/",
    "https://cv.iptc.org/newscodes/digitalsourcetype/",
    "digsrctype:",
)


def name(uri: Any) -> str:
    """The last part of a digital source type's URI, such as "digitalCapture"; empty if it is not a text of letters."""
    last = uri[-200:].rsplit("/", 1)[-1] if isinstance(uri, str) else ""
    return last if last.isascii() and last.isalpha() else ""


def term(value: str) -> str:
    """The term that a property of XMP names, as a URI, a QCode or alone; empty if SAYS does not have it."""
    value = value.strip()
    for base in _BASES:
        if value.startswith(base):
            value = value[len(base) :].rstrip("/")
            break
    return value if value in SAYS else ""
