import sys
from pathlib import Path

# `from tests.preparation.support import ...` works for plain `pytest` as for `python -m pytest`.
ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)
