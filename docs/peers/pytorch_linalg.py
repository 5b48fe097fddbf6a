"""PyTorch on the shapes of `steropes bench`'s dense linear algebra and training kernels: `pytorch_linalg.py cpu|cuda [THREADS] [FILTER]`, one JSON
object per line. Times are medians of wall time with the device waited for, after a warm-up; small calls on a GPU therefore hold its latency.
"""

import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F

device = sys.argv[1]
if len(sys.argv) > 2:
    torch.set_num_threads(int(sys.argv[2]))
only = sys.argv[3] if len(sys.argv) > 3 else ""
wait = torch.cuda.synchronize if device == "cuda" else lambda: None
print(json.dumps({"torch": torch.__version__, "device": device, "threads": torch.get_num_threads()}), flush=True)


def row(name, make, call, least=0.3):
    if only not in name:
        return
    try:
        arguments = make()
        call(*arguments)
        wait()
        start = time.perf_counter()
        call(*arguments)
        wait()
        count = max(1, min(200, int(least / 5 / max(time.perf_counter() - start, 1e-7))))
        times = []
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(count):
                call(*arguments)
            wait()
            times.append((time.perf_counter() - start) / count)
        print(json.dumps({"name": name, "ms": round(1e3 * statistics.median(times), 4)}), flush=True)
    except RuntimeError as error:
        print(json.dumps({"name": name, "error": str(error).splitlines()[0]}), flush=True)


def rand(*shape):
    return torch.randn(*shape, device=device)


def square(b, n):
    return lambda: (rand(b, n, n),)


def definite(b, n):
    def make():
        a = rand(b, n, n)
        return (a @ a.mT + n * torch.eye(n, device=device),)

    return make


for b, n in [(100, 16), (500, 16), (100, 32), (200, 48), (100, 64), (1, 1024), (100000, 4)]:
    row(f"cholesky/{b}x{n}x{n}", definite(b, n), torch.linalg.cholesky)
for b, n in [(100, 16), (500, 16), (100, 32), (200, 48), (1, 1024)]:
    row(f"solve/{b}x{n}x{n}", lambda: (rand(b, n, n), rand(b, n, 1)), torch.linalg.solve)
row("inv/500x16x16", square(500, 16), torch.linalg.inv)
row("inv/100000x3x3", square(100000, 3), torch.linalg.inv)
row("solve_triangular/2048x64x64_64", lambda: (rand(2048, 64, 64).tril() + 8 * torch.eye(64, device=device), rand(2048, 64, 64)), lambda a, b: torch.linalg.solve_triangular(a, b, upper=False))
for b, m, n in [(500, 16, 16), (1000, 16, 16), (500, 32, 32), (100, 48, 48), (100, 64, 32), (200, 64, 32)]:
    row(f"qr/{b}x{m}x{n}", lambda: (rand(b, m, n),), torch.linalg.qr)
for m, n in [(1024, 1024), (4000, 1000), (2000000, 50)]:
    row(f"qr/{m}x{n}", lambda: (rand(m, n),), torch.linalg.qr)
for b, n in [(100, 32), (100, 64), (50, 128), (10, 256), (1000000, 3)]:
    row(f"eigh/{b}x{n}x{n}", lambda: ((lambda a: a + a.mT)(rand(b, n, n)),), torch.linalg.eigh)
for n in (512, 1024):
    row(f"eigh/{n}x{n}", lambda: ((lambda a: a + a.mT)(rand(n, n)),), torch.linalg.eigh)
for b, n in [(100, 32), (200, 64), (50, 128), (10, 256), (1000, 16), (1000000, 3)]:
    row(f"svd/{b}x{n}x{n}", square(b, n), lambda a: torch.linalg.svd(a, full_matrices=False))
for n in (512, 1024):
    row(f"svd/{n}x{n}", lambda: (rand(n, n),), lambda a: torch.linalg.svd(a, full_matrices=False))
row("matrix_exp/100x32x32", square(100, 32), torch.linalg.matrix_exp)
row("matmul/500x32x32", lambda: (rand(500, 32, 32), rand(500, 32, 32)), torch.matmul)
row("matmul/64x256x256", lambda: (rand(64, 256, 256), rand(64, 256, 256)), torch.matmul)


def with_gradient(make, call):
    """Forward and backward."""

    def run(*arguments):
        leaves = [a.detach().requires_grad_(a.is_floating_point()) for a in arguments]
        result = call(*leaves)
        torch.autograd.grad(result, [a for a in leaves if a.requires_grad], torch.ones_like(result))

    return make, run


norm = lambda: (rand(4096, 4096), rand(4096))
row("rms_norm/4096x4096", norm, lambda x, w: F.rms_norm(x, (4096,), w))
row("rms_norm/both/4096x4096", *with_gradient(norm, lambda x, w: F.rms_norm(x, (4096,), w)))
row("layer_norm/4096x4096", norm, lambda x, w: F.layer_norm(x, (4096,), w, w))
row("layer_norm/both/4096x4096", *with_gradient(norm, lambda x, w: F.layer_norm(x, (4096,), w, w)))
row("softmax/512x32768", lambda: (rand(512, 32768),), lambda x: F.softmax(x, -1))
row("activation/gelu_4096x4096", lambda: (rand(4096, 4096),), F.gelu)
targets = lambda rows, classes: torch.randint(classes, (rows,), device=device)
row("cross_entropy/512x128256", lambda: (rand(512, 128256), targets(512, 128256)), F.cross_entropy)
row("cross_entropy/both/512x128256", *with_gradient(lambda: (rand(512, 128256), targets(512, 128256)), F.cross_entropy))
bags = lambda: (rand(32000, 4096), torch.randint(32000, (1600,), device=device), torch.arange(0, 1600, 100, device=device))
row("embedding_bag/32000x4096_16x100", bags, lambda w, i, o: F.embedding_bag(i, w, o, mode="sum"))
for d in (64, 128):
    q = lambda: tuple(rand(2, 16, 2048, d) for _ in range(3))
    row(f"sdpa_masked/causal_2x2048x16x{d}", q, lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True))
    row(f"sdpa_masked/both/causal_2x2048x16x{d}", *with_gradient(q, lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)))


def adamw():
    parameter = torch.nn.Parameter(rand(4096, 4096))
    parameter.grad = rand(4096, 4096)
    return (torch.optim.AdamW([parameter], fused=True),)


row("adamw/4096x4096", adamw, lambda optimizer: optimizer.step())
