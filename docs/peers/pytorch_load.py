"""PyTorch's way from a .pth file to a network that can run, for docs/performance.md: `pytorch_load.py FILE [threads]`.

Needs torch. Without FILE the network of pytorch_gpu.py is written there first (2.7 GB). Printed are the seconds of `torch.load`, of
building the network and of `load_state_dict`; run it twice, so that the file is in memory as it is for `steropes infer -v`, whose
line of the model says how long that took.
"""

import json
import os
import sys
import time

import torch
from pytorch_gpu import Pair

path = sys.argv[1]
torch.set_num_threads(int(sys.argv[2]) if len(sys.argv) > 2 else torch.get_num_threads())
if not os.path.exists(path):
    torch.save({"model": Pair().state_dict()}, path)
start = time.perf_counter()
stored = torch.load(path, map_location="cpu")
loaded = time.perf_counter()
model = Pair()
built = time.perf_counter()
model.load_state_dict(stored["model"])
end = time.perf_counter()
row = {"torch.load": loaded - start, "build": built - loaded, "load_state_dict": end - built, "sum": end - start}
print(json.dumps({"torch": torch.__version__, **{k: round(v, 2) for k, v in row.items()}}))
