"""Finding what looks like a secret in a text that is about to be kept, and putting stars in its place.

Values that Airflow knows are masked by Airflow. This is for text that a person typed, such as the uncommitted part of a
file. It prefers to mask too much.
"""

from __future__ import annotations

import re
from collections.abc import Callable

MASK = "***"

#: Names whose value is a secret, in code, in settings and in shells.
_NAMED = re.compile(
    r"""(?ix)
    (?P<name>[\w.-]*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential)[\w.-]*)
    (?P<between>["']?\s*(?:=>|[:=])\s*)
    (?P<value>"[^"\n]*"|'[^'\n]*'|[^\s"',;)\]}]+)
    """
)
_WHOLE = re.compile(
    r"""(?x)
    -----BEGIN[ A-Z0-9]*PRIVATE[ ]KEY-----[\s\S]*?(?:-----END[ A-Z0-9]*PRIVATE[ ]KEY-----|\Z)
    | \b(?:AKIA|ASIA)[0-9A-Z]{16}\b                     # AWS access key ids
    | \bgh[pousr]_[A-Za-z0-9]{20,}                      # GitHub
    | \bgithub_pat_\w{20,}
    | \bglpat-[\w-]{16,}                                # GitLab
    | \bxox[abprs]-[\w-]{10,}                           # Slack
    | \bsk-[A-Za-z0-9_-]{20,}                           # OpenAI and others
    | \bAIza[\w-]{30,}                                  # Google
    | \beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+                 # JSON web tokens
    """
)
_IN_ADDRESS = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?P<user>[^\s:/@]*):(?P<password>[^\s/@]+)@", re.IGNORECASE
)


_SECRET_WORDS = {
    "password",
    "passwd",
    "passphrase",
    "secret",
    "secrets",
    "token",
    "apikey",
    "credential",
    "credentials",
}
_SECRET_PAIRS = ("api_key", "access_key", "private_key")


def is_secret_name(name: str) -> bool:
    """Tell whether an argument of that name is a secret: ``db_password`` and ``api_key``, and not ``tokenizer``."""
    plain = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
    return not _SECRET_WORDS.isdisjoint(plain.split("_")) or any(pair in plain for pair in _SECRET_PAIRS)


def without_secrets(text: str, *, known: Callable[[str], str] = lambda text: text) -> tuple[str, int]:
    """Return a text with what looks like a secret masked, and how many places that were.

    Args:
        text: Of any kind.
        known: Masks the secrets that are known by their value; called on the whole text first.
    """
    masked = known(text)
    masked, first = _WHOLE.subn(MASK, masked)
    masked, second = _IN_ADDRESS.subn(rf"\g<scheme>\g<user>:{MASK}@", masked)
    masked, third = _NAMED.subn(_mask_value, masked)
    return masked, first + second + third + (masked.count(MASK) - text.count(MASK) if known(text) != text else 0)


def _mask_value(match: re.Match[str]) -> str:
    value = match["value"]
    quote = value[0] if value[0] in "\"'" else ""
    return f"{match['name']}{match['between']}{quote}{MASK}{quote}"
