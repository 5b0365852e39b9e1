"""Makes the helper modules of this folder importable, and those of bench that tests share with it."""

import pathlib
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "bench"))  # for redis_store
sys.path.insert(0, str(HERE))  # for `from daemon import ...`
