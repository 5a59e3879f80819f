"""Finding what looks like a secret in a text that is about to be kept, and putting stars in its place.

Values that Airflow knows are masked by Airflow. This is for text that a person typed, such as the uncommitted part of a
file. It prefers to mask too much.
"""

from __future__ import annotations

import re
from collections.abc import Callable

MASK = "***"

#: Names whose value is a secret, in code, in settings and in shells. The search begins at the beginning of a word only:
#: from within, a long line of base64 would be read once for each of its characters.
_NAMED = re.compile(
    r"""(?ix)
    (?P<name>(?<![\w.-])[\w.-]*(?:
        passw(?:or)?d | passphrase | (?<![a-z0-9])pwd | secret | token | credential | authorization
        | (?:api|access|account|private)[_-]?key
    )[\w.-]{0,100}+)
    (?P<between>
        (?:
            ["']?\]?\s*(?:=>|:=|!=|={1,3}|:)
            | ["'][ \t]*,(?=[ \t]*[rbfu]{0,2}["'][^"'\n]*["'][ \t]*\))   # setdefault("PASSWORD", "...")
        )
        \s*(?:\(\s*)?(?:[rbfu]{1,2}(?=["']))?
    )
    (?P<value>
        \"{3}[\s\S]*?(?:\"{3}|\Z) | \'{3}[\s\S]*?(?:\'{3}|\Z)
        | "(?:\\.|[^"\\\n])*"? | '(?:\\.|[^'\\\n])*'?
        | (?:(?:basic|bearer)[ \t]+)?[^\s"',;)\]}]+          # or the type in: password: str | None = "..."
          (?:[\w.|\[\], \t]{0,80}?=[ \t]*[rbfu]{0,2}(?:"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?))?
    )
    """
)
#: ``--password VALUE`` of a command.
_OPTION = re.compile(
    r"""(?ix)
    (?P<name>(?<![\w-])--?[\w-]*(?:passw(?:or)?d|passphrase|secret|token|credential|(?:api|access|private)-?key)[\w-]*)
    (?P<between>[ \t]+)
    (?P<value>"[^"\n]*"|'[^'\n]*'|[^\s"'-][^\s]*)
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
    # A password that was not escaped may hold the characters that end one: up to the last @ of the word.
    r"(?P<scheme>\b[a-z][a-z0-9+.-]{0,30}://)(?P<user>[^\s:/@]{0,256}):(?P<password>[^\s\"'<>`]{1,256})@",
    re.IGNORECASE,
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
    masked, fourth = _OPTION.subn(_mask_value, masked)
    return masked, first + second + third + fourth + (
        masked.count(MASK) - text.count(MASK) if known(text) != text else 0
    )


def _mask_value(match: re.Match[str]) -> str:
    value = match["value"]
    quote = value[:3] if value[:3] in ('"""', "'''") else value[0] if value[0] in "\"'" else ""
    return f"{match['name']}{match['between']}{quote}{MASK}{quote}"
