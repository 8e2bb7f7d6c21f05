"""`python -m estiva`: the command line with the interpreter and the paths that this one has."""

from estiva.cli.main import main

if __name__ == "__main__":
    main()
