"""What a mail looks like, as a picture: Chromium through Playwright, without scripts and without a network."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from engine.cli.shell import Told

WIDTH = 700
_CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
_INSTALL = "pip install playwright, and Chromium: apt-get install chromium, or playwright install chromium"


def take(html: str, file: Path) -> None:
    """Draw the HTML of a mail into a PNG, all of its length. Told when there is nothing to draw with."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise Told("a screenshot needs Playwright, which is not installed", _INSTALL) from None
    chromium = next((path for name in _CHROMIUMS if (path := shutil.which(name))), None)
    # As root, in a container, Chromium refuses to start with its sandbox; nothing of a mail runs in it anyway.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        except Error:
            raise Told("a screenshot needs Chromium, which is not installed or doesn't start", _INSTALL) from None
        page = browser.new_context(
            java_script_enabled=False, offline=True, viewport={"width": WIDTH, "height": 600}, device_scale_factor=2
        ).new_page()
        page.set_content(html, wait_until="load")
        file.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=file, full_page=True)
        browser.close()
