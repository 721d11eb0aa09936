"""Slots, boot state, and the first stage that verifies a slot and starts it."""
