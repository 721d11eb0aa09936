"""``make bench``: how fast and how lean, as ratios within one run. No test: a time here is no verdict."""

import sys
from pathlib import Path

# The tests' own helpers import one another by bare name, as pytest lets them.
sys.path.insert(1, str(Path(__file__).parents[1]))
