"""mmcv.ops on the zoo's operators; without mmcv there is nothing to test."""
from importlib.util import find_spec

import zoo.ops

if find_spec('mmcv') is None:
    collect_ignore_glob = ['test_*.py']
else:
    zoo.ops.install()
