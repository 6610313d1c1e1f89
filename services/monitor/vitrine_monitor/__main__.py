"""`python -m vitrine_monitor`."""

from vitrine_monitor.app import main

main()
