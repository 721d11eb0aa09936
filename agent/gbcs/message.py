"""The GBCS message: MAC header, grouping header, payload, signature, MAC; exact to the octet both ways.

::

    with MAC:     MAC header || grouping header || payload || siglen [|| signature] || MAC (12)
    signed only:                grouping header || payload || 40 || signature (64)
    pre-command:                grouping header || payload

    MAC header:       DD 00 00 00 00 00 00 <len> 11 00 00 00 00      len counts from the 11 to the end of the MAC
    grouping header:  DF 09 <CRA 1> <counter 8> 08 <originator 8> 08 <target 8> <00 | 0C date-time 12>
                      <len> <message code 2> [party 8 [its counter 8 [originator counter 8 | KA certificate]]]
                      <payload length>

Source: GBCS 7.2 (message structure) as seen in the published test data.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

from agent.gbcs.octets import Reader, encode_length

GENERAL_CIPHERING = 0xDD
GENERAL_SIGNING = 0xDF
SIGNATURE_OCTETS = 64
MAC_OCTETS = 12
DATE_TIME_OCTETS = 12

MAC_HEADER_START = bytes([GENERAL_CIPHERING, 0, 0, 0, 0, 0, 0])
SECURITY_HEADER = bytes([0x11, 0, 0, 0, 0])  # security control: authenticated only; invocation counter 0


class Cra(Enum):
    """Command, response or alert."""

    COMMAND = 1
    RESPONSE = 2
    ALERT = 3


class PayloadKind(Enum):
    """What language a payload speaks, told by its first octets."""

    DER = "DER"
    GBZ = "GBZ"
    DLMS = "DLMS"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class GbcsMessage:
    """One GBCS message, parsed. Counters are 64-bit, EUIs are ints, the date-time is 12 raw DLMS octets.

    ``signature`` None: the message ends after its payload (a pre-command); ``b""``: signature length 0 (MAC only);
    else 64 octets r||s. ``mac`` None: no MAC header.
    """

    cra: Cra
    counter: int
    originator: int
    target: int
    message_code: int
    payload: bytes
    date_time: bytes | None = None
    supplementary_party: int | None = None
    supplementary_party_counter: int | None = None
    supplementary_originator_counter: int | None = None
    supplementary_certificate: bytes | None = field(default=None, repr=False)
    signature: bytes | None = None
    mac: bytes | None = None

    @property
    def is_pre_command(self) -> bool:
        """What a party signs before it sends: nothing stands after the payload."""
        return self.signature is None and self.mac is None

    @property
    def payload_kind(self) -> PayloadKind:
        """Told by the first octets: 30 or 05 DER, 0109 GBZ, 0F, D9 or DA DLMS."""
        if self.payload[:1] in (b"\x30", b"\x05"):
            return PayloadKind.DER
        if self.payload[:2] == b"\x01\x09":
            return PayloadKind.GBZ
        if self.payload[:1] in (b"\x0f", b"\xd9", b"\xda"):
            return PayloadKind.DLMS
        return PayloadKind.UNKNOWN

    def grouping_header(self) -> bytes:
        """From the DF octet up to and including the payload length."""
        date_time = self.date_time or b""
        other = self._other_information()
        return b"".join(
            (
                bytes([GENERAL_SIGNING, 9, self.cra.value]),
                self.counter.to_bytes(8),
                b"\x08" + self.originator.to_bytes(8),
                b"\x08" + self.target.to_bytes(8),
                encode_length(len(date_time)) + date_time,
                encode_length(len(other)) + other,
                encode_length(len(self.payload)),
            )
        )

    def encode(self) -> bytes:
        """The octets that go into the tunnel."""
        octets = self.grouping_header() + self.payload
        if self.signature is not None:
            octets += encode_length(len(self.signature)) + self.signature
        if self.mac is None:
            return octets
        body = SECURITY_HEADER + octets + self.mac
        return MAC_HEADER_START + encode_length(len(body)) + body

    def _other_information(self) -> bytes:
        numbers = (
            self.supplementary_party,
            self.supplementary_party_counter,
            self.supplementary_originator_counter,
        )
        extra = b"".join(number.to_bytes(8) for number in numbers if number is not None)
        return self.message_code.to_bytes(2) + extra + (self.supplementary_certificate or b"")


def decode(octets: bytes) -> GbcsMessage:
    """Parse one whole message or pre-command. Raises FormatError with the offset; nothing else."""
    reader = Reader("GBCS message", octets)
    if octets[:1] == bytes([GENERAL_CIPHERING]):
        return _decode_with_mac(reader)
    if octets[:1] == bytes([GENERAL_SIGNING]):
        return _decode_without_mac(reader)
    first = f"{octets[0]:02X}" if octets else "nothing"
    raise reader.error(f"starts with {first}, neither DD (MAC header) nor DF (grouping header)")


def _decode_with_mac(reader: Reader) -> GbcsMessage:
    reader.expect(MAC_HEADER_START, "MAC header")
    body = reader.child(reader.length("MAC header length"), "ciphered service")
    reader.end("message")
    body.expect(SECURITY_HEADER, "security header")
    if body.remaining < MAC_OCTETS:
        raise body.error(f"no room for a MAC of {MAC_OCTETS} octets")
    signed = body.child(body.remaining - MAC_OCTETS, "grouping header")
    message = _header_and_payload(signed)
    signature = _signature(signed)
    signed.end("signature")
    return replace(message, signature=signature, mac=body.take(MAC_OCTETS, "MAC"))


def _decode_without_mac(reader: Reader) -> GbcsMessage:
    message = _header_and_payload(reader)
    signature = _signature(reader) if reader.remaining else None
    reader.end("message")
    return replace(message, signature=signature)


def _header_and_payload(reader: Reader) -> GbcsMessage:
    """The grouping header and the payload; signature and MAC are not read yet."""
    reader.expect(bytes([GENERAL_SIGNING]), "general signing tag")
    reader.expect(b"\x09", "transaction id length")
    cra = _cra(reader)
    counter = reader.unsigned(8, "originator counter")
    reader.expect(b"\x08", "originator length")
    originator = reader.unsigned(8, "originator")
    reader.expect(b"\x08", "target length")
    target = reader.unsigned(8, "target")
    date_time = _date_time(reader)
    other = reader.child(reader.length("other information length"), "other information")
    message_code = other.unsigned(2, "message code")
    payload = reader.take(reader.length("payload length"), "payload")
    message = GbcsMessage(cra, counter, originator, target, message_code, payload, date_time)
    return _with_supplementary(message, other)


def _cra(reader: Reader) -> Cra:
    at = reader.offset
    cra = reader.unsigned(1, "CRA flag")
    if cra not in (1, 2, 3):
        raise reader.error(f"CRA flag {cra} is not 1 command, 2 response or 3 alert", at)
    return Cra(cra)


def _date_time(reader: Reader) -> bytes | None:
    at = reader.offset
    count = reader.length("date-time length")
    if count not in (0, DATE_TIME_OCTETS):
        raise reader.error(f"date-time length {count} is neither 0 nor {DATE_TIME_OCTETS}", at)
    return reader.take(count, "date-time") or None


def _with_supplementary(message: GbcsMessage, other: Reader) -> GbcsMessage:
    """The rest of the other information: 0, 8, 16 or 24 octets, or 16 and a certificate; nothing else is one."""
    if not other.remaining:
        return message
    party = other.unsigned(8, "supplementary remote party")
    if not other.remaining:
        return replace(message, supplementary_party=party)
    party_counter = other.unsigned(8, "supplementary remote party counter")
    message = replace(message, supplementary_party=party, supplementary_party_counter=party_counter)
    if not other.remaining:
        return message
    if other.remaining > 8:
        return replace(message, supplementary_certificate=other.take(other.remaining, "certificate"))
    counter = other.unsigned(8, "supplementary originator counter")
    return replace(message, supplementary_originator_counter=counter)


def _signature(reader: Reader) -> bytes:
    at = reader.offset
    count = reader.length("signature length")
    if count not in (0, SIGNATURE_OCTETS):
        raise reader.error(f"signature length {count} is neither 0 nor {SIGNATURE_OCTETS}", at)
    return reader.take(count, "signature")
