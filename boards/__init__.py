"""Hardware, or what plays it."""
