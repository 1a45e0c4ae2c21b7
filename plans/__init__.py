"""Bluesky plans, named by the trade's imperatives."""
