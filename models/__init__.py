"""Analysis: arrays in, arrays out. Nothing here knows Bluesky, ophyd or a catalogue."""
