"""Certificate-Based Key Establishment, cluster 0x0800 (ZigBee Smart Energy, Annex C), both cryptographic suites.

**Not constant time.** The arithmetic stands on Python's integers: how long a key establishment takes depends on the
private keys. Who can time many of them closely, on the same machine or over the air of a device that answers as often
as it is asked, learns something about the device's private key; so can who measures its power. The ephemeral keys are
fresh each time and the machine answers one partner at a time, with a wait after each failure, which slows such an
attacker down and does not stop it. No maintained Python library does arithmetic on these curves; where that attacker
matters, the private key belongs into hardware that never lets it out.

::

    field, curves      binary fields, sect163k1 and sect283k1
    mmo, install_code  AES-MMO, HMAC, CRC-16/X-25, install codes
    certificates       the two implicit certificates, and what makes one acceptable
    ecqv, ecmqv        key reconstruction and issuing; key agreement, key derivation, key confirmation
    messages, machine  the cluster's commands; initiator and responder
"""
