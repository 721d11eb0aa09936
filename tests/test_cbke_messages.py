"""The commands of the Key Establishment cluster, octet for octet."""

from __future__ import annotations

import pytest
from annex_c import EXAMPLES
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import FormatError
from agent.zigbee.cbke.certificates import SUITE_1, SUITE_2
from agent.zigbee.cbke.messages import ConfirmKey, EphemeralData, Initiate, Terminate, decode


@pytest.mark.parametrize("suite", [SUITE_1, SUITE_2])
def test_initiate(suite: int) -> None:
    certificate = EXAMPLES[suite].u.certificate
    message = Initiate(suite, 10, 15, certificate)
    assert message.encode() == bytes((suite, 0, 10, 15)) + certificate
    assert decode(0, message.encode()) == message


def test_terminate() -> None:
    message = Terminate(5, 60, 3)
    assert message.encode().hex() == "053c0300"
    assert decode(3, message.encode()) == message


def test_ephemeral_data_and_confirm_key() -> None:
    example = EXAMPLES[SUITE_2]
    assert decode(1, example.u.ephemeral_public) == EphemeralData(example.u.ephemeral_public)
    assert decode(2, example.mac_u) == ConfirmKey(example.mac_u)


@pytest.mark.parametrize(
    ("command", "payload"), [(0, bytes(3)), (1, bytes(23)), (2, bytes(15)), (3, bytes(5)), (4, b"")]
)
def test_wrong_lengths_and_commands_are_refused(command: int, payload: bytes) -> None:
    with pytest.raises(FormatError):
        decode(command, payload)


@given(st.integers(0, 5), st.binary(max_size=100))
def test_what_decodes_encodes_again(command: int, payload: bytes) -> None:
    try:
        message = decode(command, payload)
    except FormatError:
        return
    assert message.encode() == payload
