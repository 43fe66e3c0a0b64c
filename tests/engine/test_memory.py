"""Freed memory stays with the process."""
import platform
import subprocess
import sys

import pytest

COUNT = '''
import resource, torch
from zoo.engine.memory import keep_freed_memory
torch.set_num_threads(1)
assert {call}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        parts = [torch.ones(1 << 20) for _ in range(4)]  # 4 MiB each
        del parts
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
'''


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='the allocator is another one')
def test_memory_is_used_again_without_page_faults():
    def count(call):
        done = subprocess.run([sys.executable, '-c', COUNT.format(call=call)], capture_output=True, text=True, check=True)
        return int(done.stdout)
    assert count('keep_freed_memory()') < 1000
