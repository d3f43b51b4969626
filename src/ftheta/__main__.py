"""`python -m ftheta`: the command line, where the script of that name is not on the path."""

from ftheta.cli import main

if __name__ == "__main__":
    main()
