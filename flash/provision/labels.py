"""Labels to print: EUI, install code with its CRC, and both in a QR code. One HTML page, nothing outside of it.

The QR code says ``Z:<EUI>$I:<install code with its CRC>``, in hex: what several makers (Ubisys, Danfoss, Inovelli,
Ledvance) print, and zigbee-herdsman and ZHA read. No standard prescribes it, and GBCS knows no QR code: whoever
commissions a device in Great Britain types the two numbers, or takes them from the list.

The sheet is A4 with 24 labels of 63.5 x 33.9 mm (3 x 8; Avery L7159 and the like).
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from importlib import resources

import segno

from flash.provision.devices import Made

PER_SHEET = 24


def qr_text(eui: str, install_code: bytes) -> str:
    """Upper case, so that it fits the QR code's alphanumeric mode."""
    return f"Z:{eui.upper()}$I:{install_code.hex().upper()}"


def label_page(made: Sequence[Made], title: str) -> str:
    """The whole page."""
    style = (resources.files("flash.provision") / "labels.css").read_text(encoding="utf-8")
    sheets = [made[start : start + PER_SHEET] for start in range(0, len(made), PER_SHEET)]
    body = "".join(f'<section class="sheet">{"".join(_label(one) for one in sheet)}</section>\n' for sheet in sheets)
    name = html.escape(title)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{name}</title>\n'
        f"<style>\n{style}</style>\n</head>\n<body>\n"
        f'<p class="hint">{name}: {len(made)} labels. Print at 100 %, without margins, on A4 sheets of {PER_SHEET} '
        f"labels, 63.5 x 33.9 mm. Who reads an install code can join in the device's place: keep this page as you keep "
        f"keys.</p>\n{body}</body>\n</html>\n"
    )


def groups(digits: str, size: int = 4) -> Iterator[str]:
    """As people read them aloud."""
    yield from (digits[start : start + size] for start in range(0, len(digits), size))


def _label(one: Made) -> str:
    code = list(groups(one.install_code.hex().upper()))
    octets = list(groups(one.eui, 2))
    qr = segno.make(qr_text(one.eui, one.install_code), error="m", micro=False)
    picture = qr.svg_inline(border=0, omitsize=True, svgclass="qr", lineclass=None)
    return (
        f'<article class="label">{picture}<div class="words">'
        f'<p class="role">{one.row.role.upper()}<span>hardware {one.row.hardware_version}</span></p>'
        f'<p class="name">EUI-64</p><p class="digits">{"-".join(octets[:4])}-<br>{"-".join(octets[4:])}</p>'
        f'<p class="name">Install code, CRC last</p><p class="digits">{_code(code)}</p>'
        f"</div></article>\n"
    )


def _code(code: list[str]) -> str:
    *plain, crc = [html.escape(group) for group in code]
    lines = [" ".join(plain[start : start + 4]) for start in range(0, len(plain), 4)]
    return "<br>".join([*lines, f"<b>{crc}</b>"])
