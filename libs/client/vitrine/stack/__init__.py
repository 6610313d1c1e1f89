"""The embedded stack: real servers and the five services on this machine, under one supervisor."""
