"""The power-cut sweep: the real device on a disk and a chip whose power is cut at every single operation.

``python -m tests.powercut`` runs all of it; ``tests/test_powercut.py`` a bounded selection.
"""
