mod int8;
mod integers;

use super::{Activation, LinearWeights, Weight, gpu, linear, linear_add, reference};
use crate::gpu::product::{MatrixTile, PlainTile, Plan, Residual};
use crate::linalg::quantize::{BlockFormat, QuantizedMatrix};
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{
    Case, Tolerance, Verdict, bf16_tensor, case, check_close, check_equal, cpu_case, expect_error, f16_case,
    f16_tensor, floats, gpu_case,
};

pub(crate) fn cases() -> Vec<Case> {
    let all = [
        oracle_cases(),
        f16_cases(),
        bf16_cases(),
        int8::cases(),
        integers::cases(),
        block_cases(),
        form_cases(),
        parts_cases(),
        property_cases(),
        error_cases(),
    ];
    all.into_iter().flatten().collect()
}

fn oracle_cases() -> Vec<Case> {
    use Activation::{Gelu, Identity, Relu};
    vec![
        case("linear/oracle/one_value", |d| against_oracle(d, [1, 1, 1], Identity)),
        case("linear/oracle/few_columns", |d| against_oracle(d, [300, 9, 2], Identity)),
        case("linear/oracle/odd_sizes", |d| against_oracle(d, [29, 67, 43], Identity)),
        case("linear/oracle/odd_sizes_gelu", |d| against_oracle(d, [29, 67, 43], Gelu)),
        case("linear/oracle/odd_sizes_relu", |d| against_oracle(d, [29, 67, 43], Relu)),
        case("linear/oracle/one_row_many_columns", |d| against_oracle(d, [1, 300, 2053], Identity)),
        case("linear/oracle/many_rows_one_column", |d| against_oracle(d, [1999, 301, 1], Gelu)),
        case("linear/oracle/tiny_encoder_fc1", |d| against_oracle(d, [432, 256, 1024], Gelu)),
        case("linear/oracle/mast3r_encoder_fc2", |d| against_oracle(d, [768, 4096, 1024], Identity)),
        case("linear/oracle/add_odd_sizes", |d| sum_against_oracle(d, [61, 45, 77])),
        case("linear/oracle/add_mast3r_proj", |d| sum_against_oracle(d, [768, 1024, 1024])),
    ]
}

fn f16_cases() -> Vec<Case> {
    use Activation::{Gelu, Identity, Relu};
    vec![
        f16_case("linear/f16/one_value", |d| f16_against_oracle(d, [1, 1, 1], Identity)),
        f16_case("linear/f16/few_columns", |d| f16_against_oracle(d, [300, 9, 2], Identity)),
        f16_case("linear/f16/odd_sizes", |d| f16_against_oracle(d, [29, 67, 43], Gelu)),
        f16_case("linear/f16/vectors", |d| f16_against_oracle(d, [130, 100, 100], Relu)),
        f16_case("linear/f16/tiny_encoder_fc1", |d| f16_against_oracle(d, [432, 256, 1024], Gelu)),
        f16_case("linear/f16/add_odd_sizes", |d| f16_sum_against_oracle(d, [31, 45, 77])),
        f16_case("linear/f16/add_tiny_fc2", |d| f16_sum_against_oracle(d, [432, 1024, 256])),
        f16_case("linear/f16/other_dtypes_are_refused", f16_dtypes),
    ]
}

fn bf16_cases() -> Vec<Case> {
    use Activation::{Gelu, Identity, Relu};
    vec![
        cpu_case("linear/bf16/one_value", |d| bf16_against_oracle(d, [1, 1, 1], Identity)),
        cpu_case("linear/bf16/odd_sizes", |d| bf16_against_oracle(d, [29, 67, 43], Gelu)),
        cpu_case("linear/bf16/tiny_encoder_fc1", |d| bf16_against_oracle(d, [432, 256, 1024], Gelu)),
        cpu_case("linear/bf16/mast3r_encoder_fc2", |d| bf16_against_oracle(d, [768, 4096, 1024], Relu)),
        cpu_case("linear/bf16/every_tile_edge", bf16_tile_edges),
        cpu_case("linear/bf16/activations_are_rounded_at_most", bf16_rounds_activations),
        cpu_case("linear/bf16/add", bf16_sum),
        cpu_case("linear/bf16/nan_stays_in_its_row", bf16_nan),
        cpu_case("linear/bf16/nothing_to_sum", bf16_nothing_to_sum),
        gpu_case("linear/bf16/gpus_refuse_it", bf16_on_a_gpu),
    ]
}

fn block_cases() -> Vec<Case> {
    use Activation::{Gelu, Identity, Relu};
    use BlockFormat::{Q4, Q8};
    vec![
        case("linear/q8/one_value", |d| blocks_against_oracle(d, Q8, [1, 1, 1], Identity)),
        case("linear/q4/one_value", |d| blocks_against_oracle(d, Q4, [1, 1, 1], Identity)),
        case("linear/q8/odd_sizes", |d| blocks_against_oracle(d, Q8, [29, 67, 43], Gelu)),
        case("linear/q4/odd_sizes", |d| blocks_against_oracle(d, Q4, [29, 67, 43], Gelu)),
        case("linear/q8/one_row", |d| blocks_against_oracle(d, Q8, [1, 1024, 1023], Identity)),
        case("linear/q4/one_row", |d| blocks_against_oracle(d, Q4, [1, 1024, 1023], Identity)),
        cpu_case("linear/q8/mast3r_encoder_fc2", |d| blocks_against_oracle(d, Q8, [768, 4096, 1024], Relu)),
        cpu_case("linear/q4/mast3r_encoder_fc2", |d| blocks_against_oracle(d, Q4, [768, 4096, 1024], Relu)),
        cpu_case("linear/q8/every_tile_edge", |d| block_tile_edges(d, Q8)),
        cpu_case("linear/q4/every_tile_edge", |d| block_tile_edges(d, Q4)),
        case("linear/q8/small_and_large_scales", |d| block_scales(d, Q8)),
        case("linear/q4/small_and_large_scales", |d| block_scales(d, Q4)),
        case("linear/q8/add_is_the_residual_and_the_product", |d| block_sum(d, Q8)),
        case("linear/q4/add_is_the_residual_and_the_product", |d| block_sum(d, Q4)),
        cpu_case("linear/q8/rows_are_independent", |d| block_rows(d, Q8)),
        cpu_case("linear/q4/rows_are_independent", |d| block_rows(d, Q4)),
        case("linear/q8/nothing_to_sum", |d| blocks_without_values(d, Q8)),
        case("linear/q4/nothing_to_sum", |d| blocks_without_values(d, Q4)),
        cpu_case("linear/q8/wrong_arguments", |d| block_arguments(d, Q8)),
        cpu_case("linear/q4/wrong_arguments", |d| block_arguments(d, Q4)),
        gpu_case("linear/q8/elsewhere", |d| blocks_elsewhere(d, Q8)),
        gpu_case("linear/q4/elsewhere", |d| blocks_elsewhere(d, Q4)),
    ]
}

/// Every form that a device may choose, whatever this one would.
fn form_cases() -> Vec<Case> {
    vec![
        gpu_case("linear/form/plain_tiles_give_the_same_bits", plain_tiles_agree),
        gpu_case("linear/form/emulated_8x8_f32", |d| emulated(d, MATRICES_8, DType::F32)),
        gpu_case("linear/form/emulated_16x16_f32", |d| emulated(d, MATRICES_16, DType::F32)),
        f16_case("linear/form/emulated_8x8_f16", |d| emulated(d, MATRICES_8, DType::F16)),
        f16_case("linear/form/emulated_16x16_f16", |d| emulated(d, MATRICES_16, DType::F16)),
        gpu_case("linear/form/more_than_a_binding", more_than_a_binding),
    ]
}

/// f32 as the sum of parts, where a CPU multiplies those; all others give the same.
fn parts_cases() -> Vec<Case> {
    vec![
        cpu_case("linear/parts/all_digits_count", all_digits_count),
        cpu_case("linear/parts/every_tile_edge", parts_tile_edges),
        cpu_case("linear/parts/several_pieces_of_the_depth", |d| {
            against_oracle(d, [139, 4101, 1025], Activation::Relu)?;
            sum_against_oracle(d, [139, 2080, 545])
        }),
        cpu_case("linear/parts/small_and_large_values", small_and_large_values),
        cpu_case("linear/parts/what_is_not_finite", what_is_not_finite),
        cpu_case("linear/parts/nothing_is_left_of_a_product_before", nothing_is_left),
    ]
}

fn property_cases() -> Vec<Case> {
    vec![
        case("linear/property/every_tile_edge", every_tile_edge),
        case("linear/property/no_bias_is_zero_bias", no_bias_is_zero_bias),
        case("linear/property/rows_are_independent", rows_are_independent),
        case("linear/property/gelu_over_its_range", gelu_over_its_range),
        case("linear/property/nan_stays_in_its_row", nan_stays_in_its_row),
        case("linear/property/no_rows", no_rows),
        case("linear/property/no_inputs_gives_the_bias", no_inputs_gives_the_bias),
        case("linear/property/shared_residual_is_not_changed", shared_residual_is_not_changed),
    ]
}

fn error_cases() -> Vec<Case> {
    vec![
        gpu_case("linear/error/other_device", other_device),
        case("linear/error/weight_rank", weight_rank),
        case("linear/error/weight_dtype", weight_dtype),
        case("linear/error/bias_shape", bias_shape),
        case("linear/error/bias_dtype", bias_dtype),
        case("linear/error/x_columns", x_columns),
        case("linear/error/x_without_axes", x_without_axes),
        case("linear/error/x_dtype", x_dtype),
        case("linear/error/residual_shape", residual_shape),
        case("linear/error/residual_dtype", residual_dtype),
    ]
}

fn tensor(device: &Device, shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::new(device, shape, values).expect("a test's shape fits its values")
}

fn random(device: &Device, name: &str, shape: &[usize]) -> Tensor {
    tensor(device, shape, normal(name, shape.iter().product()))
}

fn values(result: Result<Tensor, crate::OpError>) -> Result<Vec<f32>, String> {
    result.map_err(|e| e.to_string())?.read::<f32>().map_err(|e| e.to_string())
}

struct Layer {
    weight: Tensor,
    bias: Tensor,
    packed: LinearWeights,
}

fn layer(device: &Device, inputs: usize, outputs: usize) -> Layer {
    let weight = random(device, "linear/weight", &[outputs, inputs]);
    let bias = random(device, "linear/bias", &[outputs]);
    let packed = LinearWeights::pack(&weight, Some(&bias)).expect("a valid layer");
    Layer { weight, bias, packed }
}

/// Rows that the oracle checks: all of few, else every 37th and the last.
fn checked_rows(rows: usize) -> Vec<usize> {
    (0..rows).filter(|r| rows <= 64 || r % 37 == 0 || r + 1 == rows).collect()
}

fn picked(values: &[f32], columns: usize, rows: &[usize]) -> Vec<f32> {
    rows.iter().flat_map(|&r| values[r * columns..][..columns].iter().copied()).collect()
}

fn oracle(layer: &Layer, x: &[f32], activation: Activation) -> Vec<f64> {
    let (weight, bias) = (layer.weight.read::<f32>().unwrap(), layer.bias.read::<f32>().unwrap());
    reference::linear(x, &weight, &bias, activation)
}

fn against_oracle(device: &Device, [rows, inputs, outputs]: [usize; 3], activation: Activation) -> Verdict {
    let x = random(device, "linear/x", &[rows, inputs]);
    let layer = layer(device, inputs, outputs);
    let y = linear(&x, &layer.packed, activation).map_err(|e| e.to_string())?;
    check_equal(y.shape(), &[rows, outputs])?;
    let checked = checked_rows(rows);
    let want = oracle(&layer, &picked(&x.read::<f32>().unwrap(), inputs, &checked), activation);
    let got = picked(&y.read::<f32>().unwrap(), outputs, &checked);
    check_close(&got, &want, Tolerance::Sum { depth: inputs })
}

fn sum_against_oracle(device: &Device, [rows, inputs, outputs]: [usize; 3]) -> Verdict {
    let x = random(device, "linear/x", &[rows, inputs]);
    let residual = random(device, "linear/residual", &[rows, outputs]);
    let layer = layer(device, inputs, outputs);
    let got = values(linear_add(residual.clone(), &x, &layer.packed))?;
    let checked = checked_rows(rows);
    let before = picked(&residual.read::<f32>().unwrap(), outputs, &checked);
    let product = oracle(&layer, &picked(&x.read::<f32>().unwrap(), inputs, &checked), Activation::Identity);
    let want: Vec<f64> = before.iter().zip(product).map(|(&r, p)| f64::from(r) + p).collect();
    check_close(&picked(&got, outputs, &checked), &want, Tolerance::Sum { depth: inputs })
}

/// Half a unit in the last place of f16, for the largest of the tensor and so for all.
const F16_ROUNDING: f64 = 5e-4;

struct HalfLayer {
    layer: LinearWeights,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

fn f16_layer(device: &Device, inputs: usize, outputs: usize) -> HalfLayer {
    let weight = normal("linear/weight", inputs * outputs);
    let (tensor, weight) = f16_tensor(device, &[outputs, inputs], &weight);
    let bias = random(device, "linear/bias", &[outputs]);
    let layer = LinearWeights::pack(&tensor, Some(&bias)).expect("a valid layer");
    HalfLayer { layer, weight, bias: bias.read::<f32>().unwrap() }
}

fn f16_against_oracle(
    device: &Device,
    [rows, inputs, outputs]: [usize; 3],
    activation: Activation,
) -> Verdict {
    let (x, values) = f16_tensor(device, &[rows, inputs], &normal("linear/x", rows * inputs));
    let HalfLayer { layer, weight, bias } = f16_layer(device, inputs, outputs);
    let y = floats(&linear(&x, &layer, activation).map_err(|e| e.to_string())?)?;
    let checked = checked_rows(rows);
    let want = reference::linear(&picked(&values, inputs, &checked), &weight, &bias, activation);
    check_close(&picked(&y, outputs, &checked), &want, Tolerance::OfLargest(F16_ROUNDING))
}

/// In the memory of the residual and beside it.
fn f16_sum_against_oracle(device: &Device, [rows, inputs, outputs]: [usize; 3]) -> Verdict {
    let (x, values) = f16_tensor(device, &[rows, inputs], &normal("linear/x", rows * inputs));
    let residual = normal("linear/residual", rows * outputs);
    let (residual, before) = f16_tensor(device, &[rows, outputs], &residual);
    let HalfLayer { layer, weight, bias } = f16_layer(device, inputs, outputs);
    let checked = checked_rows(rows);
    let product = reference::linear(&picked(&values, inputs, &checked), &weight, &bias, Activation::Identity);
    let before = picked(&before, outputs, &checked);
    let want: Vec<f64> = before.iter().zip(product).map(|(&r, p)| f64::from(r) + p).collect();
    let beside = floats(&linear_add(residual.clone(), &x, &layer).map_err(|e| e.to_string())?)?;
    let inside = floats(&linear_add(residual, &x, &layer).map_err(|e| e.to_string())?)?;
    check_equal(&beside, &inside)?;
    check_close(&picked(&inside, outputs, &checked), &want, Tolerance::OfLargest(F16_ROUNDING))
}

fn f16_dtypes(device: &Device) -> Verdict {
    let HalfLayer { layer, .. } = f16_layer(device, 3, 2);
    let x = Tensor::zeros::<f32>(device, &[4, 3]);
    expect_error(
        linear(&x, &layer, Activation::Identity),
        "`weights` must hold f32 as the first argument, got f16",
    )?;
    let (x, _) = f16_tensor(device, &[4, 3], &[1.0; 12]);
    expect_error(
        linear_add(Tensor::zeros::<f32>(device, &[4, 2]), &x, &layer),
        "`residual` must hold f16 as the first argument, got f32",
    )
}

/// A layer in bf16 and the values of its weight and bias.
fn bf16_layer(device: &Device, inputs: usize, outputs: usize) -> HalfLayer {
    let weight = normal("linear/weight", inputs * outputs);
    let (tensor, weight) = bf16_tensor(device, &[outputs, inputs], &weight);
    let bias = random(device, "linear/bias", &[outputs]);
    let layer = LinearWeights::pack(&tensor, Some(&bias)).expect("a valid layer");
    HalfLayer { layer, weight, bias: bias.read::<f32>().unwrap() }
}

/// Activations that bf16 holds, so that every form computes the same products.
fn bf16_rows(device: &Device, rows: usize, inputs: usize) -> Tensor {
    let (_, values) = bf16_tensor(device, &[rows, inputs], &normal("linear/x", rows * inputs));
    tensor(device, &[rows, inputs], values)
}

fn bf16_against_oracle(
    device: &Device,
    [rows, inputs, outputs]: [usize; 3],
    activation: Activation,
) -> Verdict {
    let x = bf16_rows(device, rows, inputs);
    let HalfLayer { layer, weight, bias } = bf16_layer(device, inputs, outputs);
    let y = values(linear(&x, &layer, activation))?;
    let checked = checked_rows(rows);
    let x = picked(&x.read::<f32>().unwrap(), inputs, &checked);
    let want = reference::linear(&x, &weight, &bias, activation);
    check_close(&picked(&y, outputs, &checked), &want, Tolerance::Sum { depth: inputs })
}

fn bf16_tile_edges(device: &Device) -> Verdict {
    for rows in [1, 13, 14, 15, 31, 32, 33, 65] {
        for outputs in [1, 15, 16, 17, 31, 32, 33, 64] {
            for inputs in [1, 2, 31, 32, 33, 64, 97] {
                bf16_against_oracle(device, [rows, inputs, outputs], Activation::Identity)
                    .map_err(|e| format!("{rows} x {inputs} x {outputs}: {e}"))?;
            }
        }
    }
    Ok(())
}

/// Activations of f32 are at most rounded to bf16, by half a unit in the last place of 8 bits.
fn bf16_rounds_activations(device: &Device) -> Verdict {
    let [rows, inputs, outputs] = [37, 130, 45];
    let x = normal("linear/x", rows * inputs);
    let HalfLayer { layer, weight, bias } = bf16_layer(device, inputs, outputs);
    let got = values(linear(&tensor(device, &[rows, inputs], x.clone()), &layer, Activation::Identity))?;
    let want = reference::linear(&x, &weight, &bias, Activation::Identity);
    for (i, (&got, want)) in got.iter().zip(want).enumerate() {
        let (row, column) = (i / outputs, i % outputs);
        let products = x[row * inputs..].iter().zip(&weight[column * inputs..]).take(inputs);
        let sum: f64 = products.map(|(&x, &w)| f64::from(x * w).abs()).sum();
        let error = (f64::from(got) - want).abs();
        if error > sum / 256.0 + 1e-5 {
            return Err(format!("element {i}: error {error:.1e}, products add up to {sum:.1e}"));
        }
    }
    Ok(())
}

fn bf16_sum(device: &Device) -> Verdict {
    let [rows, inputs, outputs] = [45, 77, 31];
    let (x, residual) =
        (bf16_rows(device, rows, inputs), random(device, "linear/residual", &[rows, outputs]));
    let HalfLayer { layer, weight, bias } = bf16_layer(device, inputs, outputs);
    let product = reference::linear(&x.read::<f32>().unwrap(), &weight, &bias, Activation::Identity);
    let before = residual.read::<f32>().unwrap();
    let want: Vec<f64> = before.iter().zip(product).map(|(&r, p)| f64::from(r) + p).collect();
    check_close(&values(linear_add(residual, &x, &layer))?, &want, Tolerance::Sum { depth: inputs })
}

fn bf16_nan(device: &Device) -> Verdict {
    let [rows, inputs, outputs] = [40, 50, 35];
    let mut x = bf16_rows(device, rows, inputs).read::<f32>().unwrap();
    let layer = bf16_layer(device, inputs, outputs).layer;
    let clean = values(linear(&tensor(device, &[rows, inputs], x.clone()), &layer, Activation::Identity))?;
    x[17 * inputs + 3] = f32::NAN;
    let got = values(linear(&tensor(device, &[rows, inputs], x), &layer, Activation::Identity))?;
    for row in 0..rows {
        let (got, clean) = (&got[row * outputs..][..outputs], &clean[row * outputs..][..outputs]);
        if row == 17 {
            check_equal(&got.iter().map(|v| v.is_nan()).collect::<Vec<_>>(), &vec![true; outputs])?;
        } else {
            check_equal(got, clean)?;
        }
    }
    Ok(())
}

/// No rows, and no inputs, which leave the bias.
fn bf16_nothing_to_sum(device: &Device) -> Verdict {
    let HalfLayer { layer, bias, .. } = bf16_layer(device, 0, 5);
    let y = values(linear(&Tensor::zeros::<f32>(device, &[3, 0]), &layer, Activation::Identity))?;
    check_equal(&y, &bias.repeat(3))?;
    let layer = bf16_layer(device, 7, 5).layer;
    let none = values(linear(&Tensor::zeros::<f32>(device, &[0, 7]), &layer, Activation::Identity))?;
    check_equal(&none, &[])
}

fn bf16_on_a_gpu(device: &Device) -> Verdict {
    let (weight, _) = bf16_tensor(device, &[2, 3], &[1.0; 6]);
    expect_error(LinearWeights::pack(&weight, None), "`weight` must hold f32")
}

/// A layer in blocks, with the values that the blocks stand for and the bias.
fn block_layer(device: &Device, format: BlockFormat, [outputs, inputs]: [usize; 2], scale: f32) -> HalfLayer {
    let values: Vec<f32> = normal("linear/weight", inputs * outputs).iter().map(|v| v * scale).collect();
    let matrix = QuantizedMatrix::quantize(format, [outputs, inputs], &values).expect("normal values");
    let bias = random(device, "linear/bias", &[outputs]);
    let layer = LinearWeights::pack(&matrix, Some(&bias)).expect("a valid layer");
    HalfLayer { layer, weight: matrix.dequantize(), bias: bias.read::<f32>().unwrap() }
}

/// What separates `got` from the oracle, relative to the sum of the magnitudes of products: where the CPU multiplies pairs of bf16 the
/// rounding of both factors, each by half a unit in the last place of 8 bits, else that of sums in f32.
fn check_blocks(got: &[f32], x: &[f32], layer: &HalfLayer, activation: Activation) -> Verdict {
    let (outputs, inputs) = (layer.bias.len(), x.len() * layer.bias.len() / got.len());
    let want = reference::linear(x, &layer.weight, &layer.bias, activation);
    let has_pairs = layer.layer.device.gpu().is_none()
        && matches!(crate::cpu::Isa::current().name(), "amx" | "avx512bf16");
    let share = if has_pairs { 1.0 / 127.0 } else { f64::from(f32::EPSILON) * (inputs as f64).sqrt() };
    for (i, (&got, want)) in got.iter().zip(want).enumerate() {
        let (row, column) = (i / outputs, i % outputs);
        let products = x[row * inputs..].iter().zip(&layer.weight[column * inputs..]).take(inputs);
        let sum: f64 = products.map(|(&x, &w)| f64::from(x * w).abs()).sum();
        let error = (f64::from(got) - want).abs();
        // GELU is at most 1.13 times as steep as its argument. Written so that NaN is wrong.
        let is_right = error <= 1.13 * share * sum + 1e-6 * (1.0 + want.abs());
        if !is_right {
            return Err(format!("element {i}: error {error:.1e}, products add up to {sum:.1e}"));
        }
    }
    Ok(())
}

fn blocks_against_oracle(
    device: &Device,
    format: BlockFormat,
    [rows, inputs, outputs]: [usize; 3],
    activation: Activation,
) -> Verdict {
    let x = normal("linear/x", rows * inputs);
    let layer = block_layer(device, format, [outputs, inputs], 1.0);
    let y = values(linear(&tensor(device, &[rows, inputs], x.clone()), &layer.layer, activation))?;
    let checked = checked_rows(rows);
    check_blocks(&picked(&y, outputs, &checked), &picked(&x, inputs, &checked), &layer, activation)
}

fn block_tile_edges(device: &Device, format: BlockFormat) -> Verdict {
    for rows in [1, 4, 6, 13, 14, 15, 31, 32, 33, 65] {
        for outputs in [1, 8, 11, 13, 15, 16, 17, 31, 32, 33, 64] {
            for inputs in [1, 2, 31, 32, 33, 64, 97] {
                blocks_against_oracle(device, format, [rows, inputs, outputs], Activation::Identity)
                    .map_err(|e| format!("{rows} x {inputs} x {outputs}: {e}"))?;
            }
        }
    }
    Ok(())
}

/// Scales that are small numbers of f16, and near its largest.
fn block_scales(device: &Device, format: BlockFormat) -> Verdict {
    let [rows, inputs, outputs] = [9, 40, 35];
    let x = normal("linear/x", rows * inputs);
    for scale in [2e-5, 9e4] {
        let mut layer = block_layer(device, format, [outputs, inputs], scale);
        // Without a bias, which would hide small products.
        let values_of =
            normal("linear/weight", inputs * outputs).iter().map(|v| v * scale).collect::<Vec<_>>();
        let matrix = QuantizedMatrix::quantize(format, [outputs, inputs], &values_of).expect("normal values");
        layer.layer = LinearWeights::pack_on(device, &matrix, None).expect("a valid layer");
        layer.bias = vec![0.0; outputs];
        let y =
            values(linear(&tensor(device, &[rows, inputs], x.clone()), &layer.layer, Activation::Identity))?;
        let want = reference::linear(&x, &layer.weight, &layer.bias, Activation::Identity);
        check_close(&y, &want, Tolerance::OfLargest(5e-3)).map_err(|e| format!("scale {scale}: {e}"))?;
    }
    Ok(())
}

fn block_sum(device: &Device, format: BlockFormat) -> Verdict {
    let [rows, inputs, outputs] = [45, 77, 31];
    let x = random(device, "linear/x", &[rows, inputs]);
    let residual = random(device, "linear/residual", &[rows, outputs]);
    let layer = block_layer(device, format, [outputs, inputs], 1.0).layer;
    let product = values(linear(&x, &layer, Activation::Identity))?;
    let before = residual.read::<f32>().unwrap();
    let want: Vec<f32> = before.iter().zip(product).map(|(r, p)| p + r).collect();
    check_equal(&values(linear_add(residual, &x, &layer))?, &want)
}

fn block_rows(device: &Device, format: BlockFormat) -> Verdict {
    let [rows, inputs, outputs] = [421, 100, 150];
    let x = normal("linear/x", rows * inputs);
    let layer = block_layer(device, format, [outputs, inputs], 1.0).layer;
    let all = values(linear(&tensor(device, &[rows, inputs], x.clone()), &layer, Activation::Identity))?;
    for row in [0, 13, 14, 195, 196, 420] {
        let one = tensor(device, &[inputs], picked(&x, inputs, &[row]));
        let one = values(linear(&one, &layer, Activation::Identity))?;
        check_equal(&one, &picked(&all, outputs, &[row])).map_err(|e| format!("row {row}: {e}"))?;
    }
    Ok(())
}

/// No rows, and no inputs, which leave the bias.
fn blocks_without_values(device: &Device, format: BlockFormat) -> Verdict {
    let HalfLayer { layer, bias, .. } = block_layer(device, format, [5, 0], 1.0);
    let y = values(linear(&Tensor::zeros::<f32>(device, &[3, 0]), &layer, Activation::Identity))?;
    check_equal(&y, &bias.repeat(3))?;
    let layer = block_layer(device, format, [5, 7], 1.0).layer;
    let none = values(linear(&Tensor::zeros::<f32>(device, &[0, 7]), &layer, Activation::Identity))?;
    check_equal(&none, &[])
}

fn block_arguments(device: &Device, format: BlockFormat) -> Verdict {
    let matrix = QuantizedMatrix::quantize(format, [2, 3], &[1.0; 6]).map_err(|e| e.to_string())?;
    let bias = Tensor::zeros::<f32>(device, &[3]);
    expect_error(LinearWeights::pack(&matrix, Some(&bias)), "`bias` must be [2], got [3]")?;
    let bias = Tensor::zeros::<i32>(device, &[2]);
    expect_error(LinearWeights::pack(&matrix, Some(&bias)), "`bias` must hold f32, got i32")?;
    let layer = LinearWeights::pack(&matrix, None).map_err(|e| e.to_string())?;
    let x = Tensor::zeros::<f32>(device, &[4, 32]);
    expect_error(linear(&x, &layer, Activation::Identity), "`x` must be [.., 3], got [4, 32]")?;
    let (x, _) = bf16_tensor(device, &[4, 3], &[1.0; 12]);
    expect_error(linear(&x, &layer, Activation::Identity), "`x` must hold f32, got bf16")
}

/// Blocks are in host memory and go where they are asked to; without a bias that is the CPU.
fn blocks_elsewhere(device: &Device, format: BlockFormat) -> Verdict {
    let matrix = QuantizedMatrix::quantize(format, [2, 3], &[1.0; 6]).map_err(|e| e.to_string())?;
    let here = LinearWeights::pack(&matrix, None).map_err(|e| e.to_string())?;
    let x = Tensor::zeros::<f32>(device, &[4, 3]);
    expect_error(linear(&x, &here, Activation::Identity), "`weights` must be on")?;
    let there = LinearWeights::pack_on(device, &matrix, None).map_err(|e| e.to_string())?;
    check_equal(&values(linear(&x, &there, Activation::Identity))?, &[0.0; 8])?;
    let bias = Tensor::zeros::<f32>(&Device::Cpu, &[2]);
    expect_error(LinearWeights::pack_on(device, &matrix, Some(&bias)), "`bias` must be on")
}

/// The result of a plan, and what the oracle says.
fn planned(
    device: &Device,
    plan: Plan,
    dtype: DType,
    [rows, inputs, outputs]: [usize; 3],
    max_bytes: Option<u64>,
) -> Result<(Vec<f32>, Vec<f64>), String> {
    let gpu = device.gpu().expect("a case for GPUs");
    let make = |name: &str, shape: &[usize]| match dtype {
        DType::F16 => f16_tensor(device, shape, &normal(name, shape.iter().product())).0,
        _ => random(device, name, shape),
    };
    let (x, weight) = (make("linear/x", &[rows, inputs]), make("linear/weight", &[outputs, inputs]));
    let bias = random(device, "linear/bias", &[outputs]);
    let packed = gpu::pack(gpu, Weight::Values(&weight), Some(&bias)).map_err(|e| e.to_string())?;
    let packed = packed.expect("weights of values");
    let y = Tensor::on_gpu(gpu, "test", dtype, &[rows, outputs]).map_err(|e| e.to_string())?;
    let max_bytes = max_bytes.unwrap_or(gpu.capabilities().max_binding_bytes);
    gpu::product(&x, &packed, Activation::Gelu, Residual::Nothing)
        .launch_as(gpu, plan, max_bytes, &y)
        .map_err(|e| e.to_string())?;
    let bias = bias.read::<f32>().unwrap();
    let want = reference::linear(&floats(&x)?, &floats(&weight)?, &bias, Activation::Gelu);
    Ok((floats(&y)?, want))
}

fn plain_tiles_agree(device: &Device) -> Verdict {
    // More rows and columns than any tile has, and something in the last step of the depth.
    let extents = [261, 63, 262];
    let run = |tile| planned(device, Plan::Plain(tile), DType::F32, extents, None);
    let (medium, want) = run(PlainTile::MEDIUM)?;
    check_close(&medium, &want, Tolerance::Sum { depth: extents[1] })?;
    for tile in [PlainTile::LARGE, PlainTile::NARROW, PlainTile::THIN, PlainTile::FLAT] {
        check_equal(&run(tile)?.0, &medium).map_err(|e| format!("{tile:?}: {e}"))?;
    }
    Ok(())
}

/// As many parts as there are in the real tiles, but small ones, because everything is computed 32 times.
const MATRICES_8: MatrixTile =
    MatrixTile { side: 8, tile: [32, 32], part: [16, 16], depth: 32, emulated: true };
const MATRICES_16: MatrixTile =
    MatrixTile { side: 16, tile: [64, 32], part: [32, 16], depth: 32, emulated: true };

fn emulated(device: &Device, tile: MatrixTile, dtype: DType) -> Verdict {
    for extents in [[1, 3, 17], [37, 70, 45], [70, 96, 36], [65, 36, 100], [40, 120, 64]] {
        let run = |depth| planned(device, Plan::Matrix(MatrixTile { depth, ..tile }), dtype, extents, None);
        let (got, want) = run(32)?;
        let tolerance = match dtype {
            DType::F16 => Tolerance::OfLargest(F16_ROUNDING),
            _ => Tolerance::Sum { depth: extents[1] },
        };
        check_close(&got, &want, tolerance).map_err(|e| format!("{extents:?}: {e}"))?;
        // The depth of a step changes no bit, but must divide the padded depth and fit the device.
        for depth in [64, 128] {
            let fits =
                MatrixTile { depth, ..tile }.fits(device.gpu().expect("a GPU case").capabilities(), dtype);
            if fits && extents[1].next_multiple_of(32).is_multiple_of(depth as usize) {
                check_equal(&run(depth)?.0, &got).map_err(|e| format!("{extents:?} {depth}: {e}"))?;
            }
        }
    }
    Ok(())
}

/// Bindings so small that rows and weights come in parts, which begin anywhere.
fn more_than_a_binding(device: &Device) -> Verdict {
    let plan = Plan::Plain(PlainTile::MEDIUM);
    for extents in [[301, 45, 77], [130, 64, 260]] {
        let (whole, want) = planned(device, plan, DType::F32, extents, None)?;
        check_close(&whole, &want, Tolerance::Sum { depth: extents[1] })?;
        for max_bytes in [20_000, 32_000] {
            let (parts, _) = planned(device, plan, DType::F32, extents, Some(max_bytes))?;
            check_equal(&parts, &whole).map_err(|e| format!("{extents:?} {max_bytes}: {e}"))?;
        }
        let refused = planned(device, plan, DType::F32, extents, Some(512));
        expect_error(refused, "does not fit one of its bindings")?;
    }
    Ok(())
}

fn other_device(device: &Device) -> Verdict {
    let here = layer(device, 3, 2).packed;
    let there = layer(&Device::cpu(), 3, 2).packed;
    let x = Tensor::zeros::<f32>(device, &[4, 3]);
    expect_error(linear(&x, &there, Activation::Identity), "`weights` must be on")?;
    expect_error(
        linear(&Tensor::zeros::<f32>(&Device::cpu(), &[4, 3]), &here, Activation::Identity),
        "`weights` must be on",
    )?;
    let residual = Tensor::zeros::<f32>(&Device::cpu(), &[4, 2]);
    expect_error(linear_add(residual, &x, &here), "`residual` must be on")?;
    let bias = Tensor::zeros::<f32>(&Device::cpu(), &[2]);
    expect_error(
        LinearWeights::pack(&Tensor::zeros::<f32>(device, &[2, 3]), Some(&bias)),
        "`bias` must be on",
    )
}

/// Rows, depth and columns one below, at and one above every extent of every tile.
fn every_tile_edge(device: &Device) -> Verdict {
    for rows in [3, 4, 5, 6, 7, 8, 9, 13, 14, 15, 28] {
        for outputs in [7, 8, 9, 11, 12, 13, 15, 16, 17, 31, 32, 33, 64] {
            for inputs in [1, 4, 15, 16, 17] {
                against_oracle(device, [rows, inputs, outputs], Activation::Identity)
                    .map_err(|e| format!("{rows} x {inputs} x {outputs}: {e}"))?;
            }
        }
    }
    for inputs in [511, 512, 513, 1025] {
        against_oracle(device, [75, inputs, 9], Activation::Identity)
            .map_err(|e| format!("{inputs}: {e}"))?;
    }
    Ok(())
}

fn no_bias_is_zero_bias(device: &Device) -> Verdict {
    let x = random(device, "linear/x", &[5, 11]);
    let weight = random(device, "linear/weight", &[19, 11]);
    let zeros = Tensor::zeros::<f32>(device, &[19]);
    let without = LinearWeights::pack(&weight, None).map_err(|e| e.to_string())?;
    let with = LinearWeights::pack(&weight, Some(&zeros)).map_err(|e| e.to_string())?;
    let without = values(linear(&x, &without, Activation::Identity))?;
    check_equal(&without, &values(linear(&x, &with, Activation::Identity))?)
}

/// The same bits whether a row is multiplied among others or alone, hence for any split among threads; where many rows are multiplied in parts
/// and few are not, among as many others.
fn rows_are_independent(device: &Device) -> Verdict {
    let (rows, inputs, outputs) = (421, 700, 520);
    against_oracle(device, [rows, inputs, outputs], Activation::Gelu)?;
    let x = random(device, "linear/x", &[rows, inputs]);
    let layer = layer(device, inputs, outputs);
    let all = values(linear(&x, &layer.packed, Activation::Gelu))?;
    let x = x.read::<f32>().unwrap();
    let alone = |rows: Vec<usize>| {
        let few = tensor(device, &[rows.len(), inputs], picked(&x, inputs, &rows));
        let few = values(linear(&few, &layer.packed, Activation::Gelu))?;
        Ok::<_, String>((few, picked(&all, outputs, &rows)))
    };
    let has_parts = device.gpu().is_none() && crate::cpu::Isa::current().split_unit().is_some();
    for row in [0, 13, 14, 195, 196, 420] {
        let (one, all) = alone(vec![row])?;
        if has_parts {
            let all: Vec<f64> = all.into_iter().map(f64::from).collect();
            check_close(&one, &all, Tolerance::Sum { depth: inputs })
        } else {
            check_equal(&one, &all)
        }
        .map_err(|e| format!("row {row}: {e}"))?;
    }
    let (some, all) = alone((101..180).collect())?;
    check_equal(&some, &all)
}

/// Sums of one product: each is right to its last digits.
fn all_digits_count(device: &Device) -> Verdict {
    let [rows, inputs, outputs] = [97, 70, 545];
    let values_of_x = normal("linear/x", rows);
    let x = (0..rows * inputs)
        .map(|i| if i % inputs == i / inputs % inputs { values_of_x[i / inputs] } else { 0.0 });
    let x: Vec<f32> = x.collect();
    let weight = random(device, "linear/weight", &[outputs, inputs]);
    let layer = LinearWeights::pack(&weight, None).map_err(|e| e.to_string())?;
    let got = values(linear(&tensor(device, &[rows, inputs], x.clone()), &layer, Activation::Identity))?;
    let weight = weight.read::<f32>().unwrap();
    check_close(
        &got,
        &reference::linear(&x, &weight, &vec![0.0; outputs], Activation::Identity),
        Tolerance::Ulps(2),
    )
}

fn parts_tile_edges(device: &Device) -> Verdict {
    for rows in [63, 64, 65, 96, 129] {
        for outputs in [511, 512, 513, 543, 576] {
            for inputs in [1, 2, 31, 32, 33, 97] {
                against_oracle(device, [rows, inputs, outputs], Activation::Identity)
                    .map_err(|e| format!("{rows} x {inputs} x {outputs}: {e}"))?;
            }
        }
    }
    Ok(())
}

/// Where parts of a value would be too small or too large.
fn small_and_large_values(device: &Device) -> Verdict {
    let [rows, inputs, outputs] = [67, 50, 515];
    for (x_scale, weight_scale) in [
        (1e-36, 1e10),
        (1e10, 1e-36),
        (1e-36, 1e25),
        (1e-22, 1e-5),
        (1e-30, 1.0),
        (1e17, 1e17),
        (1e33, 1e-20),
    ] {
        let scaled = |name, len, scale: f32| normal(name, len).iter().map(|v| v * scale).collect::<Vec<_>>();
        let x = scaled("linear/x", rows * inputs, x_scale);
        let weight = scaled("linear/weight", outputs * inputs, weight_scale);
        let layer = LinearWeights::pack(&tensor(device, &[outputs, inputs], weight.clone()), None).unwrap();
        let got = values(linear(&tensor(device, &[rows, inputs], x.clone()), &layer, Activation::Identity))?;
        let want = reference::linear(&x, &weight, &vec![0.0; outputs], Activation::Identity);
        check_close(&got, &want, Tolerance::Sum { depth: inputs })
            .map_err(|e| format!("{x_scale:e} times {weight_scale:e}: {e}"))?;
    }
    Ok(())
}

/// Behind a depth that fills no whole step lie no values of the rows before, in f32 and in bf16.
fn nothing_is_left(device: &Device) -> Verdict {
    let (rows, outputs) = (65, 513);
    for narrow in [false, true] {
        let product = |inputs: usize, x: Vec<f32>| {
            let layer = if narrow {
                bf16_layer(device, inputs, outputs).layer
            } else {
                layer(device, inputs, outputs).packed
            };
            values(linear(&tensor(device, &[rows, inputs], x), &layer, Activation::Identity))
        };
        product(64, vec![f32::NAN; rows * 64])?;
        let got = product(33, normal("linear/x", rows * 33))?;
        if let Some(i) = got.iter().position(|v| !v.is_finite()) {
            return Err(format!("bf16 {narrow}: element {i} is {}", got[i]));
        }
    }
    Ok(())
}

/// Infinities and sums above the largest f32 come out as infinities, in their rows alone.
fn what_is_not_finite(device: &Device) -> Verdict {
    let [rows, inputs, outputs] = [67, 50, 515];
    let weight = normal("linear/weight", outputs * inputs);
    let layer = LinearWeights::pack(&tensor(device, &[outputs, inputs], weight.clone()), None).unwrap();
    // Weights of which one part is 0 are among the worst.
    let ones = tensor(device, &[outputs, inputs], vec![1.0; outputs * inputs]);
    let ones = LinearWeights::pack(&ones, None).unwrap();
    for large in [f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        let mut x = normal("linear/x", rows * inputs);
        x[9 * inputs + 7] = large;
        if large == f32::MAX {
            x[9 * inputs + 8] = large;
        }
        let x = tensor(device, &[rows, inputs], x);
        let sums = values(linear(&x, &ones, Activation::Identity))?;
        let in_row_9 = |i: usize| i / outputs == 9;
        check_equal(&sums[9 * outputs..10 * outputs], &vec![f32::INFINITY.copysign(large); outputs])?;
        if let Some(i) = (0..sums.len()).find(|&i| !in_row_9(i) && !sums[i].is_finite()) {
            return Err(format!("{large}: row {} is {}", i / outputs, sums[i]));
        }
        if large.is_infinite() {
            let got = values(linear(&x, &layer, Activation::Identity))?;
            let want: Vec<f32> = (0..outputs).map(|c| large * weight[c * inputs + 7]).collect();
            check_equal(&got[9 * outputs..10 * outputs], &want)?;
        }
    }
    // The same in a weight.
    let mut weight = weight;
    weight[3 * inputs + 7] = f32::INFINITY;
    let layer = LinearWeights::pack(&tensor(device, &[outputs, inputs], weight), None).unwrap();
    let x = normal("linear/x", rows * inputs);
    let got = values(linear(&tensor(device, &[rows, inputs], x.clone()), &layer, Activation::Identity))?;
    for row in 0..rows {
        let want = f32::INFINITY.copysign(x[row * inputs + 7]);
        check_equal(&got[row * outputs + 3..][..1], &[want]).map_err(|e| format!("row {row}: {e}"))?;
        if let Some(c) = (0..outputs).find(|&c| c != 3 && !got[row * outputs + c].is_finite()) {
            return Err(format!("row {row}, output {c}: {}", got[row * outputs + c]));
        }
    }
    Ok(())
}

/// GELU of -12 to 12 in steps of 1/512 through a layer that passes its input on.
fn gelu_over_its_range(device: &Device) -> Verdict {
    let xs: Vec<f32> = (-6144..=6144).map(|i| i as f32 / 512.0).collect();
    let one = LinearWeights::pack(&tensor(device, &[1, 1], vec![1.0]), None).map_err(|e| e.to_string())?;
    let got = values(linear(&tensor(device, &[xs.len(), 1], xs.clone()), &one, Activation::Gelu))?;
    let want = reference::linear(&xs, &[1.0], &[0.0], Activation::Gelu);
    // Beyond 8 the rounding of x itself is larger: half an ulp of 12 is 4.8e-7.
    check_close(&got, &want, Tolerance::Absolute(5e-7))
}

/// What pads a tile must not spread or hide a NaN, nor bring in one of the next row; ReLU and GELU keep it.
fn nan_stays_in_its_row(device: &Device) -> Verdict {
    // More rows than a tile has, and columns but for one.
    let (rows, outputs) = (70, 63);
    for (inputs, column) in [(53, 52), (53, 0), (54, 0), (55, 0), (52, 0)] {
        let nan = if column == 0 { -f32::NAN } else { f32::NAN };
        let layer = layer(device, inputs, outputs);
        let mut x = normal("linear/x", rows * inputs);
        x[9 * inputs + column] = nan;
        let x = tensor(device, &[rows, inputs], x);
        for activation in [Activation::Identity, Activation::Relu, Activation::Gelu] {
            let y = values(linear(&x, &layer.packed, activation))?;
            if let Some(i) = (0..y.len()).find(|&i| y[i].is_nan() != (i / outputs == 9)) {
                return Err(format!(
                    "{inputs} inputs, {activation:?}: row {} column {} is {}",
                    i / outputs,
                    i % outputs,
                    y[i]
                ));
            }
            let rest: Vec<usize> = (0..rows).filter(|&row| row != 9).collect();
            let want = oracle(&layer, &picked(&x.read::<f32>().unwrap(), inputs, &rest), activation);
            check_close(&picked(&y, outputs, &rest), &want, Tolerance::Sum { depth: inputs })?;
        }
    }
    Ok(())
}

fn no_rows(device: &Device) -> Verdict {
    let layer = layer(device, 6, 5);
    let y = linear(&Tensor::zeros::<f32>(device, &[2, 0, 6]), &layer.packed, Activation::Gelu);
    check_equal(y.map_err(|e| e.to_string())?.shape(), &[2, 0, 5])
}

fn no_inputs_gives_the_bias(device: &Device) -> Verdict {
    let layer = layer(device, 0, 3);
    let y = values(linear(&Tensor::zeros::<f32>(device, &[2, 0]), &layer.packed, Activation::Identity))?;
    let bias = layer.bias.read::<f32>().unwrap();
    check_equal(&y, &[bias.clone(), bias].concat())?;
    // Rows and columns as many, and something to sum.
    against_oracle(device, [2, 8, 3], Activation::Identity)
}

fn shared_residual_is_not_changed(device: &Device) -> Verdict {
    let layer = layer(device, 6, 5);
    let residual = random(device, "linear/residual", &[4, 5]);
    let before = residual.read::<f32>().unwrap();
    let x = random(device, "linear/x", &[4, 6]);
    let sum = linear_add(residual.clone(), &x, &layer.packed).map_err(|e| e.to_string())?;
    let product = oracle(&layer, &x.read::<f32>().unwrap(), Activation::Identity);
    let want: Vec<f64> = product.iter().zip(&before).map(|(&y, &r)| y + f64::from(r)).collect();
    check_close(&sum.read::<f32>().unwrap(), &want, Tolerance::Sum { depth: 6 })?;
    check_equal(&residual.read::<f32>().unwrap(), &before)
}

fn weight_rank(device: &Device) -> Verdict {
    expect_error(
        LinearWeights::pack(&Tensor::zeros::<f32>(device, &[6]), None),
        "`weight` must be [outputs, inputs]",
    )
}

fn weight_dtype(device: &Device) -> Verdict {
    expect_error(LinearWeights::pack(&Tensor::zeros::<u32>(device, &[2, 3]), None), "`weight` must hold f32")
}

fn bias_shape(device: &Device) -> Verdict {
    let weight = Tensor::zeros::<f32>(device, &[2, 3]);
    expect_error(
        LinearWeights::pack(&weight, Some(&Tensor::zeros::<f32>(device, &[3]))),
        "`bias` must be [2], got [3]",
    )
}

fn bias_dtype(device: &Device) -> Verdict {
    let weight = Tensor::zeros::<f32>(device, &[2, 3]);
    expect_error(
        LinearWeights::pack(&weight, Some(&Tensor::zeros::<i32>(device, &[2]))),
        "`bias` must hold f32, got i32",
    )
}

fn x_columns(device: &Device) -> Verdict {
    let layer = layer(device, 3, 2);
    let x = Tensor::zeros::<f32>(device, &[4, 2]);
    expect_error(linear(&x, &layer.packed, Activation::Identity), "`x` must be [.., 3], got [4, 2]")?;
    expect_error(linear_add(Tensor::zeros::<f32>(device, &[4, 2]), &x, &layer.packed), "`x` must be [.., 3]")
}

fn x_without_axes(device: &Device) -> Verdict {
    let layer = layer(device, 1, 2);
    expect_error(
        linear(&tensor(device, &[], vec![1.0]), &layer.packed, Activation::Relu),
        "`x` must be [.., 1]",
    )
}

fn x_dtype(device: &Device) -> Verdict {
    let layer = layer(device, 3, 2);
    let x = Tensor::zeros::<u8>(device, &[4, 3]);
    expect_error(linear(&x, &layer.packed, Activation::Identity), "`x` must hold f32")
}

fn residual_shape(device: &Device) -> Verdict {
    let layer = layer(device, 3, 2);
    let x = Tensor::zeros::<f32>(device, &[4, 3]);
    expect_error(
        linear_add(Tensor::zeros::<f32>(device, &[2, 4]), &x, &layer.packed),
        "`residual` must be [4, 2], got [2, 4]",
    )
}

fn residual_dtype(device: &Device) -> Verdict {
    let layer = layer(device, 3, 2);
    let x = Tensor::zeros::<f32>(device, &[4, 3]);
    expect_error(
        linear_add(Tensor::zeros::<u32>(device, &[4, 2]), &x, &layer.packed),
        "`residual` must hold f32",
    )
}
