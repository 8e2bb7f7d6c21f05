"""`python -m estiva` and the installed `estiva` command."""

from estiva.cli.main import main

if __name__ == "__main__":
    main()
