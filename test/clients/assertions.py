"""What the tests of this directory have in common: a line an assertion."""

import sys

_failed = False


def ok(name, value, why=""):
    """Reports whether value is true."""
    global _failed
    if value:
        print(f"ok {name}")
    else:
        _failed = True
        print(f"not ok {name}" + (f": {why}" if why else ""))


def equal(name, got, expected):
    """Reports whether both are the same."""
    ok(name, got == expected, f"got {got!r}, expected {expected!r}")


def finish():
    """Ends the test."""
    sys.exit(1 if _failed else 0)
