"""python -m pneumo.report."""

from pneumo.report import main

if __name__ == "__main__":
    raise SystemExit(main())
