"""python -m uadtools COMMAND ... is the same as uad COMMAND ..."""

from uadtools.cli.main import main

if __name__ == "__main__":
    main()
