"""`python -m helpers`: the command line."""

from helpers.running.cli import app

if __name__ == "__main__":
    app()
