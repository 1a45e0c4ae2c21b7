"""Start-up file for IPython profiles and for the queue server: everything at hand.

Copy it (or name its folder) as the start-up code of an IPython profile, or of
``start-re-manager --startup-dir``. FLYBACK_PROFILE names the profile, FLYBACK_DIRECTORY the archive.
"""

import os

import flyback

session = flyback.open(os.environ.get("FLYBACK_PROFILE", "sim_microscope"))
globals().update(session.namespace())
