"""ZigBee above the chip: ZCL, the OTA client, tunnelling, key establishment, joining."""
