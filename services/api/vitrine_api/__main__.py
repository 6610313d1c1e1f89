"""`python -m vitrine_api` runs the service."""

from vitrine_api.app import main

if __name__ == "__main__":
    main()
