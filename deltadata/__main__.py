"""`python -m deltadata` is the same as the command `deltadata`."""

from deltadata.cli import main

if __name__ == "__main__":
    main()
