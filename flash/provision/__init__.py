"""Devices out of a list: identity, device.toml, label, lines for the bench; one or a batch of them."""
