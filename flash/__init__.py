"""Making things: images, identities, radio firmware."""
