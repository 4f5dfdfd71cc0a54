"""Chance, as it is handed in: so many bytes that nobody can foresee."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from engine.language.rewards import ALPHABET, Mask

Chance = Callable[[int], bytes]
"""So many bytes. The shell hands in the machine's secrets; a test, bytes that are always the same."""


def no_chance(size: int) -> bytes:
    """What a scope has whose steps draw nothing."""
    raise RuntimeError("chance was not handed in")


def codes(mask: Mask, number: int, chance: Chance) -> list[str]:
    """So many codes of a mask, each letter drawn with equal odds. Two of them may be the same."""
    before, length, behind = mask.parts
    letters = _letters(number * length, chance)
    return [f"{before}{''.join(next(letters) for _ in range(length))}{behind}" for _ in range(number)]


def _letters(number: int, chance: Chance) -> Iterator[str]:
    """Letters without end. Five bits of each byte: those beyond the alphabet are drawn again, not folded back, which
    would make some letters likelier than others."""
    while True:
        for byte in chance(max(16, number * 32 // len(ALPHABET) + 8)):
            if (place := byte & 31) < len(ALPHABET):
                yield ALPHABET[place]
