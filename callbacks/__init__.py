"""Live analysis: documents in, results and documents out. Devices and stores are unknown here."""
