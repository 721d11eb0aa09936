"""A whole machine under QEMU: Debian, systemd as process 1, the repository's units, an update over the air."""
