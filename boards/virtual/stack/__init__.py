"""The ZigBee stack of the emulated CC2652: NWK, APS and Trust Center, on the virtual air."""
