"""How far apart the cameras of two reconstructions of the same photos are: `agreement.py A/cameras.json B/cameras.json`.

The second run is laid onto the first by the similarity that fits the centres best (Umeyama 1991). Angles are those of the
relative rotations, by their sine, which stays exact for small ones; shifts are in percent of the largest distance between
two centres. Needs numpy.
"""

import json
import sys

import numpy as np


def cameras(path):
    return {c["name"]: np.array(c["world_from_camera"]) for c in json.load(open(path))["cameras"] if c["registered"]}


first, second = (cameras(path) for path in sys.argv[1:3])
if set(first) != set(second):
    sys.exit(f"different photos are registered: {sorted(set(first) ^ set(second))}")
a, b = (np.array([run[name] for name in sorted(first)]) for run in (first, second))
centers = [p[:, :3, 3] - p[:, :3, 3].mean(0) for p in (a, b)]
u, spread, vt = np.linalg.svd(centers[0].T @ centers[1])
signs = np.array([1, 1, np.linalg.det(u @ vt)])
turn = u * signs @ vt
scale = (spread * signs).sum() / (centers[1] ** 2).sum()
extent = max(np.linalg.norm(x - y) for x in centers[0] for y in centers[0])
shifts = np.linalg.norm(centers[0] - scale * centers[1] @ turn.T, axis=1) / extent * 100
relative = a[:, :3, :3].transpose(0, 2, 1) @ turn @ b[:, :3, :3]
skew = (relative - relative.transpose(0, 2, 1))[:, [2, 0, 1], [1, 2, 0]] / 2
angles = np.degrees(np.arcsin(np.clip(np.linalg.norm(skew, axis=1), 0, 1)))
print(f"{len(first)} photos: angles at most {angles.max():.4f} degrees, shifts at most {shifts.max():.4f} % of the extent")
