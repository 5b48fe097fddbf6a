use super::gpu::{self, Cut, Forms, Gradient, Of};
use super::{Attended, Gradients, Mask, Problem, Segments, reference, sdpa_backward, sdpa_masked};
use crate::attention::sdpa::gpu::{Matrix, Task};
use reference::{Extents, Scores};
use steropes_tensor::{Device, Element, Tensor};
use steropes_testkit::inputs::{fnv1a, normal, uniform_at};
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, cpu_case, expect_error, f16_case, f16_tensor,
    floats, gpu_case, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = oracles();
    cases.extend(properties());
    cases.extend(errors());
    cases
}

fn oracles() -> Vec<Case> {
    vec![
        case("sdpa_masked/oracle/one_of_all", |d| two_masks(d, [1, 1, 1, 1, 1, 1])),
        case("sdpa_masked/oracle/odd_sizes", |d| every_mask(d, [2, 7, 13, 3, 3, 12])),
        case("sdpa_masked/oracle/more_queries_than_keys", |d| every_mask(d, [1, 75, 34, 2, 2, 12])),
        case("sdpa_masked/oracle/more_keys_than_queries", |d| every_mask(d, [1, 34, 75, 2, 2, 12])),
        case("sdpa_masked/oracle/grouped_heads", |d| every_mask(d, [2, 33, 37, 6, 2, 12])),
        case("sdpa_masked/oracle/one_head_of_keys", |d| every_mask(d, [2, 9, 40, 5, 1, 12])),
        case("sdpa_masked/oracle/many_tiles", |d| every_mask(d, [1, 130, 131, 2, 1, 12])),
        case("sdpa_masked/oracle/head_dim_1", |d| two_masks(d, [1, 35, 33, 2, 1, 1])),
        case("sdpa_masked/oracle/head_dim_5", |d| every_mask(d, [1, 35, 33, 2, 1, 5])),
        case("sdpa_masked/oracle/head_dim_64", |d| two_masks(d, [1, 35, 33, 2, 1, 64])),
        case("sdpa_masked/oracle/head_dim_80", |d| two_masks(d, [1, 35, 33, 2, 1, 80])),
        case("sdpa_masked/oracle/head_dim_128", |d| two_masks(d, [1, 35, 33, 2, 1, 128])),
        case("sdpa_masked/oracle/head_dim_256", |d| two_masks(d, [1, 35, 33, 2, 1, 256])),
        cpu_case("sdpa_masked/oracle/several_steps", |d| every_mask(d, [1, 401, 790, 1, 1, 16])),
        // Workgroups of 64 queries, where there are enough.
        gpu_case("sdpa_masked/oracle/large_tiles", |d| check_all(d, [8, 33, 5, 64, 1, 12], Pattern::CAUSAL)),
        case("sdpa_masked/oracle/negative_scale", |d| {
            check_all(d, [1, 35, 33, 2, 1, 12], Pattern { scale: -0.4, ..Pattern::CAUSAL })
        }),
        case("sdpa_masked/oracle/scores_of_ten_thousand", large_scores),
        f16_case("sdpa_masked/f16/odd_sizes", |d| f16_masks(d, &patterns(), [2, 37, 33, 4, 2, 12])),
        f16_case("sdpa_masked/f16/head_dim_5", |d| f16_masks(d, &two(), [1, 37, 33, 2, 1, 5])),
        f16_case("sdpa_masked/f16/several_workgroups", |d| {
            f16_masks(d, &[patterns()[0], Pattern::CAUSAL], [1, 150, 170, 4, 2, 64])
        }),
        f16_case("sdpa_masked/f16/fewer_keys_than_queries", |d| {
            f16_masks(d, &[patterns()[0], Pattern::CAUSAL], [1, 300, 40, 2, 1, 64])
        }),
        f16_case("sdpa_masked/f16/several_workgroups_of_long_heads", |d| {
            f16_masks(d, &[patterns()[0], Pattern::CAUSAL], [1, 150, 170, 2, 1, 128])
        }),
        f16_case("sdpa_masked/f16/many_workgroups", |d| {
            f16_masks(d, &[patterns()[0], Pattern::CAUSAL], [4, 257, 70, 8, 2, 64])
        }),
        f16_case("sdpa_masked/f16/many_workgroups_of_long_heads", |d| {
            f16_masks(d, &[patterns()[0], Pattern::CAUSAL], [4, 130, 70, 8, 2, 128])
        }),
        f16_case("sdpa_masked/f16/head_dim_128", |d| f16_masks(d, &two(), [1, 37, 33, 2, 2, 128])),
        case("sdpa_masked/oracle/segments", |d| segments(d, [1, 100, 104, 2, 1, 12], RAGGED)),
        case("sdpa_masked/oracle/segments_of_a_batch", |d| segments(d, [2, 100, 104, 4, 2, 5], RAGGED)),
        case("sdpa_masked/oracle/segments_of_one_token", |d| {
            segments(d, [1, 3, 4, 1, 1, 4], [&[0, 1, 2, 3], &[0, 1, 2, 4]])
        }),
        case("sdpa_masked/oracle/segments_of_head_dim_128", |d| {
            segments(d, [1, 100, 104, 2, 1, 128], RAGGED)
        }),
        cpu_case("sdpa_masked/oracle/segments_of_several_steps", |d| {
            segments(d, [1, 450, 900, 1, 1, 16], [&[0, 20, 440, 450], &[0, 30, 890, 900]])
        }),
        f16_case("sdpa_masked/f16/segments", |d| f16_masks(d, &ragged(RAGGED), [1, 100, 104, 4, 2, 12])),
        case("sdpa_masked/gradient/differences_of_segments", |d| {
            let sums: [&[usize]; 2] = [&[0, 3, 3, 5], &[0, 2, 4, 7]];
            ragged(sums).into_iter().try_for_each(|pattern| differences_of(d, [1, 5, 7, 2, 1, 5], pattern))
        }),
        case("sdpa_masked/gradient/differences", |d| differences(d, [1, 5, 7, 2, 1, 5])),
        case("sdpa_masked/gradient/differences_of_groups", |d| differences(d, [2, 4, 3, 4, 2, 5])),
        f16_case("sdpa_masked/matrix/tile_16", |d| matrix_masks(d, SMALL, [1, 19, 53, 2, 1, 24])),
        f16_case("sdpa_masked/matrix/tile_8", |d| {
            matrix_masks(d, Cut { tile: 8, ..SMALL }, [2, 35, 37, 4, 2, 8])
        }),
        f16_case("sdpa_masked/matrix/two_of_everything", |d| matrix_masks(d, LARGE, [1, 37, 35, 2, 1, 16])),
        small_bindings_case("sdpa_masked/property/in_ranges", 4096, |d| every_mask(d, [5, 9, 11, 4, 2, 12])),
    ]
}

fn properties() -> Vec<Case> {
    vec![
        case("sdpa_masked/property/masked_rows_are_zeros", masked_rows),
        case("sdpa_masked/property/lowest_number_as_mask", lowest_number),
        case("sdpa_masked/property/masked_keys_do_not_matter", masked_keys),
        case("sdpa_masked/property/masks_agree", masks_agree),
        case("sdpa_masked/property/as_sdpa_without_a_mask", as_sdpa),
        case("sdpa_masked/property/one_segment_is_no_mask", one_segment),
        case("sdpa_masked/property/segments_do_not_meet", segments_do_not_meet),
        case("sdpa_masked/property/segments_alone", segments_alone),
        case("sdpa_masked/property/nan_stays_in_its_row", nan_stays),
        case("sdpa_masked/property/no_queries", no_queries),
        case("sdpa_masked/property/no_batch", no_batch),
        cpu_case("sdpa_masked/property/same_bits_for_any_threads", same_bits),
    ]
}

fn errors() -> Vec<Case> {
    vec![
        case("sdpa_masked/error/shapes", shapes),
        case("sdpa_masked/error/mask_shape", mask_shape),
        case("sdpa_masked/error/segments", wrong_segments),
        case("sdpa_masked/error/dtypes", dtypes),
        case("sdpa_masked/error/scale", scale),
        case("sdpa_masked/error/backward_shapes", backward_shapes),
        small_bindings_case("sdpa_masked/error/longer_than_a_binding", 4096, too_long),
    ]
}

fn tensor<T: Element>(device: &Device, shape: &[usize], values: Vec<T>) -> Tensor {
    Tensor::new(device, shape, values).expect("a test's shape fits its values")
}

fn exact(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&v| v.into()).collect()
}

/// What is masked, as a function, to make tensors of any shape from.
#[derive(Clone, Copy, Debug)]
struct Pattern {
    kind: Kind,
    /// Which extents of `[batch, heads, queries]` the tensor has, where it is one; none of the first two makes it of rank 2.
    has: [bool; 3],
    scale: f32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    None,
    Causal,
    Boolean,
    Additive,
    /// Sums of lengths of queries and keys.
    Segments([&'static [usize]; 2], bool),
}

/// Sequences that are longer and shorter than a tile, empty on one side or both, with more and fewer queries than keys.
const RAGGED: [&[usize]; 2] = [&[0, 40, 40, 43, 43, 50, 95, 100], &[0, 9, 20, 20, 20, 61, 104, 104]];

impl Pattern {
    const CAUSAL: Self = Self { kind: Kind::Causal, has: [false; 3], scale: 0.5 };

    /// What is added to the score.
    fn at(&self, b: usize, h: usize, i: usize, j: usize) -> f64 {
        let place = |present: bool, i: usize| if present { i as u64 } else { 0 };
        let [b, h, row] = [place(self.has[0], b), place(self.has[1], h), place(self.has[2], i)];
        let number = uniform_at(fnv1a("sdpa_masked/mask"), ((b * 64 + h) * 1024 + row) * 1024 + j as u64);
        // A quarter is masked, and one whole row of seven.
        let masked = number < -0.5 || (self.has[2] && row % 7 == 3);
        match self.kind {
            Kind::None => 0.0,
            Kind::Causal if j > i => f64::NEG_INFINITY,
            Kind::Causal => 0.0,
            Kind::Segments([queries, keys], causal) => {
                let sequence = |sums: &[usize], token: usize| sums.partition_point(|&sum| sum <= token);
                let (own, other) = (sequence(queries, i), sequence(keys, j));
                // Counted from the last of both.
                let is_open = own == other && (!causal || keys[other] - j >= queries[own] - i);
                if is_open { 0.0 } else { f64::NEG_INFINITY }
            }
            _ if masked => f64::NEG_INFINITY,
            Kind::Boolean => 0.0,
            // Numbers that f16 holds.
            Kind::Additive => (number * 64.0).round() / 32.0,
        }
    }

    /// The values of the tensor with its shape.
    fn values(&self, [batch, queries, keys, heads, ..]: Extents) -> (Vec<usize>, Vec<f64>) {
        let extent = |present: bool, extent: usize| if present { extent } else { 1 };
        let [b, h, q] =
            [extent(self.has[0], batch), extent(self.has[1], heads), extent(self.has[2], queries)];
        let mut values = Vec::new();
        for batch in 0..b {
            for head in 0..h {
                for query in 0..q {
                    values.extend((0..keys).map(|key| self.at(batch, head, query, key)));
                }
            }
        }
        (if self.has[0] || self.has[1] { vec![b, h, q, keys] } else { vec![q, keys] }, values)
    }

    /// Calls `f` with the mask.
    fn with<T>(&self, device: &Device, extents: Extents, f16: bool, f: impl FnOnce(Mask<'_>) -> T) -> T {
        let (shape, values) = self.values(extents);
        match self.kind {
            Kind::None => f(Mask::None),
            Kind::Causal => f(Mask::Causal),
            Kind::Segments([queries, keys], causal) => f(Mask::Segments(Segments { queries, keys, causal })),
            Kind::Boolean => {
                let bytes = values.iter().map(|&v| if v == 0.0 { 3u8 } else { 0 }).collect();
                f(Mask::Boolean(&tensor(device, &shape, bytes)))
            }
            Kind::Additive => {
                let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
                let mask =
                    if f16 { f16_tensor(device, &shape, &values).0 } else { tensor(device, &shape, values) };
                f(Mask::Additive(&mask))
            }
        }
    }
}

/// Every kind, with tensors of several shapes.
fn patterns() -> Vec<Pattern> {
    let scale = 0.5;
    let mut all = vec![Pattern { kind: Kind::None, has: [false; 3], scale }, Pattern::CAUSAL];
    for kind in [Kind::Boolean, Kind::Additive] {
        for has in [[true; 3], [false, false, true], [true, false, false], [false, true, true]] {
            all.push(Pattern { kind, has, scale });
        }
    }
    all
}

fn every_mask(device: &Device, extents: Extents) -> Verdict {
    patterns()
        .into_iter()
        .try_for_each(|pattern| check_all(device, extents, pattern).map_err(|e| format!("{pattern:?}: {e}")))
}

/// The two kinds that have most to go wrong.
fn two() -> [Pattern; 2] {
    [Pattern::CAUSAL, Pattern { kind: Kind::Additive, has: [true; 3], scale: 0.5 }]
}

fn two_masks(device: &Device, extents: Extents) -> Verdict {
    two()
        .into_iter()
        .try_for_each(|pattern| check_all(device, extents, pattern).map_err(|e| format!("{pattern:?}: {e}")))
}

/// Causal and not.
fn ragged(sums: [&'static [usize]; 2]) -> [Pattern; 2] {
    [false, true].map(|causal| Pattern { kind: Kind::Segments(sums, causal), has: [false; 3], scale: 0.5 })
}

fn segments(device: &Device, extents: Extents, sums: [&'static [usize]; 2]) -> Verdict {
    ragged(sums)
        .into_iter()
        .try_for_each(|pattern| check_all(device, extents, pattern).map_err(|e| format!("{pattern:?}: {e}")))
}

/// Queries, keys, values and the gradient of the result.
fn inputs([batch, queries, keys, heads, kv_heads, d]: Extents) -> [Vec<f32>; 4] {
    let (q, k) = (batch * queries * heads * d, batch * keys * kv_heads * d);
    // Scores of unit size.
    let spread = 1.4 / (d as f32).powf(0.25);
    [("q", q, spread), ("k", k, spread), ("v", k, 1.0), ("gradient", q, 1.0)].map(|(name, len, spread)| {
        normal(&format!("sdpa_masked/{name}"), len).into_iter().map(|v| v * spread).collect()
    })
}

fn shapes_of([batch, queries, keys, heads, kv_heads, d]: Extents) -> [[usize; 4]; 4] {
    let (q, k) = ([batch, queries, heads, d], [batch, keys, kv_heads, d]);
    [q, k, k, q]
}

/// What the op gives: the result, the logarithms, and the three gradients.
fn run(tensors: &[Tensor; 4], mask: Mask<'_>, scale: f32) -> Result<[Vec<f32>; 5], String> {
    let [q, k, v, gradient] = tensors;
    let attended = sdpa_masked(q, k, v, mask, scale).map_err(|e| e.to_string())?;
    check_equal(attended.out.shape(), q.shape())?;
    check_equal(attended.lse.shape(), &[q.shape()[0], q.shape()[2], q.shape()[1]])?;
    let gradients = sdpa_backward([q, k, v], &attended, gradient, mask, scale).map_err(|e| e.to_string())?;
    for (got, like) in [(&gradients.q, q), (&gradients.k, k), (&gradients.v, v)] {
        check_equal(got.shape(), like.shape())?;
        check_equal(&[got.dtype()], &[like.dtype()])?;
    }
    numbers(&attended, &gradients)
}

fn numbers(attended: &Attended, Gradients { q, k, v }: &Gradients) -> Result<[Vec<f32>; 5], String> {
    Ok([floats(&attended.out)?, floats(&attended.lse)?, floats(q)?, floats(k)?, floats(v)?])
}

const NAMES: [&str; 5] = ["out", "lse", "dq", "dk", "dv"];

/// As [`run`], by the oracle.
fn wanted(values: &[Vec<f32>; 4], pattern: Pattern, extents: Extents) -> [Vec<f64>; 5] {
    let [q, k, v, gradient] = values.each_ref().map(|values| exact(values));
    let scores = Scores { scale: pattern.scale.into(), mask: &|b, h, i, j| pattern.at(b, h, i, j) };
    let (weights, lse) = reference::weights(&q, &k, &scores, extents);
    let out = reference::attend(&weights, &v, extents);
    let [dq, dk, dv] = reference::backward([&q, &k, &v], &gradient, &scores, extents);
    [out, lse, dq, dk, dv]
}

fn check_all(device: &Device, extents: Extents, pattern: Pattern) -> Verdict {
    let (got, want) = both(device, extents, pattern, inputs(extents))?;
    let [_, queries, keys, heads, kv_heads, d] = extents;
    let depth = d + keys.max(queries * heads / kv_heads);
    let tolerance = Tolerance::OfLargest(4e-7 * (4.0 + (depth as f64).sqrt()));
    for ((name, got), want) in NAMES.iter().zip(&got).zip(&want) {
        check_close(got, want, tolerance).map_err(|e| format!("{name}: {e}"))?;
    }
    Ok(())
}

/// What the op gives, and what the oracle gives.
type Both = ([Vec<f32>; 5], [Vec<f64>; 5]);

fn both(device: &Device, extents: Extents, pattern: Pattern, values: [Vec<f32>; 4]) -> Result<Both, String> {
    let want = wanted(&values, pattern, extents);
    let shapes = shapes_of(extents);
    let tensors = [0, 1, 2, 3].map(|i| tensor(device, &shapes[i], values[i].clone()));
    let got = pattern.with(device, extents, false, |mask| run(&tensors, mask, pattern.scale))?;
    Ok((got, want))
}

/// Scores around 1e4 that differ by few, and scores that differ by 1e4: nothing overflows, and an error of a score stays one of
/// its weight. The gradients of queries and keys hang on differences of weights that such scores do not have; they are finite.
fn large_scores(device: &Device) -> Verdict {
    let extents = [1, 35, 67, 2, 1, 12];
    for pattern in [Pattern::CAUSAL, patterns()[0], patterns()[6]] {
        let (mut together, mut apart) = (inputs(extents), inputs(extents));
        together[0].iter_mut().step_by(12).for_each(|q| *q = 100.0);
        together[1].iter_mut().step_by(12).for_each(|k| *k = 200.0);
        apart[0].iter_mut().for_each(|q| *q *= 1e4);
        for values in [together, apart] {
            let (got, want) = both(device, extents, pattern, values)?;
            for i in [0, 1, 4] {
                check_close(&got[i], &want[i], Tolerance::OfLargest(4e-7 * 4e4))
                    .map_err(|e| format!("{}: {e}", NAMES[i]))?;
            }
            if let Some(x) = got[2].iter().chain(&got[3]).find(|x| !x.is_finite()) {
                return Err(format!("a gradient of {x}"));
            }
        }
    }
    Ok(())
}

fn f16_masks(device: &Device, patterns: &[Pattern], extents: Extents) -> Verdict {
    patterns.iter().try_for_each(|&pattern| {
        f16_against_oracle(device, pattern, extents, |tensors, mask| run(tensors, mask, pattern.scale))
    })
}

/// What `run` gives for f16 tensors.
fn f16_against_oracle(
    device: &Device,
    pattern: Pattern,
    extents: Extents,
    run: impl FnOnce(&[Tensor; 4], Mask<'_>) -> Result<[Vec<f32>; 5], String>,
) -> Verdict {
    let shapes = shapes_of(extents);
    let pairs = inputs(extents);
    let pairs = [0, 1, 2, 3].map(|i| f16_tensor(device, &shapes[i], &pairs[i]));
    let want = wanted(&pairs.each_ref().map(|(_, rounded)| rounded.clone()), pattern, extents);
    let tensors = pairs.map(|(tensor, _)| tensor);
    let got = pattern.with(device, extents, true, |mask| run(&tensors, mask))?;
    for ((name, got), want) in NAMES.iter().zip(&got).zip(&want) {
        let share = match *name {
            "lse" => 1e-6,
            // The rounded result takes part in the gradients of queries and keys.
            "dq" | "dk" => 2e-3,
            _ => 1e-3,
        };
        check_close(got, want, Tolerance::OfLargest(share))
            .map_err(|e| format!("{pattern:?}: {name}: {e}"))?;
    }
    Ok(())
}

/// A small cut of the forms of matrices, emulated, so that devices without any can test them. Not for large problems: a device in
/// software may end loops of one invocation after 2^16 turns.
const SMALL: Cut = Cut { tile: 16, subgroups: 1, row_groups: 1, step: 16, staged: 16, emulated: true };

/// Two of everything.
const LARGE: Cut = Cut { subgroups: 2, row_groups: 2, step: 32, ..SMALL };

/// The forms of matrices against the oracle, without a mask and with a causal one.
fn matrix_masks(device: &Device, cut: Cut, extents: Extents) -> Verdict {
    for pattern in [patterns()[0], Pattern::CAUSAL] {
        let causal = pattern.kind == Kind::Causal;
        let Cut { tile, subgroups, row_groups, step, staged, emulated } = cut;
        let task = Task::Masked { causal };
        let forward = Matrix { tile, subgroups, row_groups, keys: step, staged, emulated, task };
        let gradients = [Of::Queries, Of::KeysAndValues].map(|of| Gradient { of, causal, cut });
        let forms = Forms { forward, gradients };
        f16_against_oracle(device, pattern, extents, |tensors, mask| {
            let [q, k, v, gradient] = tensors;
            let gpu = device.gpu().ok_or("a GPU case runs on a GPU")?;
            let extents = super::Extents::of(super::OP, [q, k, v]).map_err(|e| e.to_string())?;
            let layout = mask.layout(super::OP, &extents).map_err(|e| e.to_string())?;
            let problem = Problem { q, k, v, mask, bands: None, layout, scale: pattern.scale, extents };
            let attended = gpu::forward_as(gpu, &problem, forms.forward).map_err(|e| e.to_string())?;
            let gradients =
                gpu::backward_as(gpu, &problem, &attended, gradient, &forms).map_err(|e| e.to_string())?;
            numbers(&attended, &gradients)
        })?;
    }
    Ok(())
}

/// With every mask.
fn differences(device: &Device, extents: Extents) -> Verdict {
    patterns().into_iter().try_for_each(|pattern| differences_of(device, extents, pattern))
}

/// The gradients against central differences of the forward oracle.
fn differences_of(device: &Device, extents: Extents, pattern: Pattern) -> Verdict {
    let values = inputs(extents);
    let shapes = shapes_of(extents);
    let tensors = [0, 1, 2, 3].map(|i| tensor(device, &shapes[i], values[i].clone()));
    {
        let [q, k, v, gradient] = values.each_ref().map(|values| exact(values));
        let scores = Scores { scale: pattern.scale.into(), mask: &|b, h, i, j| pattern.at(b, h, i, j) };
        let want = reference::differences([&q, &k, &v], &gradient, &scores, extents);
        let got = pattern.with(device, extents, false, |mask| run(&tensors, mask, pattern.scale))?;
        for ((name, got), want) in NAMES[2..].iter().zip(&got[2..]).zip(&want) {
            check_close(got, want, Tolerance::OfLargest(3e-6))
                .map_err(|e| format!("{pattern:?}: {name}: {e}"))?;
        }
    }
    Ok(())
}

/// A row with everything masked: zeros, the logarithm of nothing, and no part in any gradient.
fn masked_rows(device: &Device) -> Verdict {
    let extents = [1, 34, 40, 2, 1, 12];
    let values = inputs(extents);
    let shapes = shapes_of(extents);
    let tensors = [0, 1, 2, 3].map(|i| tensor(device, &shapes[i], values[i].clone()));
    let open: Vec<bool> = (0..34 * 40).map(|i| i / 40 != 5 && i / 40 != 33).collect();
    let bytes = tensor(device, &[34, 40], open.iter().map(|&open| u8::from(open)).collect());
    let added = open.iter().map(|&open| if open { 0.0 } else { f32::NEG_INFINITY }).collect();
    let added = tensor(device, &[34, 40], added);
    for mask in [Mask::Boolean(&bytes), Mask::Additive(&added)] {
        let [out, lse, dq, dk, dv] = run(&tensors, mask, 0.5)?;
        for row in [5, 33] {
            check_equal(&out[row * 24..][..24], &[0.0; 24])?;
            check_equal(&dq[row * 24..][..24], &[0.0; 24])?;
            check_equal(&[lse[row], lse[34 + row]], &[f32::NEG_INFINITY; 2])?;
        }
        if out[..24] == [0.0; 24] || lse[0] == f32::NEG_INFINITY {
            return Err("an open row is nothing".to_owned());
        }
        if let Some(x) = dk.iter().chain(&dv).find(|x| !x.is_finite()) {
            return Err(format!("a gradient of {x}"));
        }
    }
    Ok(())
}

/// The lowest number is not minus infinity: a row of it attends to all alike.
fn lowest_number(device: &Device) -> Verdict {
    let values = inputs([1, 2, 40, 1, 1, 4]);
    let [q, k, v] = [0, 1, 2].map(|i| tensor(device, &shapes_of([1, 2, 40, 1, 1, 4])[i], values[i].clone()));
    let mut added = vec![f32::MIN; 80];
    added[40] = 0.0;
    let mask = tensor(device, &[2, 40], added);
    let Attended { out, .. } =
        sdpa_masked(&q, &k, &v, Mask::Additive(&mask), 0.5).map_err(|e| e.to_string())?;
    let v = exact(&values[2]);
    let mean = |c: usize| v.iter().skip(c).step_by(4).sum::<f64>() / 40.0;
    let want: Vec<f64> = (0..4).map(mean).chain(v[..4].iter().copied()).collect();
    check_close(&floats(&out)?, &want, Tolerance::OfLargest(1e-6))
}

/// What nobody may attend to changes nothing, to the bit.
fn masked_keys(device: &Device) -> Verdict {
    let extents = [1, 34, 40, 2, 2, 12];
    let values = inputs(extents);
    let shapes = shapes_of(extents);
    let bytes: Vec<u8> = (0..40).map(|j| u8::from(j % 3 != 1)).collect();
    let mask = tensor(device, &[1, 40], bytes);
    let with = |other: f32| {
        let mut values = values.clone();
        for j in (1..40).step_by(3) {
            values[1][j * 24..][..24].fill(other);
            values[2][j * 24..][..24].fill(-other);
        }
        let tensors = [0, 1, 2, 3].map(|i| tensor(device, &shapes[i], values[i].clone()));
        run(&tensors, Mask::Boolean(&mask), 0.5)
    };
    let (one, other) = (with(0.0)?, with(100.0)?);
    for (one, other) in one.iter().zip(&other) {
        check_equal(one, other)?;
    }
    for j in (1..40).step_by(3) {
        check_equal(&one[3][j * 24..][..24], &[0.0; 24])?;
        check_equal(&one[4][j * 24..][..24], &[0.0; 24])?;
    }
    Ok(())
}

/// A causal mask as a tensor of either kind gives what the causal mask gives.
fn masks_agree(device: &Device) -> Verdict {
    for extents in [[1, 70, 45, 2, 1, 12], [1, 45, 70, 2, 1, 12]] {
        let [_, queries, keys, ..] = extents;
        let values = inputs(extents);
        let shapes = shapes_of(extents);
        let tensors = [0, 1, 2, 3].map(|i| tensor(device, &shapes[i], values[i].clone()));
        let open: Vec<bool> = (0..queries * keys).map(|i| i % keys <= i / keys).collect();
        let bytes = tensor(device, &[queries, keys], open.iter().map(|&open| u8::from(open)).collect());
        let added = open.iter().map(|&open| if open { 0.0 } else { f32::NEG_INFINITY }).collect();
        let added = tensor(device, &[1, 1, queries, keys], added);
        let causal = run(&tensors, Mask::Causal, 0.5)?;
        for mask in [Mask::Boolean(&bytes), Mask::Additive(&added)] {
            for ((name, got), want) in NAMES.iter().zip(&run(&tensors, mask, 0.5)?).zip(&causal) {
                check_close(got, &exact(want), Tolerance::OfLargest(1e-6))
                    .map_err(|e| format!("{name}: {e}"))?;
            }
        }
    }
    Ok(())
}

fn as_sdpa(device: &Device) -> Verdict {
    let extents = [2, 70, 45, 3, 3, 24];
    let values = inputs(extents);
    let [q, k, v] = [0, 1, 2].map(|i| tensor(device, &shapes_of(extents)[i], values[i].clone()));
    let want = crate::attention::sdpa::sdpa(&q, &k, &v, 0.5).map_err(|e| e.to_string())?;
    let got = sdpa_masked(&q, &k, &v, Mask::None, 0.5).map_err(|e| e.to_string())?;
    check_close(&floats(&got.out)?, &exact(&floats(&want)?), Tolerance::OfLargest(3e-6))
}

/// One sequence of all tokens attends as without a mask, and causal as with a causal one where there are as many queries as keys.
fn one_segment(device: &Device) -> Verdict {
    let extents = [2, 70, 70, 4, 2, 12];
    let values = inputs(extents);
    let tensors = [0, 1, 2, 3].map(|i| tensor(device, &shapes_of(extents)[i], values[i].clone()));
    let all = [0, 70];
    for (causal, plain) in [(false, Mask::None), (true, Mask::Causal)] {
        let one = run(&tensors, Mask::Segments(Segments { queries: &all, keys: &all, causal }), 0.5)?;
        for ((name, got), want) in NAMES.iter().zip(&one).zip(&run(&tensors, plain, 0.5)?) {
            check_close(got, &exact(want), Tolerance::OfLargest(1e-6)).map_err(|e| format!("{name}: {e}"))?;
        }
    }
    Ok(())
}

/// What other sequences hold changes nothing of a sequence, to the bit.
fn segments_do_not_meet(device: &Device) -> Verdict {
    let extents = [1, 100, 104, 2, 1, 12];
    let values = inputs(extents);
    let mask = Mask::Segments(Segments { queries: RAGGED[0], keys: RAGGED[1], causal: true });
    let with = |other: f32| {
        let mut values = values.clone();
        // All but the sixth sequence, 50 .. 95 and 61 .. 104.
        for (which, own, each) in [(0, 50..95, 24), (1, 61..104, 12), (2, 61..104, 12), (3, 50..95, 24)] {
            let tokens = values[which].chunks_exact_mut(each).enumerate();
            tokens.filter(|(token, _)| !own.contains(token)).for_each(|(_, token)| token.fill(other));
        }
        run(&[0, 1, 2, 3].map(|i| tensor(device, &shapes_of(extents)[i], values[i].clone())), mask, 0.5)
    };
    let (one, other) = (with(0.0)?, with(100.0)?);
    for (which, own) in
        [(0, 50 * 24..95 * 24), (2, 50 * 24..95 * 24), (3, 61 * 12..104 * 12), (4, 61 * 12..104 * 12)]
    {
        check_equal(&one[which][own.clone()], &other[which][own])?;
    }
    check_equal(&one[1][50..95], &other[1][50..95])
}

/// Each sequence as by itself.
fn segments_alone(device: &Device) -> Verdict {
    let sums = [0, 33, 40, 77];
    let extents = [1, 77, 77, 2, 1, 12];
    let values = inputs(extents);
    let tensors = [0, 1, 2, 3].map(|i| tensor(device, &shapes_of(extents)[i], values[i].clone()));
    let mask = Mask::Segments(Segments { queries: &sums, keys: &sums, causal: true });
    let packed = run(&tensors, mask, 0.5)?;
    for pair in sums.windows(2) {
        let (first, end) = (pair[0], pair[1]);
        let own = [1, end - first, end - first, 2, 1, 12];
        let part = [0, 1, 2, 3].map(|i| {
            let each = values[i].len() / 77;
            tensor(device, &shapes_of(own)[i], values[i][first * each..end * each].to_vec())
        });
        let alone = run(&part, Mask::Causal, 0.5)?;
        for which in [0, 2, 3, 4] {
            let each = packed[which].len() / 77;
            let got = &packed[which][first * each..end * each];
            check_close(got, &exact(&alone[which]), Tolerance::OfLargest(2e-6))
                .map_err(|e| format!("{first}..{end}, {}: {e}", NAMES[which]))?;
        }
    }
    Ok(())
}

fn wrong_segments(device: &Device) -> Verdict {
    let (q, k) = (zeros(device, &[1, 6, 2, 4]), zeros(device, &[1, 5, 1, 4]));
    let attend = |queries: &[usize], keys: &[usize]| {
        sdpa_masked(&q, &k, &k, Mask::Segments(Segments { queries, keys, causal: false }), 1.0)
    };
    for wrong in [&[][..], &[0], &[0, 5], &[1, 6], &[0, 4, 3, 6], &[0, 6, 7]] {
        expect_error(
            attend(wrong, &[0, 5]),
            "attention::sdpa_masked: `mask` must be sums of lengths of queries from 0 to 6, got [",
        )?;
    }
    expect_error(attend(&[0, 6], &[0, 6]), "`mask` must be sums of lengths of keys from 0 to 5, got [0, 6]")?;
    expect_error(
        attend(&[0, 2, 6], &[0, 5]),
        "`mask` must be as many sequences of queries as of keys, got [2, 1]",
    )
}

fn nan_stays(device: &Device) -> Verdict {
    let extents = [1, 34, 40, 2, 1, 12];
    let mut values = inputs(extents);
    values[0][17 * 24 + 3] = f32::NAN;
    let [q, k, v] = [0, 1, 2].map(|i| tensor(device, &shapes_of(extents)[i], values[i].clone()));
    let out = floats(&sdpa_masked(&q, &k, &v, Mask::None, 0.5).map_err(|e| e.to_string())?.out)?;
    match (0..out.len()).find(|&i| out[i].is_nan() != (i / 12 == 34)) {
        None => Ok(()),
        Some(i) => Err(format!("row {} is {}", i / 12, out[i])),
    }
}

/// Without queries keys and values have gradients of zeros.
fn no_queries(device: &Device) -> Verdict {
    let tensors = shapes_of([2, 0, 5, 4, 2, 8]).map(|shape| Tensor::zeros::<f32>(device, &shape));
    let [out, lse, dq, dk, dv] = run(&tensors, Mask::Causal, 0.5)?;
    check_equal(&[out.len(), lse.len(), dq.len()], &[0, 0, 0])?;
    check_equal(&dk, &[0.0; 160])?;
    check_equal(&dv, &[0.0; 160])
}

fn no_batch(device: &Device) -> Verdict {
    let tensors = shapes_of([0, 3, 5, 4, 2, 8]).map(|shape| Tensor::zeros::<f32>(device, &shape));
    let got = run(&tensors, Mask::None, 0.5)?;
    check_equal(&got.map(|values| values.len()), &[0; 5])
}

fn same_bits(device: &Device) -> Verdict {
    let extents = [1, 301, 299, 4, 2, 32];
    let values = inputs(extents);
    let tensors = [0, 1, 2, 3].map(|i| tensor(device, &shapes_of(extents)[i], values[i].clone()));
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| run(&tensors, Mask::Causal, 0.5))
    };
    let (one, three) = (with(1)?, with(3)?);
    one.iter().zip(&three).try_for_each(|(one, three)| check_equal(one, three))
}

fn zeros(device: &Device, shape: &[usize]) -> Tensor {
    Tensor::zeros::<f32>(device, shape)
}

fn shapes(device: &Device) -> Verdict {
    let attend = |q: &[usize], k: &[usize], v: &[usize]| {
        let [q, k, v] = [q, k, v].map(|shape| zeros(device, shape));
        sdpa_masked(&q, &k, &v, Mask::None, 1.0)
    };
    let fine = [1, 5, 2, 8];
    expect_error(
        attend(&[5, 2, 8], &fine, &fine),
        "`q` must be [batch, queries, heads, head_dim], got [5, 2, 8]",
    )?;
    for wrong in [[1, 5, 0, 8], [1, 5, 2, 0], [1, 5, 2, 257]] {
        expect_error(
            attend(&wrong, &fine, &fine),
            "`q` must be [.., heads, head_dim] with heads, and head_dim from",
        )?;
    }
    for wrong in [&[2, 5, 2, 8][..], &[1, 0, 2, 8], &[1, 5, 3, 8], &[1, 5, 0, 8], &[1, 5, 2, 9], &[5, 2, 8]] {
        expect_error(
            attend(&fine, wrong, wrong),
            "`k` must be [1, keys, kv_heads, 8] with at least one key",
        )?;
    }
    expect_error(attend(&fine, &fine, &[1, 6, 2, 8]), "`v` must be [1, 5, 2, 8], got [1, 6, 2, 8]")
}

fn mask_shape(device: &Device) -> Verdict {
    let (q, k) = (zeros(device, &[2, 3, 4, 8]), zeros(device, &[2, 5, 2, 8]));
    for wrong in
        [&[3, 4][..], &[2, 5], &[5], &[3, 1], &[3, 4, 3, 5], &[2, 2, 3, 5], &[2, 3, 5], &[2, 4, 3, 1]]
    {
        let added = zeros(device, wrong);
        let result = sdpa_masked(&q, &k, &k, Mask::Additive(&added), 1.0);
        expect_error(result, "`mask` must be [3, 5] or [2, 4, 3, 5], all but the last of them or 1, got")?;
    }
    Ok(())
}

fn dtypes(device: &Device) -> Verdict {
    let x = zeros(device, &[1, 3, 2, 8]);
    let whole = Tensor::zeros::<i32>(device, &[1, 3, 2, 8]);
    expect_error(sdpa_masked(&whole, &x, &x, Mask::None, 1.0), "`q` must hold f32")?;
    expect_error(sdpa_masked(&x, &whole, &x, Mask::None, 1.0), "`k` must hold f32")?;
    expect_error(sdpa_masked(&x, &x, &whole, Mask::None, 1.0), "`v` must hold f32")?;
    let whole = Tensor::zeros::<i32>(device, &[3, 3]);
    let bytes = Tensor::zeros::<u8>(device, &[3, 3]);
    expect_error(sdpa_masked(&x, &x, &x, Mask::Boolean(&whole), 1.0), "`mask` must hold u8, got i32")?;
    expect_error(sdpa_masked(&x, &x, &x, Mask::Additive(&bytes), 1.0), "`mask` must hold f32")
}

fn scale(device: &Device) -> Verdict {
    let x = zeros(device, &[1, 3, 2, 8]);
    for scale in [f32::NAN, f32::INFINITY] {
        expect_error(sdpa_masked(&x, &x, &x, Mask::None, scale), "`scale` must be a finite number, got")?;
        let attended = Attended { out: x.clone(), lse: zeros(device, &[1, 2, 3]) };
        let result = sdpa_backward([&x, &x, &x], &attended, &x, Mask::None, scale);
        expect_error(result, "sdpa_backward: `scale` must be a finite number, got")?;
    }
    Ok(())
}

fn backward_shapes(device: &Device) -> Verdict {
    let x = zeros(device, &[1, 3, 2, 8]);
    let lse = zeros(device, &[1, 2, 3]);
    let back = |out: &Tensor, lse: &Tensor, gradient: &Tensor| {
        let attended = Attended { out: out.clone(), lse: lse.clone() };
        sdpa_backward([&x, &x, &x], &attended, gradient, Mask::None, 1.0)
    };
    let wrong = zeros(device, &[1, 3, 2, 9]);
    expect_error(back(&wrong, &lse, &x), "`out` must be [1, 3, 2, 8], got [1, 3, 2, 9]")?;
    expect_error(back(&x, &lse, &wrong), "`gradient` must be [1, 3, 2, 8], got [1, 3, 2, 9]")?;
    expect_error(back(&x, &zeros(device, &[1, 3, 2]), &x), "`lse` must be [1, 2, 3], got [1, 3, 2]")?;
    let whole = Tensor::zeros::<i32>(device, &[1, 2, 3]);
    expect_error(back(&x, &whole, &x), "`lse` must hold f32, got i32")
}

/// A batch element, and a mask for all, of more than 4096 bytes.
fn too_long(device: &Device) -> Verdict {
    let long = zeros(device, &[1, 70, 2, 8]);
    let result = sdpa_masked(&long, &long, &long, Mask::None, 1.0);
    expect_error(result, "does not fit one binding")?;
    let x = zeros(device, &[1, 40, 1, 8]);
    let mask = zeros(device, &[40, 40]);
    expect_error(
        sdpa_masked(&x, &x, &x, Mask::Additive(&mask), 1.0),
        "a mask of 6400 bytes does not fit one binding",
    )
}
