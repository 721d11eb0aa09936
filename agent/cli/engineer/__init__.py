"""What an engineer may ask of a device from its files: one look, a bundle of it, and what may be forgotten."""
