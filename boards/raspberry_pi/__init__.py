"""Raspberry Pi: pins, radio reset, relay, watchdog."""
