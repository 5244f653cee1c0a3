"""Who is let in: by name, by origin, and by the token in the path."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.serve.gate import TOKEN_BYTES, Gate, host_name, is_loopback, names_of, new_token
from tui.serve.limits import Limits

GATE = Gate("T0ken", names_of("127.0.0.1"))


def test_a_token_is_random_and_long() -> None:
    assert TOKEN_BYTES * 8 >= 128
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) >= TOKEN_BYTES for token in tokens)
    assert set("".join(tokens)) <= {*string.ascii_letters, *string.digits, *"-_"}


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "LOCALHOST:9000", "127.0.0.1"])
def test_its_own_names_come_in_at_any_port_of_a_tunnel(host: str) -> None:
    assert GATE.refusal([host], [], "/T0ken/") is None
    assert GATE.refusal([host], [f"http://{host.lower()}"], "/T0ken/ws", need_origin=True) is None
    assert GATE.refusal([host], [f"https://{host.lower()}"], "/T0ken/ws", need_origin=True) is None  # behind TLS


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        [""],
        ["evil.example"],
        ["evil.example:8000"],
        ["127.0.0.1.evil.example"],
        ["localhost.evil.example:8000"],
        ["evil.example@127.0.0.1"],
        ["127.0.0.1:8000", "evil.example"],
        ["127.0.0.1", "127.0.0.1"],
        ["127.0.0.1:8000/evil"],
        ["127.0.0.1:"],
        ["127.0.0.1:port"],
        ["127.0.0.2"],
        ["0.0.0.0"],
        ["localhost."],
        ["[::1"],
        ["127.0.0.1\x00"],
        ["lOcaLhoſt"],
    ],
)
def test_another_name_is_refused(hosts: list[str]) -> None:
    assert "not known by that name" in (GATE.refusal(hosts, [], "/T0ken/") or "")


@pytest.mark.parametrize(
    "origins",
    [
        ["http://evil.example"],
        ["null"],
        [""],
        ["http://127.0.0.1"],
        ["http://127.0.0.1:8001"],
        ["http://localhost:8000"],
        ["http://127.0.0.1:8000/"],
        ["http://127.0.0.1:8000.evil.example"],
        ["file://127.0.0.1:8000"],
        ["http://127.0.0.1:8000", "http://127.0.0.1:8000"],
    ],
)
def test_another_origin_is_refused(origins: list[str]) -> None:
    assert "from another site" in (GATE.refusal(["127.0.0.1:8000"], origins, "/T0ken/") or "")


def test_a_websocket_says_where_it_comes_from() -> None:
    assert "from another site" in (GATE.refusal(["127.0.0.1"], [], "/T0ken/ws", need_origin=True) or "")


@pytest.mark.parametrize("path", ["", "/", "/ws", "/T0ke", "/T0ken2/", "/t0ken/", "//T0ken/", "/x/T0ken/", "/%54oken/"])
def test_no_token_or_a_wrong_one_is_refused(path: str) -> None:
    assert "no token" in (GATE.refusal(["localhost"], [], path) or "")


@given(st.text())
def test_no_other_token_comes_in(given_token: str) -> None:
    refused = GATE.refusal(["localhost"], [], f"/{given_token}")
    assert (refused is None) == (given_token.partition("/")[0] == "T0ken")


@given(st.text())
def test_any_host_header_is_one_of_ours_or_refused(header: str) -> None:
    name = host_name(header)
    assert (GATE.refusal([header], [], "/T0ken/") is None) == (name in GATE.names)


def test_the_names_of_a_server() -> None:
    assert names_of("localhost") == {"localhost", "127.0.0.1", "::1"}
    assert names_of("127.0.0.5") == {"127.0.0.5", "localhost", "127.0.0.1", "::1"}
    assert names_of("192.0.2.7", ["Box.Example"]) == {"192.0.2.7", "box.example"}
    assert {"127.0.0.1", "localhost"} < names_of("0.0.0.0")


def test_what_is_loopback() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.9.9.9", "::1", "localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "192.0.2.7", "box", "localhost.evil.example", ""]))


def test_a_terminal_is_never_larger_than_its_bounds() -> None:
    limits = Limits()
    assert limits.size(20_000, 20_000) == (400, 200)
    assert limits.size(-1, 0) == (1, 1)
    assert limits.size(140, 40) == (140, 40)
