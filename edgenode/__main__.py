"""``python -m edgenode`` and the ``edgenode`` script."""

from edgenode.cli.root import main

if __name__ == "__main__":
    main()
