"""Faults put into real sessions, and what is left of their data: ``flyback faults``."""
