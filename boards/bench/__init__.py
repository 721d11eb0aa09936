"""The other side of the air: Communications Hub and head end."""
