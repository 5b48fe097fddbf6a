"""Seconds of V-JEPA 2's encoder in PyTorch, to compare with `steropes bench vjepa2/large_16f_256`.

    python pytorch_vjepa2.py [cpu|cuda] [threads] [rounds]

The ViT-L of the published description (24 blocks of 1024 values, 16 heads, tubelets of 2 x 16 x 16, the rotary embedding of three
axes) with random weights, on 16 frames of 256 x 256: fused attention, and on the CPU also whole networks in bf16.
"""

import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

WIDTH, DEPTH, HEADS, FRAMES, SIDE = 1024, 24, 16, 16, 256


def rotary_tables(frames, rows, columns, head_dim=WIDTH // HEADS):
    """Cosines and sines [tokens, head_dim]; the rest of the head is not turned."""
    axis = 2 * (head_dim // 3 // 2)
    frequencies = 10000.0 ** -(torch.arange(axis // 2, dtype=torch.float64) / (axis // 2))
    grid = torch.meshgrid(torch.arange(frames), torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [positions.reshape(-1, 1).double() * frequencies.repeat(2) for positions in grid]
    angles.append(torch.zeros(frames * rows * columns, head_dim - 3 * axis, dtype=torch.float64))
    angles = torch.cat(angles, dim=1)
    return angles.cos().float(), angles.sin().float()


def turned(x, cosines, sines):
    pairs = x.unflatten(-1, (-1, 2))
    partner = torch.stack((-pairs[..., 1], pairs[..., 0]), dim=-1).flatten(-2)
    return x * cosines + partner * sines


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, eps=1e-6), nn.LayerNorm(WIDTH, eps=1e-6)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x, tables):
        qkv = self.qkv(self.norm1(x)).unflatten(-1, (3, HEADS, WIDTH // HEADS)).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        out = F.scaled_dot_product_attention(turned(q, *tables), turned(k, *tables), v)
        x = x + self.proj(out.transpose(1, 2).flatten(2))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = nn.Conv3d(3, WIDTH, (2, 16, 16), (2, 16, 16))
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)

    def forward(self, video, tables):
        x = self.patch(video).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x, tables)
        return self.norm(x)


@torch.inference_mode()
def main():
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    threads, rounds = (int(a) for a in (sys.argv[2:] + ["2", "3"][len(sys.argv[2:]):])[:2])
    torch.set_num_threads(threads)
    tables = [t.to(device) for t in rotary_tables(FRAMES // 2, SIDE // 16, SIDE // 16)]
    encoder = Encoder().eval().to(device)
    for dtype in [torch.float32, torch.bfloat16 if device == "cpu" else torch.float16]:
        for batch in [1] if device == "cpu" else [1, 8]:
            network = encoder.to(dtype)
            video = torch.rand(batch, 3, FRAMES, SIDE, SIDE, device=device).to(dtype)
            kept = [t.to(dtype) for t in tables]
            seconds = []
            for _ in range(rounds + 1):
                start = time.perf_counter()
                network(video, kept)
                if device == "cuda":
                    torch.cuda.synchronize()
                seconds.append(time.perf_counter() - start)
            taken = sorted(seconds[1:])
            print(f"{device} {dtype} batch {batch}: median {taken[len(taken) // 2]:.4f} s, {taken[0]:.4f} to {taken[-1]:.4f}")


main()
