use super::gpu::{self, Form, Matrix, Plain, Task};
use super::{Heads, checked, reference, sdpa, sdpa_bf16};
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{
    Case, Tolerance, Verdict, bf16_tensor, case, check_close, check_equal, cpu_case, expect_error, f16_case,
    f16_tensor, floats, gpu_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("sdpa/oracle/one_value", |d| against_oracle(d, [1, 1, 1, 1, 1], 0.7)),
        case("sdpa/oracle/odd_sizes", |d| against_oracle(d, [2, 17, 23, 3, 20], 0.2)),
        case("sdpa/oracle/head_dim_is_no_multiple", |d| against_oracle(d, [2, 19, 37, 2, 13], 0.3)),
        case("sdpa/oracle/two_steps_of_keys", |d| against_oracle(d, [1, 31, 401, 2, 37], 0.5)),
        case("sdpa/oracle/many_steps_of_keys", |d| against_oracle(d, [1, 5, 1549, 1, 64], 1.0)),
        case("sdpa/oracle/negative_scale", |d| against_oracle(d, [1, 7, 450, 2, 12], -0.4)),
        case("sdpa/oracle/mast3r_encoder", |d| against_oracle(d, [1, 768, 768, 16, 64], 0.125)),
        case("sdpa/oracle/mast3r_decoder_cross", |d| against_oracle(d, [1, 768, 1536, 12, 64], 0.125)),
        case("sdpa/oracle/tiny_decoder", |d| against_oracle(d, [2, 432, 432, 3, 64], 0.125)),
        case("sdpa/oracle/vjepa2_heads", |d| vjepa2_heads(|h| against_oracle(d, [2, 37, 53, 2, h], 0.1))),
        f16_case("sdpa/f16/vjepa2_heads", |d| {
            vjepa2_heads(|h| f16_against_oracle(d, [2, 37, 53, 2, h], 0.1))
        }),
        cpu_case("sdpa/bf16/vjepa2_heads", |d| {
            vjepa2_heads(|h| bf16_against_oracle(d, [2, 37, 53, 2, h], 0.1))
        }),
        case("sdpa/oracle/sharp_scores", sharp_scores),
        case("sdpa/heads/of_one_tensor", |d| heads_of_one_tensor(d, DType::F32, [2, 45, 3, 20])),
        case("sdpa/heads/no_multiple", |d| heads_of_one_tensor(d, DType::F32, [2, 37, 2, 13])),
        f16_case("sdpa/heads/f16", |d| heads_of_one_tensor(d, DType::F16, [2, 75, 3, 64])),
        case("sdpa/heads/of_two_tensors", heads_of_two_tensors),
        gpu_case("sdpa/heads/small_bindings", heads_in_small_bindings),
        f16_case("sdpa/heads/matrix", heads_as_matrices),
        f16_case("sdpa/f16/odd_sizes", |d| f16_against_oracle(d, [2, 17, 23, 3, 20], 0.2)),
        f16_case("sdpa/f16/head_dim_is_no_multiple", |d| f16_against_oracle(d, [2, 19, 37, 2, 13], 0.3)),
        f16_case("sdpa/f16/one_key", |d| f16_against_oracle(d, [2, 19, 1, 2, 64], 0.3)),
        f16_case("sdpa/f16/ragged_cross", |d| f16_against_oracle(d, [2, 75, 203, 2, 64], 0.125)),
        f16_case("sdpa/f16/long_heads", |d| f16_against_oracle(d, [1, 70, 90, 2, 96], 0.1)),
        f16_case("sdpa/f16/mast3r_encoder", |d| f16_against_oracle(d, [1, 768, 768, 2, 64], 0.125)),
        f16_case("sdpa/f16/rising_scores", f16_rising_scores),
        gpu_case("sdpa/plain/every_cut", plain_cuts),
        f16_case("sdpa/matrix/tile_16", |d| matrix_against_oracle(d, small_matrix(16), [1, 19, 53, 2, 24])),
        f16_case("sdpa/matrix/tile_8", |d| matrix_against_oracle(d, small_matrix(8), [2, 19, 37, 2, 16])),
        f16_case("sdpa/matrix/two_of_everything", |d| {
            matrix_against_oracle(d, large_matrix(), [2, 75, 53, 2, 16])
        }),
        f16_case("sdpa/matrix/rising_scores", matrix_rising_scores),
        cpu_case("sdpa/bf16/one_value", |d| bf16_against_oracle(d, [1, 1, 1, 1, 1], 0.7)),
        cpu_case("sdpa/bf16/odd_sizes", |d| bf16_against_oracle(d, [2, 17, 23, 3, 20], 0.2)),
        cpu_case("sdpa/bf16/two_steps_of_keys", |d| bf16_against_oracle(d, [1, 31, 401, 2, 37], 0.5)),
        cpu_case("sdpa/bf16/mast3r_encoder", |d| bf16_against_oracle(d, [1, 768, 768, 2, 64], 0.125)),
        cpu_case("sdpa/bf16/mast3r_decoder_cross", |d| bf16_against_oracle(d, [1, 432, 1536, 2, 64], 0.125)),
        cpu_case("sdpa/bf16/every_tile_edge", bf16_tile_edges),
        cpu_case("sdpa/bf16/late_maximum_wins", bf16_late_maximum),
        cpu_case("sdpa/bf16/arguments_are_rounded_at_most", bf16_rounds_arguments),
        cpu_case("sdpa/bf16/heads_of_one_tensor", bf16_heads),
        cpu_case("sdpa/bf16/nan_stays_in_its_query", |d| nan_in_its_query(d, bf16)),
        cpu_case("sdpa/bf16/queries_are_independent", |d| independent_queries(d, bf16)),
        cpu_case("sdpa/bf16/no_queries", |d| without_queries(d, bf16)),
        gpu_case("sdpa/bf16/gpus_refuse_it", bf16_on_a_gpu),
        gpu_case("sdpa/gpu/small_bindings", small_bindings),
        gpu_case("sdpa/gpu/long_heads", |d| against_oracle(d, [1, 35, 41, 2, 256], 0.05)),
        case("sdpa/property/same_bits_twice", same_bits_twice),
        case("sdpa/property/every_tile_edge", every_tile_edge),
        case("sdpa/property/late_maximum_wins", late_maximum_wins),
        case("sdpa/property/equal_values_are_returned", equal_values_are_returned),
        case("sdpa/property/order_of_keys_is_free", order_of_keys_is_free),
        case("sdpa/property/large_scores_are_finite", large_scores_are_finite),
        case("sdpa/property/scores_far_below_zero", scores_far_below_zero),
        case("sdpa/property/queries_are_independent", |d| independent_queries(d, run)),
        case("sdpa/property/nan_stays_in_its_query", |d| nan_in_its_query(d, run)),
        cpu_case("sdpa/property/infinite_values_come_out", infinite_values),
        cpu_case("sdpa/property/small_and_large_values", small_and_large_values),
        case("sdpa/property/no_queries", |d| without_queries(d, run)),
        case("sdpa/error/q_rank", q_rank),
        case("sdpa/error/q_dtype", q_dtype),
        case("sdpa/error/k_shape", k_shape),
        case("sdpa/error/no_keys", no_keys),
        case("sdpa/error/k_dtype", k_dtype),
        case("sdpa/error/v_shape", v_shape),
        case("sdpa/error/v_dtype", v_dtype),
        gpu_case("sdpa/error/devices", devices),
        gpu_case("sdpa/error/keys_beyond_a_binding", keys_beyond_a_binding),
        case("sdpa/error/heads", too_few_heads),
        case("sdpa/error/scale", scale),
    ]
}

fn random(device: &Device, name: &str, shape: &[usize]) -> Tensor {
    tensor(device, shape, normal(name, shape.iter().product()))
}

fn tensor(device: &Device, shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::new(device, shape, values).expect("a test's shape fits its values")
}

/// An attention as the checks call it.
type Attention = fn(&Tensor, &Tensor, &Tensor, f32) -> Result<Vec<f32>, String>;

fn run(q: &Tensor, k: &Tensor, v: &Tensor, scale: f32) -> Result<Vec<f32>, String> {
    let out = sdpa(q, k, v, scale).map_err(|e| e.to_string())?;
    check_equal(out.shape(), q.shape())?;
    check_equal(&[out.dtype()], &[q.dtype()])?;
    floats(&out)
}

fn bf16(q: &Tensor, k: &Tensor, v: &Tensor, scale: f32) -> Result<Vec<f32>, String> {
    let out = sdpa_bf16(q, k, v, scale).map_err(|e| e.to_string())?;
    check_equal(out.shape(), q.shape())?;
    floats(&out)
}

/// The rows `[batch, query, head]` to check: all of few, else every 211th and the last.
fn checked_rows(rows: usize) -> impl Iterator<Item = usize> {
    (0..rows).filter(move |r| rows <= 300 || r % 211 == 0 || r + 1 == rows)
}

fn compare(q: &Tensor, k: &Tensor, v: &Tensor, scale: f32, tolerance: Tolerance) -> Verdict {
    check(&run(q, k, v, scale)?, [q, k, v], scale, tolerance)
}

/// Compares what an attention returned with the oracle on the values that its arguments hold.
fn check(got: &[f32], [q, k, v]: [&Tensor; 3], scale: f32, tolerance: Tolerance) -> Verdict {
    let &[batch, queries, heads, head_dim] = q.shape() else { return Err("rank".to_owned()) };
    let keys = k.shape()[1];
    let (q, k, v) = (floats(q)?, floats(k)?, floats(v)?);
    let (mut picked, mut want) = (Vec::new(), Vec::new());
    for row in checked_rows(batch * queries * heads) {
        let (b, h) = (row / (queries * heads), row % heads);
        let tokens = |x: &'_ [f32]| -> Vec<Vec<f32>> {
            (0..keys).map(|j| x[((b * keys + j) * heads + h) * head_dim..][..head_dim].to_vec()).collect()
        };
        let (keys, values) = (tokens(&k), tokens(&v));
        let keys: Vec<&[f32]> = keys.iter().map(Vec::as_slice).collect();
        let values: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
        want.extend(reference::attend(&q[row * head_dim..][..head_dim], &keys, &values, f64::from(scale)));
        picked.extend_from_slice(&got[row * head_dim..][..head_dim]);
    }
    check_close(&picked, &want, tolerance)
}

fn against_oracle(
    device: &Device,
    [batch, queries, keys, heads, head_dim]: [usize; 5],
    scale: f32,
) -> Verdict {
    let q = random(device, "sdpa/q", &[batch, queries, heads, head_dim]);
    let k = random(device, "sdpa/k", &[batch, keys, heads, head_dim]);
    let v = random(device, "sdpa/v", &[batch, keys, heads, head_dim]);
    // Each weight carries the relative error of its score, a sum of `head_dim` products of about unit size.
    compare(&q, &k, &v, scale, Tolerance::Sum { depth: head_dim + keys })
}

fn random_f16(device: &Device, [batch, queries, keys, heads, head_dim]: [usize; 5]) -> [Tensor; 3] {
    [("sdpa/q", queries), ("sdpa/k", keys), ("sdpa/v", keys)].map(|(name, tokens)| {
        let shape = [batch, tokens, heads, head_dim];
        f16_tensor(device, &shape, &normal(name, shape.iter().product())).0
    })
}

fn f16_against_oracle(device: &Device, extents: [usize; 5], scale: f32) -> Verdict {
    let [q, k, v] = random_f16(device, extents);
    compare(&q, &k, &v, scale, Tolerance::OfLargest(1e-3))
}

/// Arguments that bf16 holds.
fn random_bf16(device: &Device, [batch, queries, keys, heads, head_dim]: [usize; 5]) -> [Tensor; 3] {
    [("sdpa/q", queries), ("sdpa/k", keys), ("sdpa/v", keys)].map(|(name, tokens)| {
        let shape = [batch, tokens, heads, head_dim];
        let (_, values) = bf16_tensor(device, &shape, &normal(name, shape.iter().product()));
        tensor(device, &shape, values)
    })
}

/// So many roundings to bf16 of values as large as the largest, beside what the products and sums lose.
fn bf16_roundings(v: &Tensor, times: f64) -> Result<Tolerance, String> {
    let largest = floats(v)?.into_iter().fold(0.0, |a: f32, b| a.max(b.abs()));
    Ok(Tolerance::Absolute(times * f64::from(largest) / 512.0 + 1e-5))
}

fn bf16_against_oracle(device: &Device, extents: [usize; 5], scale: f32) -> Verdict {
    let [q, k, v] = random_bf16(device, extents);
    // Of the weights alone.
    check(&bf16(&q, &k, &v, scale)?, [&q, &k, &v], scale, bf16_roundings(&v, 1.0)?)
}

fn bf16_tile_edges(device: &Device) -> Verdict {
    for queries in [1, 13, 14, 15, 28, 29, 31, 32, 33, 63, 64, 65] {
        for keys in [1, 2, 15, 31, 32, 33, 63, 64, 383, 384, 385] {
            for head_dim in [1, 2, 15, 16, 17, 31, 32, 33] {
                bf16_against_oracle(device, [1, queries, keys, 1, head_dim], 0.3)
                    .map_err(|e| format!("{queries} queries, {keys} keys of {head_dim}: {e}"))?;
            }
        }
    }
    Ok(())
}

fn bf16_late_maximum(device: &Device) -> Verdict {
    let keys = 1200;
    let q = tensor(device, &[1, 16, 1, 1], (0..16).map(|i| 0.5 + i as f32 / 16.0).collect());
    let (_, heights) = bf16_tensor(device, &[keys], &(0..keys).map(|j| j as f32 / 20.0).collect::<Vec<_>>());
    let k = tensor(device, &[1, keys, 1, 1], heights);
    let v = random(device, "sdpa/v", &[1, keys, 1, 1]);
    check(&bf16(&q, &k, &v, 1.0)?, [&q, &k, &v], 1.0, bf16_roundings(&v, 2.0)?)
}

/// Queries, keys and values of f32: scores are off by a few 2^-9, which is a relative error of their weights.
fn bf16_rounds_arguments(device: &Device) -> Verdict {
    let [q, k, v] = ["q", "k", "v"].map(|name| random(device, name, &[1, 40, 2, 24]));
    check(&bf16(&q, &k, &v, 0.2)?, [&q, &k, &v], 0.2, bf16_roundings(&v, 4.0)?)
}

fn bf16_heads(device: &Device) -> Verdict {
    let [all, q, k, v] = thirds(device, DType::F32, [2, 45, 3, 20]);
    let [some_q, some_k, some_v] = as_heads(&all);
    let got = sdpa_bf16(some_q, some_k, some_v, 0.3).map_err(|e| e.to_string())?;
    check_equal(&floats(&got)?, &bf16(&q, &k, &v, 0.3)?)
}

fn bf16_on_a_gpu(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[1, 2, 3, 4]);
    expect_error(sdpa_bf16(&x, &x, &x, 1.0), "products of bf16 run on the CPU only")
}

/// Scores that rise by far more than 2^8 from key to key and then fall, with noise: sums are scaled again and again.
fn rising(device: &Device, head_dim: usize, height: impl Fn(usize) -> f32) -> [Tensor; 3] {
    let (queries, keys) = (37, 75);
    let mut q = normal("sdpa/q", queries * head_dim);
    let mut k = normal("sdpa/k", keys * head_dim);
    q.chunks_exact_mut(head_dim).enumerate().for_each(|(i, x)| x[0] = i as f32 / queries as f32 * 8.0 - 2.0);
    k.chunks_exact_mut(head_dim).enumerate().for_each(|(i, x)| x[0] = height(i));
    [
        f16_tensor(device, &[1, queries, 1, head_dim], &q).0,
        f16_tensor(device, &[1, keys, 1, head_dim], &k).0,
        f16_tensor(device, &[1, keys, 1, head_dim], &normal("sdpa/v", keys * head_dim)).0,
    ]
}

/// Up to 240 for the last queries, key by key.
fn slope(key: usize) -> f32 {
    key.min(66) as f32 / 75.0 * 40.0
}

/// By up to 2400 at once, whose exponential no f32 holds.
fn cliff(key: usize) -> f32 {
    if key < 48 { 0.0 } else { 400.0 }
}

fn f16_rising_scores(device: &Device) -> Verdict {
    let [q, k, v] = rising(device, 24, slope);
    compare(&q, &k, &v, 0.7, Tolerance::OfLargest(1e-3))?;
    let [q, k, v] = rising(device, 24, cliff);
    compare(&q, &k, &v, 0.7, Tolerance::OfLargest(1e-3))
}

/// Attention in a form that the device would not choose.
fn run_as<'a>(
    form: Form,
    [q, k, v]: [impl Into<Heads<'a>>; 3],
    scale: f32,
    max_binding_bytes: u64,
) -> Result<Tensor, String> {
    let (arguments, extents) = checked(q.into(), k.into(), v.into(), scale).map_err(|e| e.to_string())?;
    let device = arguments.q.tensor.device();
    let gpu = device.gpu().ok_or("a GPU case runs on a GPU")?;
    gpu::sdpa_as(gpu, form, &arguments, extents, max_binding_bytes).map_err(|e| e.to_string())
}

/// `[batch, tokens, 3 heads, head_dim]` and its thirds as tensors of their own.
fn thirds(device: &Device, dtype: DType, [batch, tokens, heads, head_dim]: [usize; 4]) -> [Tensor; 4] {
    let width = heads * head_dim;
    let values = normal("sdpa/thirds", batch * tokens * 3 * width);
    let third = |i: usize| -> Vec<f32> {
        values.chunks_exact(3 * width).flat_map(|token| token[i * width..][..width].to_vec()).collect()
    };
    let make = |heads: usize, values: &[f32]| {
        let shape = [batch, tokens, heads, head_dim];
        match dtype {
            DType::F16 => f16_tensor(device, &shape, values).0,
            _ => tensor(device, &shape, values.to_vec()),
        }
    };
    [make(3 * heads, &values), make(heads, &third(0)), make(heads, &third(1)), make(heads, &third(2))]
}

/// The thirds of a tensor as heads.
fn as_heads(all: &Tensor) -> [Heads<'_>; 3] {
    let heads = all.shape()[2] / 3;
    [0, 1, 2].map(|i| Heads::some(all, i * heads..(i + 1) * heads))
}

/// Queries, keys and values side by side give the bits that they give alone.
fn heads_of_one_tensor(device: &Device, dtype: DType, extents: [usize; 4]) -> Verdict {
    let [all, q, k, v] = thirds(device, dtype, extents);
    let [some_q, some_k, some_v] = as_heads(&all);
    let got = sdpa(some_q, some_k, some_v, 0.3).map_err(|e| e.to_string())?;
    check_equal(got.shape(), &extents)?;
    check_equal(&floats(&got)?, &run(&q, &k, &v, 0.3)?)
}

/// Queries alone, keys and values together, as in cross-attention.
fn heads_of_two_tensors(device: &Device) -> Verdict {
    let [all, _, k, v] = thirds(device, DType::F32, [2, 53, 2, 16]);
    let q = random(device, "sdpa/q", &[2, 19, 2, 16]);
    let [_, some_k, some_v] = as_heads(&all);
    let got = sdpa(&q, some_k, some_v, 0.3).map_err(|e| e.to_string())?;
    check_equal(&floats(&got)?, &run(&q, &k, &v, 0.3)?)
}

fn heads_in_small_bindings(device: &Device) -> Verdict {
    let plain = Form::Plain(Plain { per_thread: 4, most_in_chunk: 16, subgroups: false });
    let [all, q, k, v] = thirds(device, DType::F32, [3, 19, 2, 12]);
    let got = floats(&run_as(plain, as_heads(&all), 0.3, 6000)?)?;
    check_equal(&got, &floats(&run_as(plain, [&q, &k, &v], 0.3, u64::MAX)?)?)
}

fn heads_as_matrices(device: &Device) -> Verdict {
    let matrix = Form::Matrix(small_matrix(16));
    let [all, q, k, v] = thirds(device, DType::F16, [2, 37, 2, 24]);
    let got = floats(&run_as(matrix, as_heads(&all), 0.3, u64::MAX)?)?;
    check_equal(&got, &floats(&run_as(matrix, [&q, &k, &v], 0.3, u64::MAX)?)?)
}

fn too_few_heads(device: &Device) -> Verdict {
    let x = random(device, "sdpa/q", &[2, 3, 4, 8]);
    let some = || Heads::some(&x, 3..5);
    expect_error(sdpa(some(), &x, &x, 1.0), "`q` must be [.., heads, head_dim] with the heads 3..5")?;
    expect_error(sdpa(&x, &x, some(), 1.0), "`v` must be [.., heads, head_dim] with the heads 3..5")?;
    expect_error(sdpa(&x, Heads::some(&x, 0..3), &x, 1.0), "`k` must be [2, keys, 4, 8]")
}

/// Both query tiles, short chunks, and rows that meet in workgroup memory.
fn plain_cuts(device: &Device) -> Verdict {
    let extents = [[2, 75, 53, 2, 20], [1, 70, 33, 1, 72]];
    let subgroups = device.gpu().and_then(|gpu| gpu.capabilities().subgroup_size()).is_some_and(|n| n >= 8);
    for (per_thread, most_in_chunk) in [(8, 16), (4, 8)] {
        for subgroups in [false, subgroups] {
            let plain = Plain { per_thread, most_in_chunk, subgroups };
            for [batch, queries, keys, heads, head_dim] in extents {
                let q = random(device, "sdpa/q", &[batch, queries, heads, head_dim]);
                let k = random(device, "sdpa/k", &[batch, keys, heads, head_dim]);
                let v = random(device, "sdpa/v", &[batch, keys, heads, head_dim]);
                let got = floats(&run_as(Form::Plain(plain), [&q, &k, &v], 0.3, u64::MAX)?)?;
                check(&got, [&q, &k, &v], 0.3, Tolerance::Sum { depth: head_dim + keys })
                    .map_err(|e| format!("{plain:?}, head of {head_dim}: {e}"))?;
            }
        }
    }
    Ok(())
}

/// A small cut of the matrix form whose matrices are emulated, so that devices without any can test it.
fn small_matrix(tile: usize) -> Matrix {
    Matrix { tile, subgroups: 1, row_groups: 1, keys: 16, staged: 16, emulated: true, task: Task::Plain }
}

fn matrix_against_oracle(device: &Device, matrix: Matrix, extents: [usize; 5]) -> Verdict {
    let [q, k, v] = &random_f16(device, extents);
    let got = floats(&run_as(Form::Matrix(matrix), [q, k, v], 0.3, u64::MAX)?)?;
    check(&got, [q, k, v], 0.3, Tolerance::OfLargest(1e-3))
}

/// Lengths of the heads of V-JEPA 2: two of them are no multiples of the steps of 32 values, one is none of a matrix.
fn vjepa2_heads(check: impl Fn(usize) -> Verdict) -> Verdict {
    [32, 64, 80, 88].into_iter().try_for_each(|h| check(h).map_err(|e| format!("heads of {h}: {e}")))
}

/// Two of everything.
fn large_matrix() -> Matrix {
    Matrix { subgroups: 2, row_groups: 2, keys: 32, ..small_matrix(16) }
}

fn matrix_rising_scores(device: &Device) -> Verdict {
    // The lengths of heads of the other cases, so that the scores rise in each form of the kernel.
    let heights: [fn(usize) -> f32; 4] = [slope, cliff, slope, slope];
    let forms = [(small_matrix(16), 24), (small_matrix(16), 24), (small_matrix(8), 16), (large_matrix(), 16)];
    for ((matrix, head_dim), height) in forms.into_iter().zip(heights) {
        let [q, k, v] = &rising(device, head_dim, height);
        let got = floats(&run_as(Form::Matrix(matrix), [q, k, v], 0.7, u64::MAX)?)?;
        check(&got, [q, k, v], 0.7, Tolerance::OfLargest(1e-3)).map_err(|e| format!("{matrix:?}: {e}"))?;
    }
    Ok(())
}

/// Bindings that hold a few tokens: the same bits as in one launch.
fn small_bindings(device: &Device) -> Verdict {
    let plain = Form::Plain(Plain { per_thread: 4, most_in_chunk: 16, subgroups: false });
    for head_dim in [12, 13] {
        let q = random(device, "sdpa/q", &[3, 57, 2, head_dim]);
        let k = random(device, "sdpa/k", &[3, 19, 2, head_dim]);
        let v = random(device, "sdpa/v", &[3, 19, 2, head_dim]);
        let [whole, parts] =
            [u64::MAX, 2304].map(|most| run_as(plain, [&q, &k, &v], 0.3, most).and_then(|out| floats(&out)));
        let whole = whole?;
        check(&whole, [&q, &k, &v], 0.3, Tolerance::Sum { depth: head_dim + 19 })?;
        check_equal(&parts?, &whole).map_err(|e| format!("head of {head_dim}: {e}"))?;
    }
    Ok(())
}

fn same_bits_twice(device: &Device) -> Verdict {
    let [q, k, v] = ["sdpa/q", "sdpa/k", "sdpa/v"].map(|name| random(device, name, &[2, 67, 3, 20]));
    check_equal(&run(&q, &k, &v, 0.3)?, &run(&q, &k, &v, 0.3)?)?;
    if q.device().gpu().is_some_and(|gpu| gpu.capabilities().f16) {
        let [q, k, v] = random_f16(device, [2, 67, 131, 3, 64]);
        check_equal(&run(&q, &k, &v, 0.3)?, &run(&q, &k, &v, 0.3)?)?;
    }
    Ok(())
}

/// Scores of standard deviation 16: nearly one key for every query, and errors of the scores count.
fn sharp_scores(device: &Device) -> Verdict {
    let q = random(device, "sdpa/q", &[1, 40, 2, 64]);
    let k = random(device, "sdpa/k", &[1, 500, 2, 64]);
    let v = random(device, "sdpa/v", &[1, 500, 2, 64]);
    compare(&q, &k, &v, 2.0, Tolerance::OfLargest(2e-5))
}

fn every_tile_edge(device: &Device) -> Verdict {
    for queries in [1, 3, 4, 5, 6, 7, 8, 9, 13, 14, 15] {
        for keys in [1, 4, 7, 8, 12, 13, 16, 17, 31, 32, 33, 383, 384, 385] {
            for head_dim in [1, 4, 15, 16, 17, 32, 33] {
                against_oracle(device, [1, queries, keys, 1, head_dim], 0.3)
                    .map_err(|e| format!("{queries} queries, {keys} keys of {head_dim}: {e}"))?;
            }
        }
    }
    Ok(())
}

/// Scores that grow with the key's index raise the running maximum in every step.
fn late_maximum_wins(device: &Device) -> Verdict {
    let keys = 1200;
    let q = tensor(device, &[1, 16, 1, 1], (0..16).map(|i| 0.5 + i as f32 / 16.0).collect());
    let k = tensor(device, &[1, keys, 1, 1], (0..keys).map(|j| j as f32 / 20.0).collect());
    let v = random(device, "sdpa/v", &[1, keys, 1, 1]);
    compare(&q, &k, &v, 1.0, Tolerance::OfLargest(2e-5))
}

/// Weights sum to 1, so equal values come back.
fn equal_values_are_returned(device: &Device) -> Verdict {
    let q = random(device, "sdpa/q", &[2, 33, 3, 24]);
    let k = random(device, "sdpa/k", &[2, 777, 3, 24]);
    let v = tensor(device, k.shape(), vec![1.5; 2 * 777 * 3 * 24]);
    let got = run(&q, &k, &v, 0.4)?;
    // On a GPU one invocation adds key after key; the CPU adds steps of keys.
    let depth = if device.gpu().is_some() { 777 } else { 16 };
    check_close(&got, &vec![1.5; got.len()], Tolerance::Sum { depth })
}

fn order_of_keys_is_free(device: &Device) -> Verdict {
    let (keys, width) = (450, 2 * 16);
    let q = random(device, "sdpa/q", &[1, 20, 2, 16]);
    let (k, v) = (normal("sdpa/k", keys * width), normal("sdpa/v", keys * width));
    let reversed = |x: &[f32]| x.chunks_exact(width).rev().flatten().copied().collect::<Vec<f32>>();
    let shape = [1, keys, 2, 16];
    let back = run(&q, &tensor(device, &shape, reversed(&k)), &tensor(device, &shape, reversed(&v)), 0.5)?;
    let there = run(&q, &tensor(device, &shape, k), &tensor(device, &shape, v), 0.5)?;
    let there: Vec<f64> = there.iter().map(|&x| f64::from(x)).collect();
    check_close(&back, &there, Tolerance::Sum { depth: keys })
}

/// Every score is -256: no weight is left if a maximum starts at 0.
fn scores_far_below_zero(device: &Device) -> Verdict {
    let filled = |x: f32, tokens: usize| {
        Tensor::new(device, &[1, tokens, 1, 4], vec![x; tokens * 4]).expect("as many values as the shape has")
    };
    let (queries, keys) = (70, 45);
    let v = random(device, "sdpa/v", &[1, keys, 1, 4]);
    let (q, k) = (filled(8.0, queries), filled(-8.0, keys));
    let got = run(&q, &k, &v, 1.0)?;
    check(&got, [&q, &k, &v], 1.0, Tolerance::Sum { depth: 4 + keys })
}

/// Scores of ±10^5, far beyond where e^x overflows: the values of the best key come back.
fn large_scores_are_finite(device: &Device) -> Verdict {
    let q = tensor(device, &[1, 2, 1, 1], vec![1e5, -1e5]);
    let k = tensor(device, &[1, 3, 1, 1], vec![1.0, -1.0, 0.0]);
    let v = tensor(device, &[1, 3, 1, 1], vec![3.0, 5.0, 7.0]);
    check_close(&run(&q, &k, &v, 1.0)?, &[3.0, 5.0], Tolerance::Ulps(4))
}

/// The same bits whether a query runs among others or alone, hence for any split among threads.
fn independent_queries(device: &Device, attention: Attention) -> Verdict {
    let (queries, width) = (300, 2 * 24);
    let q = normal("sdpa/q", queries * width);
    let k = random(device, "sdpa/k", &[1, 500, 2, 24]);
    let v = random(device, "sdpa/v", &[1, 500, 2, 24]);
    let all = attention(&tensor(device, &[1, queries, 2, 24], q.clone()), &k, &v, 0.3)?;
    for i in [0, 13, 14, 150, 299] {
        let one = tensor(device, &[1, 1, 2, 24], q[i * width..][..width].to_vec());
        check_equal(&attention(&one, &k, &v, 0.3)?, &all[i * width..][..width])
            .map_err(|e| format!("query {i}: {e}"))?;
    }
    Ok(())
}

/// An infinite value is the mean of all that have a share of it, and no other column knows.
fn infinite_values(device: &Device) -> Verdict {
    let (tokens, head_dim) = (75, 8);
    let shape = [1, tokens, 1, head_dim];
    let [q, k, mut v] = ["q", "k", "v"].map(|name| normal(name, tokens * head_dim));
    v[40 * head_dim + 3] = f32::NEG_INFINITY;
    let [q, k, v] = [q, k, v].map(|values| Tensor::new(device, &shape, values).unwrap());
    let got = run(&q, &k, &v, 0.3)?;
    match (0..got.len()).find(|&i| (got[i] == f32::NEG_INFINITY) != (i % head_dim == 3) || got[i].is_nan()) {
        None => Ok(()),
        Some(i) => Err(format!("query {}, column {} is {}", i / head_dim, i % head_dim, got[i])),
    }
}

/// Arguments far from 1, whose scores or results are not.
fn small_and_large_values(device: &Device) -> Verdict {
    let (tokens, head_dim) = (75, 8);
    let shape = [1, tokens, 1, head_dim];
    for [q_scale, k_scale, v_scale] in [[1e-36f32, 1e36, 1.0], [1e30, 1e-30, 1e-22], [1.0, 1.0, 1e25]] {
        let all = [("q", q_scale), ("k", k_scale), ("v", v_scale)].map(|(name, scale)| {
            let values = normal(name, tokens * head_dim).iter().map(|v| v * scale).collect();
            Tensor::new(device, &shape, values).unwrap()
        });
        compare(&all[0], &all[1], &all[2], 0.3, Tolerance::OfLargest(2e-6))
            .map_err(|e| format!("{q_scale:e}, {k_scale:e}, {v_scale:e}: {e}"))?;
    }
    Ok(())
}

fn nan_in_its_query(device: &Device, attention: Attention) -> Verdict {
    let mut q = normal("sdpa/q", 20 * 8);
    q[7 * 8 + 3] = f32::NAN;
    let q = tensor(device, &[1, 20, 1, 8], q);
    let k = random(device, "sdpa/k", &[1, 29, 1, 8]);
    let got = attention(&q, &k, &k, 0.3)?;
    match (0..got.len()).find(|&i| got[i].is_nan() != (i / 8 == 7)) {
        None => Ok(()),
        Some(i) => Err(format!("query {} value {} is {}", i / 8, i % 8, got[i])),
    }
}

fn without_queries(device: &Device, attention: Attention) -> Verdict {
    let q = Tensor::zeros::<f32>(device, &[2, 0, 3, 8]);
    let k = Tensor::zeros::<f32>(device, &[2, 5, 3, 8]);
    check_equal(&attention(&q, &k, &k, 1.0)?, &[])
}

fn q_rank(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[2, 3, 4]);
    expect_error(sdpa(&x, &x, &x, 1.0), "`q` must be [batch, queries, heads, head_dim], got [2, 3, 4]")
}

fn q_dtype(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[1, 2, 3, 4]);
    let q = Tensor::zeros::<i32>(device, &[1, 2, 3, 4]);
    expect_error(sdpa(&q, &x, &x, 1.0), "`q` must hold f32")
}

fn k_shape(device: &Device) -> Verdict {
    let q = Tensor::zeros::<f32>(device, &[2, 3, 4, 8]);
    for shape in [[1, 3, 4, 8], [2, 3, 5, 8], [2, 3, 4, 7]] {
        let k = Tensor::zeros::<f32>(device, &shape);
        expect_error(sdpa(&q, &k, &k, 1.0), "`k` must be [2, keys, 4, 8] with at least one key")?;
    }
    let k = Tensor::zeros::<f32>(device, &[3, 4, 8]);
    expect_error(sdpa(&q, &k, &k, 1.0), "`k` must be [2, keys, 4, 8] with at least one key, got [3, 4, 8]")
}

fn no_keys(device: &Device) -> Verdict {
    let q = Tensor::zeros::<f32>(device, &[2, 3, 4, 8]);
    let k = Tensor::zeros::<f32>(device, &[2, 0, 4, 8]);
    expect_error(sdpa(&q, &k, &k, 1.0), "with at least one key, got [2, 0, 4, 8]")
}

fn k_dtype(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[1, 2, 3, 4]);
    let k = Tensor::zeros::<u32>(device, &[1, 2, 3, 4]);
    expect_error(sdpa(&x, &k, &x, 1.0), "`k` must hold f32")
}

fn v_shape(device: &Device) -> Verdict {
    let q = Tensor::zeros::<f32>(device, &[2, 3, 4, 8]);
    let v = Tensor::zeros::<f32>(device, &[2, 2, 4, 8]);
    expect_error(sdpa(&q, &q, &v, 1.0), "`v` must be [2, 3, 4, 8], got [2, 2, 4, 8]")
}

fn v_dtype(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[1, 2, 3, 4]);
    let v = Tensor::zeros::<u8>(device, &[1, 2, 3, 4]);
    expect_error(sdpa(&x, &x, &v, 1.0), "`v` must hold f32")
}

fn scale(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[1, 2, 3, 4]);
    expect_error(sdpa(&x, &x, &x, f32::NAN), "`scale` must be a finite number, got NaN")?;
    expect_error(sdpa(&x, &x, &x, f32::INFINITY), "`scale` must be a finite number, got inf")
}

fn devices(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[1, 2, 3, 4]);
    let host = Tensor::zeros::<f32>(&Device::Cpu, &[1, 2, 3, 4]);
    expect_error(sdpa(&x, &host, &x, 1.0), "`k` must be on ")?;
    expect_error(sdpa(&host, &host, &x, 1.0), "`v` must be on ")
}

fn keys_beyond_a_binding(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[1, 64, 3, 4]);
    let plain = Form::Plain(Plain { per_thread: 4, most_in_chunk: 16, subgroups: false });
    expect_error(run_as(plain, [&x, &x, &x], 1.0, 2048), "the keys of a batch element take 3072 bytes")
}
