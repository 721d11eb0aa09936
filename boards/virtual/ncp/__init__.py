"""The emulated CC2652: MT over TCP or a pty, NV memory in a file, and a ZigBee stack of our own on the virtual air."""
