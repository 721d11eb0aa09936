"""What proves a GBCS message: the ECDSA signature of its originator and the MAC between two key agreement keys.

- signature: ECDSA P-256 with SHA-256, plain r||s, over everything after the DF octet to the end of the payload;
  deterministic (RFC 6979), so the same message is the same octets.
- MAC: AES-128-GMAC, 12 octets, IV = originator || 00000000, AAD = 11 00 00 00 00 00 || grouping header || payload ||
  signature length || signature.
- key: first 16 octets of SHA-256(00000001 || Z || algorithm || originator || 09 || CRA || counter || target), Z the
  x-coordinate of static ECDH. For a command Z is between the *ACB* and the device, also where a supplier originates.

Source: GBCS 4.3.3 (cryptographic protection), NIST SP 800-56A 6.2.2.2; checked on published messages.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from enum import Enum

from Crypto.Cipher import AES
from Crypto.Hash import SHA256
from Crypto.Protocol.DH import key_agreement
from Crypto.PublicKey import ECC
from Crypto.Signature import DSS

from agent.gbcs.certificate import KeyUse, Role
from agent.gbcs.keystore import KeyStore
from agent.gbcs.message import MAC_OCTETS, SECURITY_HEADER, Cra, GbcsMessage
from agent.gbcs.octets import encode_length

_KDF_ALGORITHM = bytes.fromhex("60857406080300")  # aes128-gcm under the UK's DLMS arc
_KDF_COUNTER = bytes.fromhex("00000001")
_NO_ADDITIONAL_KEY = b"\x00"


class Check(Enum):
    """The outcome of looking at one signature or MAC."""

    OK = "ok"
    BAD = "bad"
    ABSENT = "absent"
    NO_KEY = "no-key"


def signed_octets(message: GbcsMessage) -> bytes:
    """What a signature covers: the grouping header without its DF octet, and the payload."""
    return message.grouping_header()[1:] + message.payload


def sign(message: GbcsMessage, private_key: ECC.EccKey) -> GbcsMessage:
    """The message with its originator's signature."""
    signer = DSS.new(private_key, "deterministic-rfc6979", encoding="binary")
    return replace(message, signature=signer.sign(SHA256.new(signed_octets(message))))


def verify_signature(message: GbcsMessage, public_key: ECC.EccKey) -> bool:
    """Whether the signature is by this key. False when there is none."""
    verifier = DSS.new(public_key, "fips-186-3", encoding="binary")
    try:
        verifier.verify(SHA256.new(signed_octets(message)), message.signature or b"")
    except ValueError:
        return False
    return True


def shared_secret(private_key: ECC.EccKey, public_key: ECC.EccKey) -> bytes:
    """Z: 32 octets, the same from either side."""
    secret: bytes = key_agreement(static_priv=private_key, static_pub=public_key, kdf=bytes)
    return secret


def derive_key(message: GbcsMessage, secret: bytes) -> bytes:
    """The 16-octet key of this one message: every counter has its own."""
    transaction = bytes([9, message.cra.value]) + message.counter.to_bytes(8)
    other = _KDF_ALGORITHM + message.originator.to_bytes(8) + transaction + message.target.to_bytes(8)
    return hashlib.sha256(_KDF_COUNTER + secret + other).digest()[:16]


def compute_mac(message: GbcsMessage, secret: bytes) -> bytes:
    """The 12-octet MAC over this message; its own ``mac`` field plays no part."""
    nonce = message.originator.to_bytes(8) + bytes(4)
    cipher = AES.new(derive_key(message, secret), AES.MODE_GCM, nonce=nonce, mac_len=MAC_OCTETS)
    signature = message.signature or b""
    cipher.update(SECURITY_HEADER + _NO_ADDITIONAL_KEY + message.grouping_header() + message.payload)
    cipher.update(encode_length(len(signature)) + signature)
    return cipher.digest()


def add_mac(message: GbcsMessage, secret: bytes) -> GbcsMessage:
    """The message with a MAC, and with an explicit empty signature where it has none."""
    message = replace(message, signature=message.signature or b"")
    return replace(message, mac=compute_mac(message, secret))


def check_signature(message: GbcsMessage, keys: KeyStore) -> Check:
    """The signature against the originator's signing certificate."""
    if not message.signature:
        return Check.ABSENT
    public_key = keys.public_key(message.originator, KeyUse.DIGITAL_SIGNING)
    if public_key is None:
        return Check.NO_KEY
    return Check.OK if verify_signature(message, public_key) else Check.BAD


def check_mac(message: GbcsMessage, keys: KeyStore) -> Check:
    """The MAC against every pair of keys that it may be made with (several where several ACBs are held)."""
    if message.mac is None:
        return Check.ABSENT
    secrets = mac_secrets(message, keys)
    if not secrets:
        return Check.NO_KEY
    good = any(hmac.compare_digest(compute_mac(message, secret), message.mac) for secret in secrets)
    return Check.OK if good else Check.BAD


def mac_secrets(message: GbcsMessage, keys: KeyStore) -> list[bytes]:
    """Every Z this message's MAC may be made with, as far as ``keys`` can compute it."""
    if message.cra is Cra.COMMAND:
        brokers = keys.holders(Role.ACCESS_CONTROL_BROKER, KeyUse.KEY_AGREEMENT)
        senders = [message.originator] if message.originator in brokers else brokers
        pairs = [(sender, message.target) for sender in senders]
    else:
        pairs = [(message.originator, message.target)]
    secrets = (agree(keys, one, other) for one, other in pairs)
    return [secret for secret in secrets if secret is not None]


def agree(keys: KeyStore, one: int, other: int) -> bytes | None:
    """Z between two EUIs: one private key and the other's certificate, whichever way round they are held."""
    for mine, peer in ((one, other), (other, one)):
        private_key = keys.private_key(mine, KeyUse.KEY_AGREEMENT)
        public_key = keys.public_key(peer, KeyUse.KEY_AGREEMENT)
        if private_key is not None and public_key is not None:
            return shared_secret(private_key, public_key)
    return None
