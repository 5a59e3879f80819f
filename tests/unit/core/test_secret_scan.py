"""What looks like a secret is masked, whatever is around it; code is left readable."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ml.core.secret_scan import MASK, is_secret_name, without_secrets

PLANTED = "pl4nted-Value_x9"


@pytest.mark.parametrize(
    "text",
    [
        f'password = "{PLANTED}"',
        f"+    'db_password': '{PLANTED}',",
        f"-export SNOWFLAKE_PASSWORD={PLANTED}",
        f"api-key: {PLANTED}",
        f'headers = {{"X-Auth-Token": "{PLANTED}"}}',
        f"connect(user='ann', passwd='{PLANTED}', port=1)",
        f"AWS_SECRET_ACCESS_KEY={PLANTED}",
        f"postgresql://ann:{PLANTED}@db/x",
        f"client_secret => {PLANTED}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{PLANTED}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{PLANTED}\nand cut",
        f'password: str = "{PLANTED}"',
        f"token: str | None = '{PLANTED}'",
        f'password = """{PLANTED}"""',
        f'os.environ["DB_PASSWORD"] = "{PLANTED}"',
        f'secret = ("{PLANTED}")',
        f'password = f"{PLANTED}"',
        f'password = "half\\"{PLANTED}"',
        f"tool --password {PLANTED} --verbose",
        f'os.environ.setdefault("API_TOKEN", "{PLANTED}")',
        f"postgresql://ann:with/slash{PLANTED}@db/x",
        f"postgresql://ann:with@at{PLANTED}@db/x",
        f'headers = {{"Authorization": "Bearer {PLANTED}"}}',
        f"Authorization: Basic {PLANTED}",
        f"pwd={PLANTED}",
        f"password: {PLANTED}=\nuser: bob",
        f"password: {PLANTED}, user = 'bob'",
        f'token: Optional[str] = "{PLANTED}"',
        f'if password == "{PLANTED}":',
        f"DefaultEndpointsProtocol=https;AccountKey={PLANTED}",
    ],
)
def test_a_planted_secret_is_masked(text: str) -> None:
    masked, found = without_secrets(f"before\n{text}\nafter_all = 1\n")
    assert PLANTED not in masked
    assert MASK in masked
    assert found >= 1
    assert masked.startswith("before\n")


@pytest.mark.parametrize(
    "value", ["AKIAIOSFODNN7EXAMPLE", "ghp_" + "a1B2" * 9, "xoxb-1234567890-abc", "eyJhbGciOiJI.eyJzdWIiOiIx.c2ln"]
)
def test_values_that_are_secrets_by_their_form(value: str) -> None:
    assert value not in without_secrets(f"x = f({value!r})")[0]


def test_what_is_known_by_value_is_masked_and_counted() -> None:
    masked, found = without_secrets("a hunter2 b", known=lambda text: text.replace("hunter2", MASK))
    assert (masked, found) == (f"a {MASK} b", 1)


def test_code_stays_readable() -> None:
    text = "def train(data, params):\n    return data.train.X.mean() + params['depth']  # see https://x.org/a\n"
    assert without_secrets(text) == (text, 0)


@pytest.mark.parametrize(
    "text",
    [
        "tokens = len(text.split())  # a comment\n",
        "def login(password: str, retries: int = 3) -> None:\n",
        "see https://x.org:8080/a and mail ann@x.org\n",
        "max_tokens: int = 3\n",
    ],
)
def test_code_around_such_names_keeps_its_lines(text: str) -> None:
    assert without_secrets(f"{text}y = 2\n")[0].endswith("\ny = 2\n")


@given(st.text(alphabet=string.ascii_letters + string.digits, min_size=4, max_size=40), st.text(max_size=50))
def test_no_text_around_it_lets_it_through(secret: str, around: str) -> None:
    quiet = around.replace(secret, "").replace("\n", " ")
    assert f'password="{secret}"' not in without_secrets(f'{quiet} password="{secret}" {quiet}')[0]


@pytest.mark.parametrize(
    "name", ["password", "db_password", "dbPassword", "api_key", "X-Api-Key", "auth.token", "TOKEN"]
)
def test_the_name_of_a_secret(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["tokenizer", "max_tokens", "keys", "secretary", "rate", "accessible", "key", ""])
def test_the_name_of_something_else(name: str) -> None:
    assert not is_secret_name(name)


def test_a_long_line_without_a_secret_is_read_once() -> None:
    line = "A" * 300_000 + "/" + "ab.cd-" * 20_000 + "+" + "token" * 300
    assert without_secrets(line) == (line, 0)
