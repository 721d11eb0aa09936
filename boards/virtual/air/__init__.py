"""The air of the virtual board: IEEE 802.15.4 frames, channels that are shared, loss, and a capture file."""
