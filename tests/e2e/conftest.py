"""Makes the helper modules of this folder importable."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # for `from daemon import ...`
