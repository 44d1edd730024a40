"""Damaged copies of data, for tests of parsers."""

import random


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The data with some bytes changed, cut out, doubled, or cut off."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(changed))
        kind = chance.randrange(5)
        if kind <= 1:
            changed[at] = chance.choice((0, 1, 0x7F, 0x80, 0x9F, 0xBF, 0xFF, chance.randrange(256)))
        elif kind == 2:
            del changed[at : at + chance.randint(1, 40)]
        elif kind == 3:
            changed[at:at] = changed[at : at + chance.randint(1, 40)]
        elif chance.random() < 0.2:
            del changed[at:]
        if not changed:
            return b""
    return bytes(changed)
