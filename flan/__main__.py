"""`python -m flan`: the command line of this room alone."""

from flan.cli import main

if __name__ == "__main__":
    main()
