"""Short links for texts, where each character is paid for: `https://duka.example/l/gm3tqojxha2d`.

A code is made of the message and the address with a key of ours, so nobody can guess one, and a message that is made
again has the same. Where it leads is kept with the message (engine/runtime/shortened.py) before that leaves.

Only addresses whose host the template or the brand's `url` names become such links: a customer's name may be an
address, too, and it would look like the shop's.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping
from hashlib import sha256

from engine.rendering.addresses import addresses, origin, within
from engine.rendering.values import Rendered

SHORT = "/l/"
CODE = re.compile("[a-z2-7]{12}")
_LENGTH = 12
"""Characters of a code, five bits each."""
_MOST = 20
"""Links of one text: each is kept, also of a text that the channel then finds too long."""


class Shortener:
    """Makes the links of one project. `url`: where the engine's web side is reached from outside."""

    def __init__(self, key: str, url: str) -> None:
        self._key = hmac.digest(key.encode(), b"karibu.short", sha256)
        self._url = url.rstrip("/")

    def shortened(self, content: Rendered, ref: str) -> tuple[str, Mapping[str, str]]:
        """The text of a message with short links, and where they lead, by code. What leads to the engine itself stays
        as it is, and so does the text beside a template that WhatsApp has approved: nobody gets it."""
        codes: dict[str, str] = {}
        text, at = [], 0
        if content.template_id:
            return content.text, codes
        for place, address in addresses(content.text):
            if within(address, self._url) or origin(address) not in content.origins or len(codes) == _MOST:
                continue
            code = self._code(ref, address)
            codes[code] = address
            text += [content.text[at:place], self._url, SHORT, code]
            at = place + len(address)
        return "".join([*text, content.text[at:]]), codes

    def _code(self, ref: str, address: str) -> str:
        made = hmac.digest(self._key, f"{ref} {address}".encode(), sha256)
        return base64.b32encode(made).decode()[:_LENGTH].lower()
