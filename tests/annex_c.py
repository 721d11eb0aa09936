"""The worked examples of key establishment in the ZigBee Smart Energy specification, Annex C, both suites.

Hex as printed there, octets in order; U is the initiator, V the responder.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.zigbee.cbke.certificates import SUITE_1, SUITE_2


@dataclass(frozen=True)
class Party:
    eui: int
    certificate: bytes
    private: bytes
    public: bytes
    ephemeral_private: bytes
    ephemeral_public: bytes


@dataclass(frozen=True)
class Example:
    ca_public: bytes
    u: Party
    v: Party
    z: bytes
    mac_key: bytes
    link_key: bytes
    mac_u: bytes
    mac_v: bytes


def _octets(text: str) -> bytes:
    return bytes.fromhex(text)


EXAMPLES = {
    SUITE_1: Example(
        ca_public=_octets("0200FDE8A7F3D1084224962A4E7C54E69AC3F04DA6B8"),
        u=Party(
            eui=0x0000000000000002,
            certificate=_octets(
                "020615E07D30ECA2DAD58002E667D94BC1B4223983070000000000000002544553545345434101090006000000000000"
            ),
            private=_octets("01E9DDB5580CF72ECE7F215F0AE594E48DF3E7FEE8"),
            public=_octets("03025BBA38D0C7B5436B68DF728F093E7A1D6C437E6D"),
            ephemeral_private=_octets("0013D36DE4B1EA8E22739C381370823F404BFF8862"),
            ephemeral_public=_octets("0300E117C86D0E7CD128B2F34E9076CFF24AF46D7288"),
        ),
        v=Party(
            eui=0x0000000000000001,
            certificate=_octets(
                "03045FDFC8D85FFB8B3993CB72DDCAA55F00B3E87D6D0000000000000001544553545345434101090006000000000000"
            ),
            private=_octets("00B8A900FCADEBABBFA383B540FCE9ED438395EAA7"),
            public=_octets("030290A1F5C08DAD5F2945E335620C7A98FAC46666A1"),
            ephemeral_private=_octets("03D48C7210DDBCC4FB2E5E7A0AA16A0DB89540820B"),
            ephemeral_public=_octets("0306AB52062201D995B8B8591F3F086A3A2E214D845E"),
        ),
        z=_octets("00E0D2C3CCD5C106A89C4F6CC26A5F7EC9DF78A7BE"),
        mac_key=_octets("90F967B22C8357C10C1C04788DE9E848"),
        link_key=_octets("86D58AAA998E2FAEFAF9FEF49606543A"),
        mac_u=_octets("B82F1F9774740C32F80FCFC3921B6420"),
        mac_v=_octets("79D5F2AD1C31D4D1EE7CB719AC683C3C"),
    ),
    SUITE_2: Example(
        ca_public=_octets("0207A445022D9F39F49BDC38380026A27A9E0A1799313AB28C5C1A1C6B605154DB1DFF6752"),
        u=Party(
            eui=0x0A0B0C0D0E0F1012,
            certificate=_octets(
                "0084A933B37F018DEC0D081112131415161718005292A38AFFFFFFFF0A0B0C0D0E0F10128803076277E2F7E2252B16A0"
                "E92B6E8771BB3F207946CBD4A45D9A9DF6EDAB8C796A48E89DEC"
            ),
            private=_octets("00F2561ADB39EF49C1D62EF5186C6E0C158A5A45BFCE38660931ACC3694592D5ACDE9006"),
            public=_octets("03030E56F7ADE866E76372764BA20A9FF1FE4CAE522F94839E70F2ADFC1CA3E97F4DDCAF2E"),
            ephemeral_private=_octets("0013D36DE4B1EA8E22739C381370823F404BFF8862B521FECA9871FB3691846D361304B4"),
            ephemeral_public=_octets("0305F3394E15680660EECAA36788D9B6F312B971CE2C9617570BF7DFCD21C972017762C332"),
        ),
        v=Party(
            eui=0x0A0B0C0D0E0F1011,
            certificate=_octets(
                "002622A505E8938F270D081112131415161718005292A35BFFFFFFFF0A0B0C0D0E0F1011880303B4E9DC543A64333C98"
                "2308022B54E67E2F15F532551B0A11E2E2C1C1D3097A4324E7ED"
            ),
            private=_octets("0151CD0DBCB80474BF7AC9FEEBE39C7A32A63518938FCA9754AAE132BC9C73BE94A7E1BE"),
            public=_octets("0202F4FA2A3040433C6820299D182A1042E41404E337C57F47716B42DFAF970F1580A04C9B"),
            ephemeral_private=_octets("03D48C7210DDBCC4FB2E5E7A0AA16A0DB89540820B8DC091AB521EA824AFE117CADE995B"),
            ephemeral_public=_octets("03009A5131CF5B92A016378C0F7F284ECD47F94010F875D43BF1E9A65474ADBFC63696A930"),
        ),
        z=_octets("04F7724A9A77B21D2747CCEF68A457E45246C4BE9F66FD9425227BCB2CC5180EA9CCCB9A"),
        mac_key=_octets("ED380A00296600FB6B893025DE5FD137"),
        link_key=_octets("AA4689C70BE0FAF0C9BE534ABD9F4CDC"),
        mac_u=_octets("BF7E1A26D4EF7038B56813E465A131C9"),
        mac_v=_octets("C5B432A9995A092F4449F83613930064"),
    ),
}
