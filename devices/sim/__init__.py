"""The same device classes over one shared Specimen: the one truth behind every simulated detector."""
