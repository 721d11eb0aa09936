"""The Debian package installed, used, upgraded, removed and purged in roots of its releases: ``make deb-test``."""
