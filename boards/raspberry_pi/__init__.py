"""A Raspberry Pi as the device's hardware: profile, pins, relay, status LED. Only ``gpio`` imports RPi.GPIO."""
