"""`python -m vitrine_trainer`."""

from vitrine_trainer.app import main

main()
