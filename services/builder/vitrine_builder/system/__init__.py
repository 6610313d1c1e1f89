"""System packages: a Debian root file system as the base, and lists of packages as a layer on top of it."""
