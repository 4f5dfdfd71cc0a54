"""The fake provider as a child of another process: started, found, and ended with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.fake.behaviour import Behaviour
from engine.fake.hooks import key_of, shown


@dataclass(frozen=True)
class Running:
    """A fake provider that answers at `url` and keeps its ledger in `directory`."""

    url: str
    directory: Path

    def settings(self, environment: MutableMapping[str, str]) -> None:
        """Have an engine with this environment send there, and believe what comes back."""
        how = Behaviour.read(self.directory)
        given = {
            "KARIBU_SENDGRID_BASE_URL": self.url,
            "KARIBU_SENDGRID_API_KEY": how.sendgrid_key,
            "KARIBU_SENDGRID_WEBHOOK_KEY": shown(key_of(self.directory)),
            "KARIBU_TWILIO_BASE_URL": self.url,
            "KARIBU_TWILIO_ACCOUNT_SID": how.twilio_sid,
            "KARIBU_TWILIO_AUTH_TOKEN": how.twilio_token,
            "KARIBU_TELEGRAM_BASE_URL": self.url,
            "KARIBU_TELEGRAM_TOKEN": how.telegram_token,
            "KARIBU_TELEGRAM_WEBHOOK_SECRET": how.telegram_secret,
            "KARIBU_TWILIO_FROM": environment.get("KARIBU_TWILIO_FROM", "+15550001111"),
        }
        environment.update(given)


@contextmanager
def running(directory: Path, port: int = 0) -> Iterator[Running]:
    """Start it, and end it afterwards."""
    command = [sys.executable, "-m", "engine.fake", str(directory), str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url:
                raise OSError(f"the fake provider did not start; does something listen on port {port}?")
            yield Running(url, directory)
        finally:
            process.kill()
