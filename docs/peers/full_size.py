"""Golden cases of the published sizes, too large to be kept: `full_size.py FOLDER [NAME..]`, then `cargo xtask golden FOLDER`.

Needs torch and safetensors. The networks are written from their published description, in plain calls of PyTorch, and share no code with
this repository; weights and images are generated from their names, as for the small cases. Run with the small cases' sizes (`tiny`), it
gives the stored outputs of the reference programs, so it may stand for them where these are not at hand.
"""

import json
import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

VIT_L = dict(enc_embed_dim=1024, enc_depth=24, enc_num_heads=16, dec_embed_dim=768, dec_depth=12, dec_num_heads=12, patch=16)
DUNE = dict(enc_depth=12, dec_embed_dim=768, dec_depth=12, dec_num_heads=12, patch=14, head="catmlp+dpt", registers=4, pos_grid=32)
DUNE_S = DUNE | dict(enc_embed_dim=384, enc_num_heads=6, dune_embed=384, dune_heads=6)
DUNE_B = DUNE | dict(enc_embed_dim=768, enc_num_heads=12, dune_embed=768, dune_heads=12)
TINY = dict(enc_embed_dim=128, enc_depth=2, enc_num_heads=2, dec_embed_dim=192, dec_depth=10, dec_num_heads=3, patch=16)
NETWORKS = {
    "tiny": (TINY | dict(head="catmlp+dpt"), (48, 80), (80, 48)),
    "mast3r_full": (VIT_L | dict(head="catmlp+dpt"), (384, 512), (384, 512)),
    "mast3r_full_mixed": (VIT_L | dict(head="catmlp+dpt"), (288, 512), (512, 384)),
    "dust3r_full_dpt": (VIT_L | dict(head="dpt"), (384, 512), (384, 512)),
    "dust3r_full_linear": (VIT_L | dict(head="linear"), (224, 224), (224, 224)),
    "dune_small_full": (DUNE_S, (336, 448), (336, 448)),
    "dune_base_full": (DUNE_B, (378, 518), (378, 518)),
}


def uniform(name, count):
    """FNV-1a of the name, then the splitmix64 finaliser; in [-1, 1)."""
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = ((h ^ byte) * 0x100000001B3) % 2**64
    z = np.uint64(h) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z ^= z >> np.uint64(shift)
        z *= np.uint64(factor)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float64) / 2**24 * 2 - 1


def generated(name, *shape):
    u = uniform(name, int(np.prod(shape)))
    *path, leaf = name.split(".")
    if leaf == "gamma":
        u = 0.5 + 0.25 * u
    elif leaf == "weight" and any(p.startswith("norm") or p in ("enc_norm", "dec_norm") for p in path):
        u = 1 + 0.2 * u
    elif leaf == "bias":
        u = 0.1 * u
    elif leaf in ("cls_token", "register_tokens", "pos_embed"):
        u = 0.5 * u
    else:
        is_transposed = name.endswith(("act_postprocess.0.1.weight", "act_postprocess.1.1.weight"))
        u = u * np.sqrt(3 / (shape[0] if is_transposed else np.prod(shape[1:])))
    if name.endswith("dpt.head.4.weight"):
        u = u * 0.05
    if name.endswith(("_head1.proj.weight", "_head2.proj.weight")):
        u = u * 0.25
    return torch.from_numpy(u.astype(np.float32).reshape(shape))


def linear(name, x, outputs):
    return F.linear(x, generated(f"{name}.weight", outputs, x.shape[-1]), generated(f"{name}.bias", outputs))


def conv(name, x, outputs, size, stride=1, bias=True):
    weight = generated(f"{name}.weight", outputs, x.shape[1], size, size)
    return F.conv2d(x, weight, generated(f"{name}.bias", outputs) if bias else None, stride, size // 2)


def norm(name, x, eps=1e-6):
    width = x.shape[-1]
    return F.layer_norm(x, (width,), generated(f"{name}.weight", width), generated(f"{name}.bias", width), eps)


def turned(x, places):
    """Rotary positions: of a head the first half turns with y, the second with x."""
    quarter = x.shape[-1] // 4
    halves = []
    for half, place in zip(x.chunk(2, -1), (places[:, 0], places[:, 1])):
        angle = place[:, None].double() * 100.0 ** (-torch.arange(quarter).double() / quarter)
        cos, sin = angle.cos().float(), angle.sin().float()
        u, v = half.chunk(2, -1)
        halves.append(torch.cat([u * cos - v * sin, v * cos + u * sin], -1))
    return torch.cat(halves, -1)


def attend(q, k, v, heads, places):
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    if places is not None:
        q, k = turned(q, places[0]), turned(k, places[1])
    y = torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, -1) @ v
    return y.transpose(1, 2).flatten(2)


def mlp(name, x):
    width = x.shape[-1]
    return linear(f"{name}.fc2", F.gelu(linear(f"{name}.fc1", x, 4 * width)), width)


def grid_places(grid):
    return torch.cartesian_prod(torch.arange(grid[0]), torch.arange(grid[1]))


def encoded(config, image):
    """Tokens behind the encoder's last norm, and their grid."""
    patch, width, heads = config["patch"], config["enc_embed_dim"], config["enc_num_heads"]
    grid = [extent // patch for extent in image.shape[2:]]
    weight = lambda name: (generated(f"{name}.weight", width, 3, patch, patch), generated(f"{name}.bias", width))
    if "dune_embed" not in config:
        x = F.conv2d(image, *weight("patch_embed.proj"), patch).flatten(2).transpose(1, 2)
        places = grid_places(grid)
        for i in range(config["enc_depth"]):
            block = f"enc_blocks.{i}"
            a = norm(f"{block}.norm1", x)
            q, k, v = linear(f"{block}.attn.qkv", a, 3 * width).chunk(3, -1)
            x = x + linear(f"{block}.attn.proj", attend(q, k, v, heads, (places, places)), width)
            x = x + mlp(f"{block}.mlp", norm(f"{block}.norm2", x))
        return norm("enc_norm", x), grid
    root = "dune_backbone."
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x = F.conv2d((image * 0.5 + 0.5 - mean) / std, *weight(f"{root}patch_embed.proj"), patch).flatten(2).transpose(1, 2)
    side = config["pos_grid"]
    cls_place, table = generated(f"{root}pos_embed", 1, 1 + side * side, width).split((1, side * side), 1)
    if grid[0] * grid[1] != side * side or image.shape[2] != image.shape[3]:
        table = table.reshape(1, side, side, width).permute(0, 3, 1, 2)
        factors = tuple((extent + 0.1) / side for extent in grid)
        table = F.interpolate(table, scale_factor=factors, mode="bicubic").flatten(2).transpose(1, 2)
    cls = generated(f"{root}cls_token", 1, 1, width) + cls_place
    registers = generated(f"{root}register_tokens", 1, config["registers"], width)
    x = torch.cat([cls, registers, x + table], 1)
    for i in range(config["enc_depth"]):
        block = f"{root}blocks.0.{i}"
        q, k, v = linear(f"{block}.attn.qkv", norm(f"{block}.norm1", x), 3 * width).chunk(3, -1)
        y = linear(f"{block}.attn.proj", attend(q, k, v, heads, None), width)
        x = x + generated(f"{block}.ls1.gamma", width) * y
        x = x + generated(f"{block}.ls2.gamma", width) * mlp(f"{block}.mlp", norm(f"{block}.norm2", x))
    return norm("norm", x[:, 1 + config["registers"] :], 1e-5), grid


def decoder_block(name, x, memory, heads, places):
    width = x.shape[-1]
    q, k, v = linear(f"{name}.attn.qkv", norm(f"{name}.norm1", x), 3 * width).chunk(3, -1)
    x = x + linear(f"{name}.attn.proj", attend(q, k, v, heads, (places[0], places[0])), width)
    memory = norm(f"{name}.norm_y", memory)
    q = linear(f"{name}.cross_attn.projq", norm(f"{name}.norm2", x), width)
    k, v = (linear(f"{name}.cross_attn.{p}", memory, width) for p in ("projk", "projv"))
    x = x + linear(f"{name}.cross_attn.proj", attend(q, k, v, heads, places), width)
    return x + mlp(f"{name}.mlp", norm(f"{name}.norm3", x))


def unit(name, x):
    return x + conv(f"{name}.conv2", F.relu(conv(f"{name}.conv1", F.relu(x), 256, 3)), 256, 3)


def upsampled(x, factor):
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=True)


def dpt(name, tokens, grid, patch):
    maps = [t.transpose(1, 2).unflatten(2, grid) for t in tokens]
    for i, width in enumerate((96, 192, 384, 768)):
        stage = f"{name}.act_postprocess.{i}"
        x = conv(f"{stage}.0", maps[i], width, 1)
        if i < 2:
            size = (4, 2)[i]
            x = F.conv_transpose2d(x, generated(f"{stage}.1.weight", width, width, size, size), generated(f"{stage}.1.bias", width), size)
        if i == 3:
            x = conv(f"{stage}.1", x, width, 3, stride=2)
        # A file has these under two names; the values are those of the second.
        maps[i] = conv(f"{name}.scratch.layer{i + 1}_rn", x, 256, 3, bias=False)
    x = None
    for i in (3, 2, 1, 0):
        stage = f"{name}.scratch.refinenet{i + 1}"
        x = maps[i] if x is None else x + unit(f"{stage}.resConfUnit1", maps[i])
        x = conv(f"{stage}.out_conv", upsampled(unit(f"{stage}.resConfUnit2", x), 2), 256, 1)
        if i == 3:
            x = x[:, :, : grid[0], : grid[1]]
    x = upsampled(conv(f"{name}.head.0", x, 128, 3), patch / 8)
    return conv(f"{name}.head.4", F.relu(conv(f"{name}.head.2", x, 128, 3)), 4, 1)


def head(name, config, tokens, grid):
    patch, depth = config["patch"], config["dec_depth"]
    if config["head"] == "linear":
        raw = F.pixel_shuffle(linear(f"{name}.proj", tokens[-1], 4 * patch**2).transpose(1, 2).unflatten(2, grid), patch)
    else:
        raw = dpt(f"{name}.dpt", [tokens[k] for k in (0, depth * 2 // 4, depth * 3 // 4, depth)], grid, patch)
    raw = raw.permute(0, 2, 3, 1)
    length = raw[..., :3].norm(dim=-1, keepdim=True)
    out = {"pts3d": raw[..., :3] / length.clamp(min=1e-8) * torch.expm1(length), "conf": 1 + raw[..., 3].exp()}
    if config["head"] == "catmlp+dpt":
        z = torch.cat([tokens[0], tokens[-1]], -1)
        z = F.gelu(linear(f"{name}.head_local_features.fc1", z, 4 * z.shape[-1]))
        z = linear(f"{name}.head_local_features.fc2", z, 25 * patch**2)
        z = F.pixel_shuffle(z.transpose(1, 2).unflatten(2, grid), patch).permute(0, 2, 3, 1)
        out |= {"desc": F.normalize(z[..., :24], dim=-1, eps=0), "desc_conf": z[..., 24].exp()}
    return out


def pair(config, images):
    root = "mast3r." if "dune_embed" in config else ""
    views = [encoded(config, image) for image in images]
    places = [grid_places(grid) for _, grid in views]
    width, heads = config["dec_embed_dim"], config["dec_num_heads"]
    a, b = (linear(f"{root}decoder_embed", x, width) for x, _ in views)
    tokens = [[views[0][0]], [views[1][0]]]
    for i in range(config["dec_depth"]):
        a, b = (
            decoder_block(f"{root}dec_blocks.{i}", a, b, heads, places),
            decoder_block(f"{root}dec_blocks2.{i}", b, a, heads, places[::-1]),
        )
        tokens[0].append(a), tokens[1].append(b)
    for t in tokens:
        t[-1] = norm(f"{root}dec_norm", t[-1])
    outputs = {}
    for view in (0, 1):
        for key, value in head(f"{root}downstream_head{view + 1}", config, tokens[view], views[view][1]).items():
            outputs[f"view{view + 1}.{key}"] = value.contiguous()
    return outputs


if __name__ == "__main__":
    folder, names = pathlib.Path(sys.argv[1]), sys.argv[2:] or list(NETWORKS)
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {}
    for name in names:
        config, first, second = NETWORKS[name]
        images = [
            torch.from_numpy(uniform(f"{name}.img{i}", 3 * h * w).astype(np.float32).reshape(1, 3, h, w))
            for i, (h, w) in ((1, first), (2, second))
        ]
        with torch.inference_mode():
            outputs = pair(config, images)
        save_file(outputs, folder / f"{name}.safetensors")
        shapes = {key: list(value.shape) for key, value in outputs.items()}
        manifest[name] = {"tag": name, "config": config, "img1_HW": first, "img2_HW": second, "tensors": shapes, "notes": ""}
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
        print(name, flush=True)
