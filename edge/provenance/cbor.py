"""CBOR (RFC 8949) of hostile files: a small reader that bounds every length, depth and number of items.

It is our own, not the package cbor2, for three reasons. Manifests must be readable by the base installation, which
would need one more package, compiled on 32-bit ARM. Before 5.9.0 cbor2 does not bound nesting (CVE-2026-26209), Debian
12 has 5.4.6, and no version bounds the number of items. And its tags make objects that nobody here needs: dates,
regular expressions, shared references.
"""

import struct
from typing import Any

MAX_DEPTH = 32
MAX_ITEMS = 50_000  # of all that one decoder reads: some 50 ms

_BREAK = object()
_FLOATS = {25: ">e", 26: ">f", 27: ">d"}
_SIMPLE = {20: False, 21: True, 22: None, 23: None}


class CborError(ValueError):
    """The data are not CBOR, or exceed a limit."""


class Decoder:
    """Decodes CBOR items to int, float, bool, None, str, bytes, list and dict; tags are dropped.

    Args:
        items: how many items it decodes in all, over all calls of `decode`.
    """

    def __init__(self, items: int = MAX_ITEMS) -> None:
        self._items = items
        self._data = b""
        self._at = 0

    def decode(self, data: bytes) -> Any:
        """The first item of the data; what follows it is ignored.

        Raises:
            CborError: the data are damaged or cut short, nested more deeply than MAX_DEPTH, hold more than `items`
                items, a key twice, or a key that is neither text, bytes nor an integer.
        """
        self._data, self._at = data, 0
        try:
            value = self._item(0)
        except UnicodeDecodeError as error:
            raise CborError("text is not UTF-8") from error
        finally:
            self._data = b""
        if value is _BREAK:
            raise CborError("a break outside of an item of unknown length")
        return value

    def _item(self, depth: int) -> Any:
        """The next item, or _BREAK."""
        self._items -= 1
        if self._items < 0:
            raise CborError("too many items")
        if depth > MAX_DEPTH:
            raise CborError("nested too deeply")
        first = self._take(1)[0]
        major, info = first >> 5, first & 31
        if major == 7:
            return self._simple(info)
        argument = self._argument(info)
        if argument is None and major in (0, 1, 6):
            raise CborError("an integer or tag of unknown length")
        if major <= 1:
            return argument if major == 0 else -1 - (argument or 0)
        if major <= 3:
            content = self._string(major, argument)
            return content if major == 2 else content.decode()
        if major == 4:
            return self._array(argument, depth)
        if major == 5:
            return self._map(argument, depth)
        return self._value(depth)  # of a tag

    def _take(self, length: int) -> bytes:
        start, end = self._at, self._at + length
        if end > len(self._data):
            raise CborError("cut short")
        self._at = end
        return self._data[start:end]

    def _argument(self, info: int) -> int | None:
        """The number in or after the first byte of an item; None for an unknown length."""
        if info < 24:
            return info
        if info < 28:
            return int.from_bytes(self._take(1 << info - 24), "big")
        if info == 31:
            return None
        raise CborError("a reserved length")

    def _simple(self, info: int) -> Any:
        if info in _SIMPLE:
            return _SIMPLE[info]
        if info in _FLOATS:
            (value,) = struct.unpack(_FLOATS[info], self._take(1 << info - 24))
            return value
        if info == 31:
            return _BREAK
        if info < 24 or (info == 24 and self._take(1)):
            return None  # a simple value that nobody has defined
        raise CborError("a reserved simple value")

    def _string(self, major: int, length: int | None) -> bytes:
        if length is not None:
            return self._take(length)
        chunks = []
        while (first := self._take(1)[0]) != 0xFF:
            self._items -= 1
            length = self._argument(first & 31)
            if first >> 5 != major or length is None or self._items < 0:
                raise CborError("an invalid part of a string")
            chunks.append(self._take(length))
        return b"".join(chunks)

    def _value(self, depth: int) -> Any:
        """The next item, which must not be a break."""
        value = self._item(depth + 1)
        if value is _BREAK:
            raise CborError("a break in the place of an item")
        return value

    def _array(self, length: int | None, depth: int) -> list[Any]:
        if length is not None:
            if length > self._items:
                raise CborError("too many items")
            return [self._value(depth) for _ in range(length)]
        values = []
        while (value := self._item(depth + 1)) is not _BREAK:
            values.append(value)
        return values

    def _map(self, length: int | None, depth: int) -> dict[Any, Any]:
        if length is not None and length > self._items:
            raise CborError("too many items")
        values: dict[Any, Any] = {}
        while length is None or length:
            key = self._item(depth + 1)
            if key is _BREAK and length is None:
                return values
            # Another reader may keep the other value of a key that occurs twice.
            if not isinstance(key, str | bytes | int) or isinstance(key, bool) or key in values:
                raise CborError("an invalid key, or a key that occurs twice")
            values[key] = self._value(depth)
            length = None if length is None else length - 1
        return values
