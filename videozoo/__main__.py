"""`python -m videozoo`, as `torchrun -m videozoo` needs it."""

from videozoo.cli.main import main

if __name__ == "__main__":
    main()
