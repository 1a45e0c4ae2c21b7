"""Ptychography on arbitrary positions: direct (single side band) and iterative (rPIE)."""
