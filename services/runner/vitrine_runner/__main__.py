"""`python -m vitrine_runner`."""

from vitrine_runner.app import main

if __name__ == "__main__":
    main()
