"""`python -m batch` -> the command line."""

from batch.cli import main

if __name__ == "__main__":
    main()
