"""Our own open pixel and click links, for providers that tell neither: which message, and where a click leads, signed.

The address a click goes to stands inside the signed token, so a link leads nowhere that no mail of ours led to. The way
out of a topic, and whatever else leads to the engine itself, stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from html import unescape

from itsdangerous import URLSafeSerializer

from engine.rendering.addresses import LONGEST, within
from engine.rendering.links import loaded

OPENS, CLICKS = "/o/", "/c/"
_LONGEST = 4_000
_HREF = re.compile(r"""(<a\b[^>]*?\bhref\s*=\s*)(["'])(https?://[^"']*)\2""", re.IGNORECASE)
_END = re.compile(r"</body\s*>", re.IGNORECASE)


class Tracking:
    """Makes and reads the links of one project. `keys`: as `Subscriptions`; `opens`, `clicks`: which of the two mails
    get; links that were made before are read all the same."""

    def __init__(self, keys: Sequence[str], url: str, *, opens: bool = False, clicks: bool = False) -> None:
        self._url = url.rstrip("/")
        self._opens, self._clicks = opens, clicks
        how = {"key_derivation": "hmac", "digest_method": sha256}
        self._open = URLSafeSerializer(list(keys), salt="karibu.open", signer_kwargs=how)
        self._click = URLSafeSerializer(list(keys), salt="karibu.click", signer_kwargs=how)

    def tracked(self, html: str, ref: str, *untouched: str | None) -> str:
        """A mail's HTML with its links through us and a pixel at its end. `untouched`: addresses that stay."""
        if not html:
            return html
        if self._clicks:
            html = _HREF.sub(lambda found: self._through(found, ref, untouched), html)
        if self._opens:
            token = _text(self._open.dumps(ref))
            pixel = f'<img src="{self._url}{OPENS}{token}" width="1" height="1" alt="" style="display:block;border:0">'
            ends = list(_END.finditer(html))
            at = ends[-1].start() if ends else len(html)
            html = html[:at] + pixel + html[at:]
        return html

    def opened(self, token: str) -> str | None:
        """The message whose pixel this is; None for a token that was not made here."""
        said = loaded(self._open, token, _LONGEST)
        return said if isinstance(said, str) else None

    def clicked(self, token: str) -> tuple[str, str] | None:
        """The message, and where the click leads; None for a token that was not made here."""
        match loaded(self._click, token, _LONGEST):
            case [str(ref), str(url)]:
                return ref, url
        return None

    def _through(self, found: re.Match[str], ref: str, untouched: Sequence[str | None]) -> str:
        url = unescape(found[3])
        # A longer address stays as it is: with its token it would be longer than programs take.
        ours, long = within(url, self._url), len(url) > LONGEST
        if ours or long or url in untouched or any(ord(c) < 33 for c in url):
            return found[0]
        return f"{found[1]}{found[2]}{self._url}{CLICKS}{_text(self._click.dumps([ref, url]))}{found[2]}"


def _text(token: str | bytes) -> str:
    return token.decode() if isinstance(token, bytes) else token
