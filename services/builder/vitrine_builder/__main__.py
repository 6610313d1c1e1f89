"""`python -m vitrine_builder` runs the service."""

from vitrine_builder.app import main

main()
