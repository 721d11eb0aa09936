"""An SD card out of a Raspberry Pi OS image: planning is pure (layout, boot_files), carrying out needs no root.

``card.build_card`` is the whole of it; ``disk`` writes a card's image to a device.
"""
