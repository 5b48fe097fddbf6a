"""PyTorch on the CPU for docs/performance.md: the pairs of `steropes bench large_pair` and `dune_base_pair`, one JSON object per line.

Needs torch. `pytorch_cpu.py [threads]`. The network is that of pytorch_gpu.py, with fused attention; convolutions also with channels last,
which is the better of the two. In bf16 the heads are of bf16 too, or of f32 as the reference program keeps them (`f32_heads`).
"""

import json
import resource
import statistics
import sys
import time

import torch
from pytorch_gpu import Pair

torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else torch.get_num_threads())
print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}), flush=True)
for network, dune, size in (("mast3r", False, (384, 512)), ("dune_base", True, (378, 518))):
    for dtype, f32_heads in ((torch.bfloat16, True), (torch.bfloat16, False), (torch.float32, False)):
        torch.manual_seed(0)
        for layout in (torch.contiguous_format, torch.channels_last):
            model = Pair(size, dune).eval().to(dtype).to(memory_format=layout)
            if f32_heads:
                model.heads.float()
                for head in model.heads:
                    head.register_forward_pre_hook(lambda _, given: ([x.float() for x in given[0]], *given[1:]))
            images = torch.randn(2, 3, *size).to(dtype).to(memory_format=layout)
            times = []
            with torch.inference_mode():
                for _ in range(4):
                    start = time.perf_counter()
                    model(images)
                    times.append(time.perf_counter() - start)
            row = {
                "name": f"{network}_pair/{str(dtype)[6:]}/{'f32_heads/' if f32_heads else ''}{str(layout)[6:]}",
                "seconds": round(statistics.median(times[1:]), 2),
                "least": round(min(times), 2),
                "peak_gbytes_so_far": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
            }
            print(json.dumps(row), flush=True)
