"""The OTA file, the Manufacturer Image inside it, and the verdict on it."""
