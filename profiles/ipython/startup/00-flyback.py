"""Start-up file for IPython profiles and for the queue server: everything at hand.

Copy it into the start-up folder of an IPython profile, or name its folder in
``start-re-manager --startup-dir``. FLYBACK_PROFILE names the profile, FLYBACK_DIRECTORY the
archive.
"""

import os

import flyback

session = flyback.open(os.environ.get("FLYBACK_PROFILE", "sim_microscope"))
globals().update(session.namespace())
