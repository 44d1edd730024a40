"""The texts of the pages in English, German and Spanish, with the numbers and times of each language."""

import functools
import re
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge.errors import printable

ENGLISH = "en"
LANGUAGES = {ENGLISH: "English", "de": "Deutsch", "es": "Español"}  # by code, in their own words
CATALOGUE = Path(__file__).with_name("catalogue.toml")
NO_BREAK = "\N{NO-BREAK SPACE}"
MOST_CHARACTERS = 500  # of Accept-Language that are looked at
_RANGE = re.compile(
    r"\s*([A-Za-z]{1,8})(?:-[A-Za-z0-9-]{1,40})?\s*(?:;\s*q\s*=\s*([01](?:\.[0-9]{0,3})?))?\s*", re.ASCII
)
_DECIMAL = {ENGLISH: (".", ","), "de": (",", "."), "es": (",", ".")}  # decimal mark and mark between thousands
_TIME = {ENGLISH: "%Y-%m-%d, %H:%M:%S", "de": "%d.%m.%Y, %H:%M:%S", "es": "%d/%m/%Y, %H:%M:%S"}
_SIZES = ("B", "kB", "MB", "GB", "TB")
_DURATIONS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"))


@functools.cache
def catalogue() -> dict[str, dict[str, str]]:
    """The text of each key, such as "try.heading", by language."""
    with open(CATALOGUE, "rb") as file:
        return dict(_flat(tomllib.load(file)))


def _flat(node: Mapping[str, Any], prefix: str = "") -> list[tuple[str, dict[str, str]]]:
    found: list[tuple[str, dict[str, str]]] = []
    for name, value in node.items():
        if isinstance(next(iter(value.values())), str):
            found.append((f"{prefix}{name}", value))
        else:
            found += _flat(value, f"{prefix}{name}.")
    return found


def preferred(accept_language: str) -> str:
    """The language that a header Accept-Language (RFC 9110, 12.5.4) wishes for; English if it names none of ours."""
    best, weight = ENGLISH, 0.0
    for part in accept_language[:MOST_CHARACTERS].split(","):
        match = _RANGE.fullmatch(part)
        if match and match[1].lower() in LANGUAGES and float(match[2] or 1) > weight:
            best, weight = match[1].lower(), float(match[2] or 1)
    return best


class Messages:
    """The texts of one language; called with a key and the values for its braces."""

    def __init__(self, language: str) -> None:
        """
        Args:
            language: one of LANGUAGES.
        """
        self.language = language
        self._point, self._thousands = _DECIMAL[language]

    def __call__(self, key: str, **values: object) -> str:
        return catalogue()[key][self.language].format(**values)

    def get(self, key: str, default: str) -> str:
        """The text of a key without braces; that of another key if there is no such key."""
        return self(key if key in catalogue() else default)

    def either(self, key: str, word: str) -> str:
        """The text of a key, or the word that it was made of, for what a later version has stored."""
        return self(key) if key in catalogue() else printable(word)

    def counted(self, key: str, count: int) -> str:
        """A number of things: "1 answer", "1,234 answers"."""
        return self(f"{key}.{'one' if count == 1 else 'many'}", count=self.number(count))

    def label(self, name: str) -> str:
        """The label of a verdict, or ERROR, as a word; that of a foreign model as it is."""
        return self.either(f"label.{name.lower()}", name)

    def labels(self, counts: Mapping[str, int]) -> str:
        """How many answers have each label, such as "3 Fake, 12 Real"."""
        parts = (f"{self.number(count)} {self.label(name)}" for name, count in sorted(counts.items()))
        return ", ".join(parts) or self("status.nothing")

    def number(self, value: float, decimals: int = 0) -> str:
        """A number: "1,234.5" in English, "1.234,5" in German and Spanish."""
        text = f"{value:,.{decimals}f}"
        return text.translate({ord(","): self._thousands, ord("."): self._point})

    def percent(self, share: float) -> str:
        """A probability in per cent with one decimal; never 100.0 or 0.0, but >99.9 and <0.1."""
        text = f"{share * 100:.1f}"
        sign, text = (">", "99.9") if text == "100.0" else ("<", "0.1") if text == "0.0" else ("", text)
        gap = "" if self.language == ENGLISH else NO_BREAK
        return f"{sign}{text.replace('.', self._point)}{gap}%"

    def size(self, nbytes: float) -> str:
        """A number of bytes: "12.3 GB"."""
        step = 0
        while nbytes >= 1000 and step < len(_SIZES) - 1:
            nbytes, step = nbytes / 1000, step + 1
        return f"{self.number(nbytes, 1 if step > 1 and nbytes < 100 else 0)}{NO_BREAK}{_SIZES[step]}"

    def duration(self, seconds: float) -> str:
        """A duration: "12 ms", "0.4 s", "5 min", "3 h", "2 d"."""
        for length, unit in _DURATIONS:
            if seconds >= 2 * length:
                return f"{self.number(seconds / length)}{NO_BREAK}{unit}"
        if seconds < 0.1:
            return f"{self.number(seconds * 1000)}{NO_BREAK}ms"
        return f"{self.number(seconds, 1 if seconds < 10 else 0)}{NO_BREAK}s"

    def time(self, seconds: float) -> str:
        """A moment, seconds since the epoch, in the board's time zone."""
        return time.strftime(_TIME[self.language], time.localtime(seconds))

    def celsius(self, degrees: float) -> str:
        """A temperature: "51.2 °C"."""
        return f"{self.number(degrees, 1)}{NO_BREAK}°C"
