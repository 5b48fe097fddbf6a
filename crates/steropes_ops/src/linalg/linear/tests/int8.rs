//! Weights and rows in int8.

use super::{checked_rows, picked, random, tensor, values};
use crate::cpu::quads::MAX_DEPTH;
use crate::linalg::linear::{Activation, LinearWeights, Weight, linear, linear_add, reference};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::{normal, uniform};
use steropes_testkit::{Case, Verdict, bf16_tensor, check_equal, cpu_case, expect_error, gpu_case};

pub(super) fn cases() -> Vec<Case> {
    use Activation::{Gelu, Identity, Relu};
    vec![
        cpu_case("linear/int8/one_value", |d| against_oracle(d, [1, 1, 1], Identity)),
        cpu_case("linear/int8/odd_sizes", odd_sizes),
        cpu_case("linear/int8/odd_sizes_gelu", |d| against_oracle(d, [29, 67, 43], Gelu)),
        cpu_case("linear/int8/odd_sizes_relu", |d| against_oracle(d, [29, 67, 43], Relu)),
        cpu_case("linear/int8/one_row", |d| against_oracle(d, [1, 1024, 1023], Identity)),
        cpu_case("linear/int8/tiny_encoder_fc1", |d| against_oracle(d, [432, 256, 1024], Gelu)),
        cpu_case("linear/int8/mast3r_encoder_fc2", |d| against_oracle(d, [768, 4096, 1024], Relu)),
        cpu_case("linear/int8/every_tile_edge", tile_edges),
        cpu_case("linear/int8/few_outliers", |d| outliers(d, 5)),
        cpu_case("linear/int8/most_outliers", |d| outliers(d, 32)),
        cpu_case("linear/int8/outliers_of_many_sizes", many_outliers),
        cpu_case("linear/int8/small_and_large_values", small_and_large),
        cpu_case("linear/int8/zeros", zeros),
        cpu_case("linear/int8/what_is_not_finite_stays_in_its_row", not_finite),
        cpu_case("linear/int8/a_weight_that_is_not_finite", weight_not_finite),
        cpu_case("linear/int8/add_is_the_residual_and_the_product", sum),
        cpu_case("linear/int8/rows_are_independent", rows_are_independent),
        cpu_case("linear/int8/the_longest_sum", longest_sum),
        cpu_case("linear/int8/nothing_to_sum", nothing_to_sum),
        cpu_case("linear/int8/wrong_arguments", wrong_arguments),
        gpu_case("linear/int8/gpus_refuse_it", on_a_gpu),
    ]
}

struct Layer {
    packed: LinearWeights,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Layer {
    fn new(device: &Device, [outputs, inputs]: [usize; 2], weight: Vec<f32>) -> Self {
        let values = tensor(device, &[outputs, inputs], weight.clone());
        let bias = random(device, "linear/bias", &[outputs]);
        let packed = LinearWeights::pack(Weight::Int8(&values), Some(&bias)).expect("a valid layer");
        Self { packed, weight, bias: bias.read::<f32>().unwrap() }
    }

    /// Columns of sizes that differ by up to 64.
    fn random(device: &Device, [outputs, inputs]: [usize; 2]) -> Self {
        let mut weight = normal("linear/weight", outputs * inputs);
        for (i, w) in weight.iter_mut().enumerate() {
            *w *= [1.0, 8.0, 0.125][i / inputs % 3];
        }
        Self::new(device, [outputs, inputs], weight)
    }

    fn inputs(&self) -> usize {
        self.weight.len() / self.bias.len()
    }

    /// Compares outputs of rows with two oracles: the product of the rounded factors, from which only sums in f32 differ, and that of
    /// the given ones, from which the rounding differs by at most half a scale for each factor.
    fn check(&self, got: &[f32], x: &[f32], activation: Activation) -> Verdict {
        let (inputs, outputs) = (self.inputs(), self.bias.len());
        let exact = reference::linear(x, &self.weight, &self.bias, activation);
        let columns: Vec<_> = self.weight.chunks_exact(inputs).map(reference::int8_weights).collect();
        for (row, x) in x.chunks_exact(inputs).enumerate() {
            let (rounded, row_scale) = reference::int8_row(x);
            let row_sum: f64 = x.iter().map(|x| f64::from(x.abs())).sum();
            for (column, (weights, column_scale)) in columns.iter().enumerate() {
                let i = row * outputs + column;
                let given = &self.weight[column * inputs..][..inputs];
                let column_sum: f64 = given.iter().map(|w| f64::from(w.abs())).sum();
                let products = || rounded.iter().zip(weights).map(|(x, w)| x * w);
                let bias = f64::from(self.bias[column]);
                let want = reference::activated(bias + products().sum::<f64>(), activation);
                // GELU is at most 1.13 times as steep as its argument.
                let sum = products().map(f64::abs).sum::<f64>() + bias.abs() + want.abs();
                let near = 1e-6 * sum + 6e-7;
                let half = 0.5 * (row_scale * column_sum + column_scale * row_sum);
                let far = near + 1.13 * (half + 0.25 * row_scale * column_scale * inputs as f64);
                let got = f64::from(got[i]);
                for (what, want, most) in [("rounded", want, near), ("given", exact[i], far)] {
                    // Written so that NaN is wrong.
                    let is_right = (got - want).abs() <= most;
                    if !is_right {
                        return Err(format!(
                            "row {row} column {column}: {got}, {what} factors give {want}, at most {most:.1e} away"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

fn run(device: &Device, layer: &Layer, x: &[f32], activation: Activation) -> Result<Vec<f32>, String> {
    let rows = x.len() / layer.inputs();
    values(linear(&tensor(device, &[rows, layer.inputs()], x.to_vec()), &layer.packed, activation))
}

fn against_oracle(device: &Device, [rows, inputs, outputs]: [usize; 3], activation: Activation) -> Verdict {
    let layer = Layer::random(device, [outputs, inputs]);
    let mut x = normal("linear/x", rows * inputs);
    // Rows of different sizes, some with outliers.
    for (i, x) in x.iter_mut().enumerate() {
        let (row, channel) = (i / inputs, i % inputs);
        *x *= [1.0, 30.0, 0.01][row % 3];
        if inputs >= 32 && row % 2 == 1 && channel == row % inputs {
            *x = 40.0 * x.abs().max(1.0);
        }
    }
    let y = run(device, &layer, &x, activation)?;
    let checked = checked_rows(rows);
    layer.check(&picked(&y, outputs, &checked), &picked(&x, inputs, &checked), activation)
}

fn odd_sizes(device: &Device) -> Verdict {
    for rows in [1, 15, 33] {
        for inputs in [1, 3, 65, 777] {
            for outputs in [1, 33] {
                against_oracle(device, [rows, inputs, outputs], Activation::Identity)
                    .map_err(|e| format!("{rows} x {inputs} x {outputs}: {e}"))?;
            }
        }
    }
    Ok(())
}

fn tile_edges(device: &Device) -> Verdict {
    for rows in [1, 4, 6, 13, 14, 15, 31, 32, 33, 65] {
        for outputs in [1, 8, 11, 12, 13, 15, 16, 17, 31, 32, 33, 64] {
            for inputs in [1, 2, 4, 5, 63, 64, 65, 130] {
                against_oracle(device, [rows, inputs, outputs], Activation::Identity)
                    .map_err(|e| format!("{rows} x {inputs} x {outputs}: {e}"))?;
            }
        }
    }
    Ok(())
}

/// Rows with so many of 1024 channels 30 to 100 times larger. The part of the result that comes from the others stays within 2 %; with
/// one scale for all it is off by more than 10 %.
fn outliers(device: &Device, count: usize) -> Verdict {
    let [rows, inputs, outputs] = [33, 1024, 70];
    // Weights that int8 holds exactly.
    let mut weight = normal("linear/weight", outputs * inputs);
    for (i, w) in weight.iter_mut().enumerate() {
        *w = if i % inputs == 0 { 127.0 } else { (*w * 30.0).round().clamp(-127.0, 127.0) } / 128.0;
    }
    let layer = Layer::new(device, [outputs, inputs], weight);
    let (mut x, sizes) = (normal("linear/x", rows * inputs), uniform("linear/outliers", rows * inputs));
    let is_outlier = |i: usize| (i % inputs * 7 + i / inputs) % inputs < count;
    for (i, x) in x.iter_mut().enumerate().filter(|(i, _)| is_outlier(*i)) {
        *x = (65.0 + 35.0 * sizes[i]).copysign(*x);
    }
    let y = run(device, &layer, &x, Activation::Identity)?;
    layer.check(&y, &x, Activation::Identity)?;
    let (mut errors, mut parts) = (0.0, 0.0);
    for (i, &y) in y.iter().enumerate() {
        let (row, column) = (i / outputs, i % outputs);
        let product = |of_outliers: bool| -> f64 {
            let channels = (0..inputs).filter(|&k| is_outlier(row * inputs + k) == of_outliers);
            let products = channels
                .map(|k| f64::from(x[row * inputs + k]) * f64::from(layer.weight[column * inputs + k]));
            products.sum()
        };
        let ordinary = product(false);
        errors += (f64::from(y) - f64::from(layer.bias[column]) - product(true) - ordinary).powi(2);
        parts += ordinary.powi(2);
    }
    let share = (errors / parts).sqrt();
    if share < 0.02 { Ok(()) } else { Err(format!("the ordinary part is off by {:.1} %", 100.0 * share)) }
}

/// Exactly a 32nd of a row above 8 times its mean, one value less and more, and more of which fewer are above 16 times the mean.
fn many_outliers(device: &Device) -> Verdict {
    let [inputs, outputs] = [640, 37];
    let layer = Layer::random(device, [outputs, inputs]);
    let small = uniform("linear/x", inputs);
    let mut x = Vec::new();
    for [(count, size), (more, less)] in [
        [(19, 12.0), (0, 0.0)],
        [(20, 12.0), (0, 0.0)],
        [(21, 12.0), (0, 0.0)],
        [(20, 60.0), (0, 0.0)],
        [(25, 1e3), (0, 0.0)],
        [(10, 100.0), (15, 20.0)],
        [(20, 30.0), (15, 10.0)],
        [(1, 1e6), (630, 1.0)],
        [(640, 3.0), (0, 0.0)],
    ] {
        x.extend((0..inputs).map(|i| match i * 11 % inputs {
            at if at < count => size * (1.0 + 0.01 * small[i]),
            at if at < count + more => -less,
            _ => 0.01 * small[i],
        }));
    }
    let y = run(device, &layer, &x, Activation::Identity)?;
    layer.check(&y, &x, Activation::Identity)
}

/// Rows and weights near the ends of f32, each checked beside the size of its result.
fn small_and_large(device: &Device) -> Verdict {
    let [rows, inputs, outputs] = [3, 100, 35];
    let (x, weight) = (normal("linear/x", rows * inputs), normal("linear/weight", outputs * inputs));
    for (row_size, weight_size) in [(1e-35, 1.0), (1e-20, 1e-10), (1e36, 1.0), (1.0, 1e-35), (1e-10, 1e36)] {
        let x: Vec<f32> = x.iter().map(|x| x * row_size).collect();
        let weight: Vec<f32> = weight.iter().map(|w| w * weight_size).collect();
        let values_of = tensor(device, &[outputs, inputs], weight.clone());
        let packed = LinearWeights::pack(Weight::Int8(&values_of), None).map_err(|e| e.to_string())?;
        let y = values(linear(&tensor(device, &[rows, inputs], x.clone()), &packed, Activation::Identity))?;
        let want = reference::linear(&x, &weight, &vec![0.0; outputs], Activation::Identity);
        let size = f64::from(row_size) * f64::from(weight_size) * (inputs as f64).sqrt();
        for (i, (&y, want)) in y.iter().zip(want).enumerate() {
            let is_right = (f64::from(y) - want).abs() <= 0.05 * size;
            if !is_right {
                return Err(format!("{row_size:e} x {weight_size:e}, element {i}: {y:e}, want {want:e}"));
            }
        }
    }
    Ok(())
}

/// Rows and columns of zeros among others.
fn zeros(device: &Device) -> Verdict {
    let [rows, inputs, outputs] = [40, 70, 35];
    let (mut x, mut weight) = (normal("linear/x", rows * inputs), normal("linear/weight", outputs * inputs));
    for row in [0, 17, 39] {
        x[row * inputs..][..inputs].fill(0.0);
    }
    weight[5 * inputs..][..inputs].fill(0.0);
    let layer = Layer::new(device, [outputs, inputs], weight);
    let y = run(device, &layer, &x, Activation::Identity)?;
    layer.check(&y, &x, Activation::Identity)?;
    for row in [0, 17, 39] {
        check_equal(&y[row * outputs..][..outputs], &layer.bias)?;
    }
    check_equal(&y[outputs + 5..][..1], &layer.bias[5..6])
}

/// NaN and infinities come out as what they make of a sum, and change no other row.
fn not_finite(device: &Device) -> Verdict {
    const NAN: f32 = f32::NAN;
    const INF: f32 = f32::INFINITY;
    let [rows, inputs, outputs] = [40, 150, 35];
    let layer = Layer::random(device, [outputs, inputs]);
    let clean = normal("linear/x", rows * inputs);
    let want = run(device, &layer, &clean, Activation::Identity)?;
    let replaced: [&[(usize, f32)]; 7] = [
        &[(3, NAN)],
        &[(0, -NAN), (149, 7.0)],
        &[(149, INF)],
        &[(64, -INF), (65, 1e3)],
        &[(1, INF), (2, INF)],
        &[(1, INF), (100, NAN)],
        &[(63, 1e30), (7, -INF)],
    ];
    for replaced in replaced {
        let mut x = clean.clone();
        for &(channel, value) in replaced {
            x[17 * inputs + channel] = value;
        }
        let y = run(device, &layer, &x, Activation::Identity)?;
        for (i, (&y, &want)) in y.iter().zip(&want).enumerate() {
            let (row, column) = (i / outputs, i % outputs);
            let is_right = if row == 17 {
                let (weights, _) = reference::int8_weights(&layer.weight[column * inputs..][..inputs]);
                let terms = x[row * inputs..].iter().zip(&weights).map(|(&x, w)| f64::from(x) * w);
                let sum: f64 = terms.sum();
                !y.is_finite() && (y.is_nan() == sum.is_nan()) && (y.is_nan() || f64::from(y) == sum)
            } else {
                y == want
            };
            if !is_right {
                return Err(format!("{replaced:?}: row {row} column {column} is {y}"));
            }
        }
    }
    let all = run(device, &layer, &vec![NAN; 3 * inputs], Activation::Relu)?;
    check_equal(&[all.iter().all(|y| y.is_nan())], &[true])
}

fn weight_not_finite(device: &Device) -> Verdict {
    let [rows, inputs, outputs] = [4, 20, 40];
    for value in [f32::NAN, f32::INFINITY] {
        let mut weight = normal("linear/weight", outputs * inputs);
        weight[33 * inputs + 19] = value;
        let layer = Layer::new(device, [outputs, inputs], weight);
        let y = run(device, &layer, &normal("linear/x", rows * inputs), Activation::Identity)?;
        let is_nan: Vec<bool> = y.iter().map(|y| y.is_nan()).collect();
        let want: Vec<bool> = (0..rows * outputs).map(|i| i % outputs == 33).collect();
        check_equal(&is_nan, &want)?;
    }
    Ok(())
}

fn sum(device: &Device) -> Verdict {
    let [rows, inputs, outputs] = [45, 77, 31];
    let x = random(device, "linear/x", &[rows, inputs]);
    let residual = random(device, "linear/residual", &[rows, outputs]);
    let layer = Layer::random(device, [outputs, inputs]).packed;
    let product = values(linear(&x, &layer, Activation::Identity))?;
    let before = residual.read::<f32>().unwrap();
    let want: Vec<f32> = before.iter().zip(product).map(|(r, p)| p + r).collect();
    check_equal(&values(linear_add(residual, &x, &layer))?, &want)
}

/// The same bits whether a row is multiplied among others or alone, on any number of threads; every third has outliers.
fn rows_are_independent(device: &Device) -> Verdict {
    let [rows, inputs, outputs] = [421, 300, 150];
    let mut x = normal("linear/x", rows * inputs);
    for row in (0..rows).step_by(3) {
        x[row * inputs + row % inputs] = 1e3;
    }
    let layer = Layer::random(device, [outputs, inputs]);
    let all = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| e.to_string())?;
        pool.install(|| run(device, &layer, &x, Activation::Gelu))
    };
    let one = all(1)?;
    for threads in [2, 7] {
        check_equal(&all(threads)?, &one).map_err(|e| format!("{threads} threads: {e}"))?;
    }
    for row in [0, 13, 14, 15, 191, 195, 196, 420] {
        let alone = run(device, &layer, &picked(&x, inputs, &[row]), Activation::Gelu)?;
        check_equal(&alone, &picked(&one, outputs, &[row])).map_err(|e| format!("row {row}: {e}"))?;
    }
    Ok(())
}

/// The largest sum of the longest depth fits; one value more is refused.
fn longest_sum(device: &Device) -> Verdict {
    let ones = tensor(device, &[1, MAX_DEPTH], vec![1.0; MAX_DEPTH]);
    for sign in [1.0, -1.0] {
        let weight = tensor(device, &[1, MAX_DEPTH], vec![sign; MAX_DEPTH]);
        let layer = LinearWeights::pack(Weight::Int8(&weight), None).map_err(|e| e.to_string())?;
        let y = f64::from(values(linear(&ones, &layer, Activation::Identity))?[0]);
        let want = f64::from(sign) * MAX_DEPTH as f64;
        if (y / want - 1.0).abs() > 1e-4 {
            return Err(format!("{y} instead of {want}"));
        }
    }
    let long = Tensor::zeros::<f32>(device, &[1, MAX_DEPTH + 1]);
    expect_error(LinearWeights::pack(Weight::Int8(&long), None), "products of int8 do not fit 32 bits")
}

/// No rows, no outputs, and no inputs, which leave the bias.
fn nothing_to_sum(device: &Device) -> Verdict {
    let layer = Layer::new(device, [5, 0], Vec::new());
    let y = values(linear(&Tensor::zeros::<f32>(device, &[3, 0]), &layer.packed, Activation::Identity))?;
    check_equal(&y, &layer.bias.repeat(3))?;
    let layer = Layer::random(device, [5, 7]).packed;
    let none = values(linear(&Tensor::zeros::<f32>(device, &[0, 7]), &layer, Activation::Identity))?;
    check_equal(&none, &[])?;
    let layer = Layer::new(device, [0, 7], Vec::new()).packed;
    let none = values(linear(&Tensor::zeros::<f32>(device, &[3, 7]), &layer, Activation::Identity))?;
    check_equal(&none, &[])
}

fn wrong_arguments(device: &Device) -> Verdict {
    let weight = random(device, "linear/weight", &[2, 3]);
    let bias = Tensor::zeros::<f32>(device, &[3]);
    expect_error(LinearWeights::pack(Weight::Int8(&weight), Some(&bias)), "`bias` must be [2], got [3]")?;
    let (halves, _) = bf16_tensor(device, &[2, 3], &[1.0; 6]);
    expect_error(LinearWeights::pack(Weight::Int8(&halves), None), "`weight` must hold f32, got bf16")?;
    let layer = LinearWeights::pack(Weight::Int8(&weight), None).map_err(|e| e.to_string())?;
    let x = Tensor::zeros::<f32>(device, &[4, 4]);
    expect_error(linear(&x, &layer, Activation::Identity), "`x` must be [.., 3], got [4, 4]")?;
    let (x, _) = bf16_tensor(device, &[4, 3], &[1.0; 12]);
    expect_error(linear(&x, &layer, Activation::Identity), "`x` must hold f32, got bf16")
}

fn on_a_gpu(device: &Device) -> Verdict {
    let weight = random(device, "linear/weight", &[2, 3]);
    expect_error(LinearWeights::pack(Weight::Int8(&weight), None), "int8 weights run on the CPU only")?;
    let weight = random(&Device::cpu(), "linear/weight", &[2, 3]);
    let layer = LinearWeights::pack(Weight::Int8(&weight), None).map_err(|e| e.to_string())?;
    let x = Tensor::zeros::<f32>(device, &[4, 3]);
    expect_error(linear(&x, &layer, Activation::Identity), "`weights` must be on")
}
