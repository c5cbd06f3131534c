"""The command line with another number of places before each engine: `gateway.py PLACES VERB …`; 0: the usual one."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    places = int(sys.argv[1])
    if places:
        import luthier.serve.deck

        luthier.serve.deck.PLACES = places
    from luthier.cli import main

    sys.exit(main(sys.argv[2:]))
