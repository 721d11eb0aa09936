"""The update as one journalled machine."""
