"""The only composer: opens a session, names plugins, owns the store, replays."""
