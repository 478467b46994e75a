"""``python -m ectype``, the same as ``ectype``."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
