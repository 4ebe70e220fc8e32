"""`python -m benchmarks.sizing`: compute the tables of docs/scale.md again; some seconds."""

import sys

from benchmarks.blocks import ROOT, fill
from benchmarks.sizing.tables import BLOCKS

PAGE = ROOT / "docs" / "scale.md"

if __name__ == "__main__":
    print("wrote docs/scale.md" if fill(PAGE, BLOCKS) else "docs/scale.md says it already", file=sys.stderr)
