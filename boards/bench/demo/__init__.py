"""The demo: ``air``, ``hub``, ``run`` and ``head-end``, as a lab would run them, composed into one story."""
