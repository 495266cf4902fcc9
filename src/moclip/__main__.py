"""Run the command line: `python -m moclip` is the command `moclip`."""

from moclip.cli.main import main

if __name__ == "__main__":
    main()
