"""Random matrices through `steropes linalg` and `torch.linalg`: errors of both, judged in f64. Needs torch and safetensors.

`linalg.py [CASES] [DEVICE]` with `steropes` on the PATH. Errors are backward errors in units of n times the rounding of the type: residuals by
the norm of the matrix, orthogonality, values by the largest one. Prints a row for each operation and a line for each case that is far worse
than torch, or where one refused what the other took; exits with 1 if there is any.
"""

import collections
import json
import pathlib
import random
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors.numpy import load_file

CASES = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
DEVICE = sys.argv[2] if len(sys.argv) > 2 else "cpu"
rng, pick = np.random.default_rng(0), random.Random(0)
torch.manual_seed(0)
SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40, 48, 63, 64, 65, 80, 100, 129]


def orthogonal(batch, n):
    return np.linalg.qr(rng.standard_normal((*batch, n, n)))[0]


def matrix(batch, m, n):
    """A stack of matrices and what they are."""
    kind = pick.choice(["normal", "normal", "graded", "deficient", "small", "large", "clustered", "zero"])
    a = rng.standard_normal((*batch, m, n))
    if kind == "graded":
        a = a * np.logspace(0, -6, n)
    elif kind == "deficient" and min(m, n) > 1:
        r = pick.randrange(1, min(m, n))
        a = rng.standard_normal((*batch, m, r)) @ rng.standard_normal((*batch, r, n))
    elif kind in ("small", "large"):
        a = a * (1e-12 if kind == "small" else 1e12)
    elif kind == "clustered" and m == n:
        a = orthogonal(batch, n)
    elif kind == "zero":
        a = a * (0.0 if pick.random() < 0.3 else 1.0)
    return a, kind


def symmetric(batch, n):
    a, kind = matrix(batch, n, n)
    if kind == "clustered":
        q = orthogonal(batch, n)
        a = q @ (np.where(np.arange(n) % 2, 1.0, -1.0)[:, None] * np.swapaxes(q, -1, -2))
    return (a + np.swapaxes(a, -1, -2)) / 2, kind


def norm(a):
    return np.sqrt((a.astype(np.float64) ** 2).sum((-1, -2), keepdims=True))


def residual(x, a):
    size = norm(a)
    return float((norm(x - a) / np.where(size > 0, size, 1)).max(initial=0))


def off_identity(q):
    p = np.swapaxes(q, -1, -2) @ q
    return float(np.abs(p - np.eye(p.shape[-1])).max(initial=0))


def values(x, y):
    size = np.abs(y).max(-1, keepdims=True, initial=0)
    return float((np.abs(x - y) / np.where(size > 0, size, 1)).max(initial=0))


def T(a):
    return np.swapaxes(a, -1, -2)


# Each gives the arguments, the command's words, torch's results and the errors of results.
def svd(batch, m, n):
    a, kind = matrix(batch, m, n)
    full = pick.random() < 0.3

    def errors(a, r):
        k = min(m, n)
        return [residual(r["U"][..., :k] * r["S"][..., None, :] @ r["Vh"][..., :k, :], a), off_identity(r["U"]), off_identity(T(r["Vh"])), values(r["S"], np.linalg.svd(a, compute_uv=False))]

    return [a], kind, ["--full-matrices"] * full, lambda a: dict(zip(("U", "S", "Vh"), torch.linalg.svd(a, full_matrices=full))), errors


def svdvals(batch, m, n):
    a, kind = matrix(batch, m, n)
    return [a], kind, [], lambda a: {"S": torch.linalg.svdvals(a)}, lambda a, r: [values(r["S"], np.linalg.svd(a, compute_uv=False))]


def qr(batch, m, n):
    a, kind = matrix(batch, m, n)
    complete = pick.random() < 0.3
    mode = "complete" if complete else "reduced"

    def errors(a, r):
        return [residual(r["Q"] @ r["R"], a), off_identity(r["Q"]), float(np.abs(np.tril(r["R"], -1)).max(initial=0))]

    return [a], kind, ["--complete"] * complete, lambda a: dict(zip("QR", torch.linalg.qr(a, mode))), errors


def eigh(batch, m, n):
    a, kind = symmetric(batch, n)
    upper = pick.random() < 0.3

    def errors(a, r):
        return [residual(r["V"] * r["L"][..., None, :] @ T(r["V"]), a), off_identity(r["V"]), values(r["L"], np.linalg.eigvalsh(a))]

    return [a], kind, ["--upper"] * upper, lambda a: dict(zip("LV", torch.linalg.eigh(a, "U" if upper else "L"))), errors


def cholesky(batch, m, n):
    a, kind = matrix(batch, n, n)
    a = a @ T(a) + (0 if pick.random() < 0.1 else 0.1 * norm(a) ** 2 * np.eye(n))
    return [a], kind, [], lambda a: {"L": torch.linalg.cholesky(a)}, lambda a, r: [residual(r["L"] @ T(r["L"]), a)]


def lu(batch, m, n):
    a, kind = matrix(batch, m, n)
    return [a], kind, [], lambda a: dict(zip("PLU", torch.linalg.lu(a))), lambda a, r: [residual(r["P"] @ r["L"] @ r["U"], a)]


def solve(batch, m, n):
    a, kind = matrix(batch, n, n)
    b = rng.standard_normal((*batch, n, pick.choice([1, 3, 20])))

    def errors(a, b, r):
        size = norm(a) * norm(r["X"]) + norm(b)
        return [float((norm(a @ r["X"] - b) / np.where(size > 0, size, 1)).max(initial=0))]

    return [a, b], kind, [], lambda a, b: {"X": torch.linalg.solve(a, b)}, errors


def inv(batch, m, n):
    a, kind = matrix(batch, n, n)

    def errors(a, r):
        size = norm(a) * norm(r["inverse"])
        return [float((norm(a @ r["inverse"] - np.eye(n)) / np.where(size > 0, size, 1)).max(initial=0))]

    return [a], kind, [], lambda a: {"inverse": torch.linalg.inv(a)}, errors


def det(batch, m, n):
    n = min(n, 24)
    a, kind = rng.standard_normal((*batch, n, n)), "normal"
    return [a], kind, [], lambda a: {"det": torch.linalg.det(a)}, lambda a, r: [values(r["det"][..., None], np.linalg.det(a)[..., None])]


def slogdet(batch, m, n):
    a, kind = rng.standard_normal((*batch, n, n)), "normal"

    def errors(a, r):
        sign, logarithm = np.linalg.slogdet(a)
        return [float(np.abs(r["sign"] - sign).max(initial=0)), float(np.abs(r["logabsdet"] - logarithm).max(initial=0))]

    return [a], kind, [], lambda a: dict(zip(("sign", "logabsdet"), torch.linalg.slogdet(a))), errors


def lstsq(batch, m, n):
    m, n = max(m, n), min(m, n)
    a, kind = rng.standard_normal((*batch, m, n)), "normal"
    b = rng.standard_normal((*batch, m, 2))

    def errors(a, b, r):
        return [float((norm(T(a) @ (a @ r["X"] - b)) / (norm(a) ** 2 * norm(r["X"]) + norm(a) * norm(b))).max(initial=0))]

    return [a, b], kind, [], lambda a, b: {"X": torch.linalg.lstsq(a, b, driver="gels").solution}, errors


def pinv(batch, m, n):
    a, kind = matrix(batch, m, n)

    def errors(a, r):
        x = r["pinv"]
        size = norm(a) ** 2 * norm(x)
        return [float((norm(a @ x @ a - a) / np.where(size > 0, size, 1)).max(initial=0))]

    return [a], kind, [], lambda a: {"pinv": torch.linalg.pinv(a)}, errors


def matrix_rank(batch, m, n):
    a, kind = matrix(batch, m, n)
    return [a], kind, [], lambda a: {"rank": torch.linalg.matrix_rank(a)}, lambda a, r: []


def condition(a, p):
    if p != "nuc":
        return np.linalg.cond(a, p)
    return np.linalg.norm(a, "nuc", (-2, -1)) * np.linalg.norm(np.linalg.inv(a), "nuc", (-2, -1))


def cond(batch, m, n):
    a, kind = rng.standard_normal((*batch, n, n)) + 2 * np.sqrt(n) * np.eye(n), "normal"
    p = pick.choice([2, -2, 1, -1, np.inf, -np.inf, "fro", "nuc"])
    if p in (1, -1, np.inf, -np.inf, "fro") and pick.random() < 0.1:
        a[..., pick.randrange(n)] = 0
        kind = "singular"

    def errors(a, r):
        want = condition(a, p)
        if kind == "singular":
            return [0.0 if np.isposinf(r["cond"]).all() and np.isposinf(want).all() else np.inf]
        return [values(r["cond"][..., None], want[..., None])]

    return [a], kind, ["-p", str(p)], lambda a: {"cond": torch.linalg.cond(a, p)}, errors


def svd_lowrank(batch, m, n):
    q, niter = pick.choice([1, 2, 6, 12]), pick.choice([0, 1, 2, 4])
    a, kind = matrix(batch, m, n)
    rank = pick.randrange(1, q + 1)
    if pick.random() < 0.5:
        a, kind = rng.standard_normal((*batch, m, rank)) @ rng.standard_normal((*batch, rank, n)), "low rank"

    def errors(a, r):
        # Whatever range was found, it is the best basis of it; a range of the whole rank gives the matrix.
        u, s, v = r["U"], r["S"], r["V"]
        size = np.maximum(norm(a), 1e-300)
        inside = T(u) @ a @ v - s[..., None, :] * np.eye(s.shape[-1])
        found = [float((norm(inside) / size).max(initial=0)), off_identity(u), off_identity(v)]
        return found + ([residual(u * s[..., None, :] @ T(v), a)] if kind == "low rank" else [])

    words = ["-q", str(q), "--niter", str(niter), "--seed", str(pick.randrange(100))]
    return [a], kind, words, lambda a: dict(zip("USV", torch.svd_lowrank(a, q=q, niter=niter))), errors


def matrix_exp(batch, m, n):
    a, kind = rng.standard_normal((*batch, n, n)) / np.sqrt(n) * pick.choice([0.01, 0.5, 3.0]), "normal"

    def errors(a, r):
        return [residual(r["exp"], torch.linalg.matrix_exp(torch.from_numpy(a)).numpy())]

    return [a], kind, [], lambda a: {"exp": torch.linalg.matrix_exp(a)}, errors


OPERATIONS = [svd, svd, svdvals, svd_lowrank, qr, qr, eigh, eigh, cholesky, lu, solve, inv, det, slogdet, lstsq, pinv, matrix_rank, cond, cond, matrix_exp]
table, complaints = collections.defaultdict(lambda: [0, [], [], 0]), []
with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    for case in range(CASES):
        make = pick.choice(OPERATIONS)
        batch = pick.choice([(), (), (1,), (3,), (2, 2), (17,)])
        m, n = pick.choice(SIZES), pick.choice(SIZES)
        if len(batch) and max(m, n) > 64:
            batch = (2,)
        arguments, kind, words, reference, errors = make(batch, m, n)
        f64 = DEVICE == "cpu" and pick.random() < 0.3
        dtype, eps = (np.float64, 2.0**-53) if f64 else (np.float32, 2.0**-24)
        arguments = [a.astype(dtype) for a in arguments]
        files = []
        for i, a in enumerate(arguments):
            files.append(folder / f"{i}.npy")
            np.save(files[-1], np.asfortranarray(a) if pick.random() < 0.2 else a)
        output = folder / "out.safetensors"
        command = make.__name__.replace("_", "-")
        run = subprocess.run(["steropes", "linalg", command, *files, *words, "--device", DEVICE, "--json", "--force", "-o", output], capture_output=True, text=True)
        row = table[make.__name__]
        row[0] += 1
        what = f"{command} {[a.shape for a in arguments]} {kind} {np.dtype(dtype)} {' '.join(words)}"
        try:
            torch_results = {k: v.numpy() for k, v in reference(*map(torch.from_numpy, arguments)).items()}
        except RuntimeError as error:
            torch_results = str(error)
        if run.returncode or isinstance(torch_results, str):
            row[3] += 1
            if not (run.returncode and isinstance(torch_results, str)):
                complaints.append(f"{what}: steropes {run.stderr.strip() or 'took it'}; torch {torch_results if isinstance(torch_results, str) else 'took it'}")
            continue
        results = load_file(output)
        for name, array in torch_results.items():
            if results[name].shape != array.shape:
                complaints.append(f"{what}: {name} is {results[name].shape}, of torch {array.shape}")
        if make is matrix_rank and not (results["rank"] == torch_results["rank"]).all():
            complaints.append(f"{what}: ranks {results['rank'].tolist()}, of torch {torch_results['rank'].tolist()}")
        wide = [a.astype(np.float64) for a in arguments]
        unit = max(max(a.shape[-2:]) for a in arguments) * eps
        with np.errstate(all="ignore"):
            ours = max(errors(*wide, {k: v.astype(np.float64) for k, v in results.items()}), default=0) / unit
            theirs = max(errors(*wide, {k: v.astype(np.float64) for k, v in torch_results.items()}), default=0) / unit
        row[1].append(ours)
        row[2].append(theirs)
        if not ours <= max(10 * theirs, 20):
            complaints.append(f"{what}: error {ours:.2g}, of torch {theirs:.2g}")
print("| operation | cases | refused by both | error: median, largest | of torch |\n|---|---|---|---|---|")
for name, (count, ours, theirs, refused) in sorted(table.items()):
    show = lambda e: f"{np.median(e):.2g}, {max(e):.2g}" if e else ""
    print(f"| {name} | {count} | {refused} | {show(ours)} | {show(theirs)} |")
print(*complaints, sep="\n")
sys.exit(bool(complaints))
