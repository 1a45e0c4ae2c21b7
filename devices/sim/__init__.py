"""The same device classes over one shared beam and specimen: one truth behind all of them."""
