"""Spectra: one linear non-negative fit for X-ray fluorescence and electron energy loss."""
