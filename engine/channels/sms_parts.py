"""How many parts an SMS is sent, and paid, in.

Only what is in GSM's own alphabet goes with seven bits a character (3GPP TS 23.038); one letter outside makes the whole
text UCS-2. Longer texts are cut, and each part gives some room to its number.
"""

from __future__ import annotations

_GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_TWICE = frozenset("^{}\\[~]|€\f")
"""Characters of GSM's that take two places."""


def parts(text: str) -> int:
    """In how many parts a text is sent; 1 for an empty one."""
    letters = set(text)
    if letters <= _GSM | _TWICE:
        length, alone, cut = len(text) + sum(text.count(one) for one in _TWICE), 160, 153
    else:
        length, alone, cut = len(text.encode("utf-16-le")) // 2, 70, 67
    return 1 if length <= alone else -(-length // cut)
