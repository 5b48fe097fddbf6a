"""PyTorch on the shapes of `steropes bench`, for docs/performance.md: one JSON object per line.

Needs torch with CUDA. Times are medians over samples of repeated calls between CUDA events, after warm-up. The network is written from its
published description (sizes of MASt3R ViT-L, random weights); only its cost is meant to be right.
"""

import json
import statistics
import torch
import torch.nn as nn
import torch.nn.functional as F

device, half = "cuda", torch.float16


def seconds(f, samples=7, least=0.05):
    for _ in range(3):
        f()
    torch.cuda.synchronize()

    def run(count):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(count):
            f()
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end) / 1e3

    count = max(1, int(least / max(run(1), 1e-6)))
    times = [run(count) / count for _ in range(samples)]
    return statistics.median(times), (max(times) - min(times)) / statistics.median(times)


def row(name, f, flops=0.0, size=0.0):
    try:
        time, spread = seconds(f)
        print(json.dumps({"name": name, "ms": round(time * 1e3, 4), "spread": round(spread, 3), "tflops": round(flops / time / 1e12, 1), "gbytes_per_second": round(size / time / 1e9)}), flush=True)
    except RuntimeError as error:
        print(json.dumps({"name": name, "error": str(error).splitlines()[0]}), flush=True)
    torch.cuda.empty_cache()


def rand(*shape, dtype=half):
    return torch.randn(*shape, device=device, dtype=torch.float32).to(dtype)


def memory_rows():
    x = rand(65536, 4096)
    y = torch.empty_like(x)
    row("copy/f16/65536x4096", lambda: y.copy_(x), size=4 * x.numel())
    row("gelu/f16/65536x4096", lambda: F.gelu(x), size=4 * x.numel())
    x = rand(65536, 1024)
    w, b = rand(1024), rand(1024)
    row("layer_norm/f16/65536x1024", lambda: F.layer_norm(x, (1024,), w, b, 1e-6), size=4 * x.numel())
    row("softmax/f16/65536x1024", lambda: torch.softmax(x, -1), size=4 * x.numel())
    x = rand(8192, 8192)
    row("softmax/f16/8192x8192", lambda: torch.softmax(x, -1), size=4 * x.numel())


def product_rows():
    shapes = [(4096, 4096, 4096)] + [(m, n, k) for m in (768, 1536) for n, k in [(3072, 1024), (1024, 1024), (4096, 1024), (1024, 4096)]]
    for m, n, k in shapes:
        x, w, b = rand(m, k), rand(n, k), rand(n)
        row(f"linear/f16/{m}x{n}x{k}", lambda: F.linear(x, w, b), flops=2.0 * m * n * k)
    x, w = rand(4096, 4096, dtype=torch.float32), rand(4096, 4096, dtype=torch.float32)
    torch.backends.cuda.matmul.allow_tf32 = False
    row("linear/f32/4096", lambda: x @ w, flops=2.0 * 4096**3)


def attention_rows():
    for name, b, h, n in [("2048", 8, 16, 2048), ("768", 2, 16, 768), ("mast3r_decoder", 2, 12, 768)]:
        q, k, v = (rand(b, h, n, 64) for _ in range(3))
        row(f"sdpa/f16/{name}", lambda: F.scaled_dot_product_attention(q, k, v), flops=4.0 * b * h * n * n * 64)


def matching_rows():
    n, d = 196608, 24
    q, k = (F.normalize(rand(n, d, dtype=torch.float32), dim=1) for _ in range(2))

    def nearest(block):
        return torch.cat([(q[i : i + block] @ k.T).argmax(1) for i in range(0, n, block)])

    for tf32 in (False, True):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        for block in (2048, 8192):
            name = f"nearest_neighbors/196608x24/{'tf32' if tf32 else 'f32'}/block{block}"
            row(name, lambda: nearest(block), flops=2.0 * n * n * d)
    torch.backends.cuda.matmul.allow_tf32 = False


class Attention(nn.Module):
    def __init__(self, width, heads, cross=False):
        super().__init__()
        self.heads, self.cross = heads, cross
        self.q = nn.Linear(width, width if cross else 3 * width)
        self.kv = nn.Linear(width, 2 * width) if cross else None
        self.out = nn.Linear(width, width)

    def forward(self, x, memory, turn):
        b, n, w = x.shape
        if self.cross:
            q, (k, v) = self.q(x), self.kv(memory).chunk(2, -1)
        else:
            q, k, v = self.q(x).chunk(3, -1)
        q, k, v = (t.view(b, -1, self.heads, w // self.heads).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(turn(q), turn(k), v)
        return self.out(y.transpose(1, 2).reshape(b, n, w))


class Block(nn.Module):
    def __init__(self, width, heads, cross):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width, 1e-6) for _ in range(4 if cross else 2))
        self.attn = Attention(width, heads)
        self.cross = Attention(width, heads, True) if cross else None
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x, memory, turn):
        x = x + self.attn(self.norms[0](x), None, turn)
        if self.cross is not None:
            x = x + self.cross(self.norms[2](x), self.norms[3](memory), turn)
        return x + self.mlp(self.norms[1](x))


class Unit(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.a, self.b = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x):
        return x + self.b(F.relu(self.a(F.relu(x))))


class Head(nn.Module):
    """Dense points by DPT, descriptors by a perceptron on tokens."""

    def __init__(self, widths, patch, layers=(96, 192, 384, 768), features=256):
        super().__init__()
        self.patch = patch
        self.project = nn.ModuleList(nn.Conv2d(w, c, 1) for w, c in zip(widths, layers))
        self.scale = nn.ModuleList([nn.ConvTranspose2d(96, 96, 4, 4), nn.ConvTranspose2d(192, 192, 2, 2), nn.Identity(), nn.Conv2d(768, 768, 3, 2, 1)])
        self.reduce = nn.ModuleList(nn.Conv2d(c, features, 3, padding=1, bias=False) for c in layers)
        self.units = nn.ModuleList(nn.ModuleList([Unit(features), Unit(features)]) for _ in range(4))
        self.outs = nn.ModuleList(nn.Conv2d(features, features, 1) for _ in range(4))
        self.last = nn.ModuleList([nn.Conv2d(features, 128, 3, padding=1), nn.Conv2d(128, 128, 3, padding=1), nn.Conv2d(128, 4, 1)])
        width = widths[0] + widths[3]
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, 25 * patch**2))

    def forward(self, stages, grid):
        b = stages[0].shape[0]
        maps = [s.transpose(1, 2).reshape(b, -1, *grid) for s in stages]
        maps = [r(s(p(m))) for r, s, p, m in zip(self.reduce, self.scale, self.project, maps)]
        x = None
        for i in (3, 2, 1, 0):
            x = maps[i] if x is None else x + self.units[i][0](maps[i])
            x = self.outs[i](F.interpolate(self.units[i][1](x), scale_factor=2, mode="bilinear", align_corners=True))
            if i == 3:
                x = x[:, :, : grid[0], : grid[1]]
        x = F.interpolate(self.last[0](x), scale_factor=self.patch / 8, mode="bilinear", align_corners=True)
        raw = self.last[2](F.relu(self.last[1](x))).permute(0, 2, 3, 1).float()
        length = raw[..., :3].norm(dim=-1, keepdim=True)
        points = raw[..., :3] / length.clamp(min=1e-8) * torch.expm1(length)
        local = self.mlp(torch.cat([stages[0], stages[3]], -1)).transpose(1, 2).reshape(b, -1, *grid)
        local = F.pixel_shuffle(local, self.patch).permute(0, 2, 3, 1).float()
        return points, 1 + raw[..., 3].exp(), F.normalize(local[..., :24], dim=-1), local[..., 24].exp()


class Pair(nn.Module):
    """MASt3R ViT-L; with `dune`, its decoder and heads behind the encoder of DUNE ViT-B, which has learned positions and five more tokens."""

    def __init__(self, size=(384, 512), dune=False):
        super().__init__()
        patch, width, heads, depth = (14, 768, 12, 12) if dune else (16, 1024, 16, 24)
        self.grid = (size[0] // patch, size[1] // patch)
        self.patch = nn.Conv2d(3, width, patch, patch)
        self.encoder = nn.ModuleList(Block(width, heads, False) for _ in range(depth))
        self.extra = nn.Parameter(torch.randn(1, 5, width)) if dune else None
        self.norm, self.embed, self.dec_norm = nn.LayerNorm(width, 1e-6), nn.Linear(width, 768), nn.LayerNorm(768, 1e-6)
        self.decoders = nn.ModuleList(nn.ModuleList(Block(768, 12, True) for _ in range(12)) for _ in range(2))
        self.heads = nn.ModuleList(Head((width, 768, 768, 768), patch) for _ in range(2))
        places = torch.cartesian_prod(torch.arange(self.grid[0]), torch.arange(self.grid[1])).float()
        angles = places[:, :, None] / 100.0 ** (torch.arange(16) / 16.0)
        angles = torch.cat([angles[:, 0], angles[:, 0], angles[:, 1], angles[:, 1]], -1)
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def turn(self, x):
        a, b, c, d = x.chunk(4, -1)
        return x * self.cos + torch.cat([-b, a, -d, c], -1) * self.sin

    def forward(self, images):
        x = self.patch(images).flatten(2).transpose(1, 2)
        if self.extra is None:
            for block in self.encoder:
                x = block(x, None, self.turn)
        else:
            x = torch.cat([self.extra.expand(len(x), -1, -1), x], 1)
            for block in self.encoder:
                x = block(x, None, lambda heads: heads)
            x = x[:, 5:]
        x = self.norm(x)
        first, second = x.chunk(2)
        stages = [[first], [second]]
        a, b = self.embed(x).chunk(2)
        for i in range(12):
            a, b = self.decoders[0][i](a, b, self.turn), self.decoders[1][i](b, a, self.turn)
            if i in (5, 8):
                stages[0].append(a), stages[1].append(b)
        stages[0].append(self.dec_norm(a)), stages[1].append(self.dec_norm(b))
        return [head(s, self.grid) for head, s in zip(self.heads, stages)]


def network_rows():
    torch.manual_seed(0)
    model = Pair().eval().to(device, half)
    with torch.inference_mode():
        for batch in (1, 8):
            images = rand(2 * batch, 3, 384, 512)
            torch.cuda.reset_peak_memory_stats()
            row(f"mast3r_pair/f16/batch{batch}/eager", lambda: model(images))
            print(json.dumps({"name": f"mast3r_pair/f16/batch{batch}/peak_bytes", "bytes": torch.cuda.max_memory_allocated()}), flush=True)
        images = rand(2, 3, 384, 512)
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):
                model(images)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            model(images)
        row("mast3r_pair/f16/batch1/cuda_graph", graph.replay)


if __name__ == "__main__":
    print(json.dumps({"device": torch.cuda.get_device_name(), "torch": torch.__version__}), flush=True)
    with torch.inference_mode():
        memory_rows()
        product_rows()
        attention_rows()
        matching_rows()
    network_rows()
