"""`python -m micrographia` is the command `micrographia`."""

from micrographia.cli.app import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
