"""`python -m gptloom.cli` is the command `gptloom`."""

from gptloom.cli.main import run

if __name__ == "__main__":
    run()
