"""Images of environments: layers planned, written as tars, assembled without a daemon, loaded."""
