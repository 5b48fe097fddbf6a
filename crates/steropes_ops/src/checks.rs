//! What the cases and benches of several ops have in common.

use half::f16;
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, Launch, Verdict, bench, check_equal, f16_bench, f16_tensor};

/// An f32 tensor of `values`.
pub(crate) fn tensor(device: &Device, shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(device, shape, values.to_vec()).expect("a test's shape fits its values")
}

/// A tensor of `values` in f32 or f16, and the values as it holds them.
pub(crate) fn stored(device: &Device, half: bool, shape: &[usize], values: &[f32]) -> (Tensor, Vec<f64>) {
    if half {
        let (tensor, rounded) = f16_tensor(device, shape, values);
        (tensor, exact(&rounded))
    } else {
        (tensor(device, shape, values), exact(values))
    }
}

/// In f64.
pub(crate) fn exact(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// Passes if each value is within `share` of its magnitude of what it should be.
pub(crate) fn check_within(got: &[f32], want: &[f64], magnitudes: &[f64], share: f64) -> Verdict {
    if got.len() != want.len() {
        return Err(format!("{} values, expected {}", got.len(), want.len()));
    }
    let fits = |i: usize| (f64::from(got[i]) - want[i]).abs() <= share * magnitudes[i];
    match (0..got.len()).find(|&i| !fits(i)) {
        None => Ok(()),
        Some(i) => {
            let bound = share * magnitudes[i];
            Err(format!("element {i}: got {}, want {} within {bound:.3e}", got[i], want[i]))
        }
    }
}

/// Passes if two kernels gave the same: in f32 the same bits; in f16 neighbours at most, because compilers fuse the
/// arithmetic of each kernel as they like, and what differs by an ulp of f32 may be rounded up here and down there.
pub(crate) fn check_same_results(half: bool, got: &[f32], want: &[f32]) -> Verdict {
    if !half {
        return check_equal(got, want);
    }
    let magnitudes: Vec<f64> = want.iter().map(|v| f64::from(v.abs())).collect();
    check_within(got, &exact(want), &magnitudes, 1e-3)
}

/// The derivative of `sum(grad * f(x))` for each element of `x`, by central differences.
pub(crate) fn differences(x: &[f64], grad: &[f64], f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    const STEP: f64 = 1e-4;
    let loss = |x: &[f64]| f(x).iter().zip(grad).map(|(y, g)| y * g).sum::<f64>();
    let along = |i: usize, step: f64| {
        let mut moved = x.to_vec();
        moved[i] += step;
        loss(&moved)
    };
    (0..x.len()).map(|i| (along(i, STEP) - along(i, -STEP)) / (2.0 * STEP)).collect()
}

/// Passes if only values of row `row` are not numbers, and all of those if `whole`.
pub(crate) fn nan_only_in_row(values: &[f32], width: usize, row: usize, whole: bool) -> Verdict {
    let wrong = |i: usize| {
        let here = i / width == row;
        values[i].is_nan() != here && (whole || !here)
    };
    match (0..values.len()).find(|&i| wrong(i)) {
        None => Ok(()),
        Some(i) => Err(format!("row {} column {} is {}", i / width, i % width, values[i])),
    }
}

/// The results of `f` on one and on three threads, which must be the same bits.
pub(crate) fn same_for_any_number_of_threads(
    f: impl Fn() -> Result<Vec<Vec<f32>>, String> + Send + Sync,
) -> Verdict {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.map_err(|e| e.to_string())?.install(&f)
    };
    let bits = |all: Vec<Vec<f32>>| {
        all.into_iter().map(|v| v.into_iter().map(f32::to_bits).collect()).collect::<Vec<Vec<u32>>>()
    };
    if bits(run(1)?) == bits(run(3)?) { Ok(()) } else { Err("one and three threads differ".into()) }
}

/// Equal rows in f32 or f16.
pub(crate) fn rows_of(device: &Device, dtype: DType, name: &str, [rows, width]: [usize; 2]) -> Tensor {
    let row = uniform(name, width);
    let tensor = match dtype {
        DType::F16 => {
            let row: Vec<f16> = row.into_iter().map(f16::from_f32).collect();
            Tensor::new(device, &[rows, width], row.repeat(rows))
        }
        _ => Tensor::new(device, &[rows, width], row.repeat(rows)),
    };
    tensor.expect("a value for each place")
}

/// A bench in f32, or in f16 where the device has it. `tensors` is the number of tensors of `values` elements that are read or
/// written; `operations` are those for each element.
pub(crate) fn bench_of(
    dtype: DType,
    name: &'static str,
    values: usize,
    [operations, tensors]: [f64; 2],
    prepare: impl Fn(&Device) -> Launch + 'static,
) -> Bench {
    let values = values as f64;
    let bytes = tensors * dtype.size_bytes() as f64 * values;
    match dtype {
        DType::F16 => f16_bench(name, operations * values, bytes, prepare),
        _ => bench(name, operations * values, bytes, prepare),
    }
}
