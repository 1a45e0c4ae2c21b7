"""Ophyd devices of the microscope and the beamline. No analysis lives here."""
