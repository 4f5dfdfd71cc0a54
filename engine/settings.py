"""Every setting, and the only reader of the environment.

Each is an environment variable `KARIBU_<NAME>`, a line of `.env` in the project's directory, or a file of that name in
KARIBU_SECRETS_DIR (a mounted secret). Nothing secret stands in YAML, the database, logs or Prefect.
"""

from __future__ import annotations

import os
import secrets
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from dotenv import dotenv_values
from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

HOME = ".karibu"


class Settings(BaseSettings):
    """The settings of one project directory."""

    model_config = SettingsConfigDict(env_prefix="KARIBU_", env_file_encoding="utf-8", extra="ignore", frozen=True)

    root: Path = Field(Path("."), description="The project: the directory that holds workflows/ and templates/.")
    home: Path | None = Field(
        None, description="Where data, messages and Prefect's history are kept. Default: ROOT/.karibu"
    )
    database_url: SecretStr | None = Field(
        None, description="postgresql://… or sqlite:///path. Default: a SQLite file in home"
    )
    host: str = Field("127.0.0.1", description="The address the service listens on.")
    port: int = Field(8000, description="The port the service listens on.")
    prefect_port: int = Field(4200, description="The port of the Prefect server that Karibu starts.")
    prefect_api_url: str | None = Field(None, description="A Prefect server of your own; Karibu then starts none.")
    base_url: str | None = Field(None, description="How customers reach the service: links in messages begin with it.")
    api_key: SecretStr | None = Field(
        None,
        description="The API key that may do everything; senders get keys of their own from `karibu key create`. "
        "Default: made once, kept in home.",
    )
    secret_key: SecretStr | None = Field(
        None,
        description="Signs links and keys the hashes of addresses. Default: made once, kept in home. Never change it.",
    )
    provider: Literal["fake"] | None = Field(
        None, description="`fake`: messages go to the fake provider, as `karibu up --provider fake` has it."
    )
    sendgrid_api_key: SecretStr | None = Field(None, description="The key of the sendgrid channel.")
    sendgrid_webhook_key: SecretStr | None = Field(
        None, description="What SendGrid's events are verified with: the key of its page Signed Event Webhook."
    )
    sendgrid_base_url: str = Field("https://api.sendgrid.com", description="Another address for the sendgrid channel.")
    twilio_account_sid: str | None = Field(None, description="The account of the twilio channel.")
    twilio_auth_token: SecretStr | None = Field(
        None, description="Its token: the key of the twilio channel, and of what Twilio calls back."
    )
    twilio_from: str | None = Field(None, description="The number, name or messaging service (MG…) texts come from.")
    twilio_base_url: str = Field("https://api.twilio.com", description="Another address for the twilio channel.")
    telegram_token: SecretStr | None = Field(None, description="The token of the telegram channel's bot.")
    telegram_webhook_secret: SecretStr | None = Field(
        None, description="What Telegram's updates are verified with: the `secret_token` that was given to setWebhook."
    )
    telegram_base_url: str = Field("https://api.telegram.org", description="Another address for the telegram channel.")
    webhook_url: str | None = Field(None, description="Where the webhook channel posts messages to.")
    webhook_secret: SecretStr | None = Field(None, description="What it signs them with: whsec_…")
    fcm_credentials: SecretStr | None = Field(
        None, description="The file of the service account that the fcm channel sends as."
    )
    fcm_base_url: str = Field("https://fcm.googleapis.com", description="Another address for the fcm channel.")
    vapid_private_key: SecretStr | None = Field(
        None, description="The key of the webpush channel: 32 bytes in base64url."
    )
    vapid_contact: str | None = Field(None, description="Whom push services may write to: mailto:… or https://…")
    webpush_service: str | None = Field(
        None, description="A push service of your own that browsers may name, like https://push.duka.example."
    )
    smtp_host: str | None = Field(None, description="The relay of the smtp channel.")
    smtp_port: int | None = Field(None, description="Its port. Default: 587, with tls 465.")
    smtp_security: str = Field("starttls", description="starttls, tls, or none (for a relay on this machine).")
    smtp_username: str | None = Field(None, description="Who logs in at the relay, if it asks.")
    smtp_password: SecretStr | None = Field(None, description="Their password.")
    smtp_ca_file: str | None = Field(None, description="Certificates to trust besides the system's, for the relay.")

    inside_origins: str = Field(
        "",
        description="Origins inside, without TLS or at another port that steps may ask: `http://crm.internal:8080`, "
        "with commas between.",
    )
    outgoing_secret: SecretStr | None = Field(
        None, description="`whsec_…`: signs the calls of journeys (Standard Webhooks)."
    )

    @classmethod
    def of(cls, root: Path | None = None, **given: Any) -> Settings:
        """The settings of a project directory; what is given here wins over the environment."""
        where = root or Path(os.environ.get("KARIBU_ROOT", "."))
        mounted = os.environ.get("KARIBU_SECRETS_DIR")
        return cls(root=where, _env_file=where / ".env", _secrets_dir=mounted, **given)

    @property
    def data(self) -> Path:
        """The directory of everything Karibu keeps."""
        return self.home or self.root / HOME

    @property
    def database(self) -> str:
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{(self.data / 'karibu.db').absolute()}"

    @property
    def mail(self) -> Path:
        """Where messages are kept that go nowhere else."""
        return self.data / "mail"

    @property
    def public_url(self) -> str:
        return (self.base_url or f"http://{self.host}:{self.port}").rstrip("/")

    @cached_property
    def secret(self) -> str:
        """The key that signs and hashes."""
        return self.secret_key.get_secret_value() if self.secret_key else _kept(self.data / "secret-key")

    @cached_property
    def key(self) -> str:
        """The API key that may do everything."""
        return self.api_key.get_secret_value() if self.api_key else _kept(self.data / "api-key")

    def secret_of(self, name: str) -> str | None:
        """A secret that project.yaml names, like `shopify_secret`: the variable, line or file KARIBU_SHOPIFY_SECRET."""
        variable = f"KARIBU_{name.upper()}"
        found = os.environ.get(variable) or dotenv_values(self.root / ".env").get(variable)
        if not found and (mounted := os.environ.get("KARIBU_SECRETS_DIR")):
            for file in (Path(mounted) / variable, Path(mounted) / variable.lower()):
                if file.is_file():
                    found = file.read_text(encoding="utf-8")
        return (found or "").strip() or None

    def value_of(self, name: str) -> str | None:
        """What a channel asks for by name, like `sendgrid_api_key`; a setting that is none of ours is looked up as
        secrets are."""
        if name == "public_url":
            return self.public_url
        if name.lower() not in type(self).model_fields:
            return self.secret_of(name)
        value = getattr(self, name.lower())
        if value is None:
            return None
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _kept(file: Path) -> str:
    """A secret made once and kept in a file that only its owner may read."""
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        file.parent.mkdir(parents=True, exist_ok=True)
        made = secrets.token_urlsafe(32)
        try:
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:  # another process was first
            return file.read_text().strip()
        with os.fdopen(handle, "w") as opened:
            opened.write(made)
        return made
