"""The store: an embedded or remote catalogue, its writer off the RunEngine's thread, recovery."""
