"""Powder diffraction: lines from CIFs, integration of images, and the tracking of phases."""
