use super::reference::Layer;
use super::{lora_linear, lora_linear_backward, lora_qkv, lora_qkv_backward, reference};
use crate::linalg::linear::LinearWeights;
use crate::linalg::quantize::{BlockFormat, QuantizedMatrix};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, f16_case, f16_tensor, floats,
    gpu_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("lora/oracle/one_value", |d| against_oracle(d, &[1], [1, 1, 1])),
        case("lora/oracle/odd_sizes", |d| against_oracle(d, &[3, 5], [37, 29, 3])),
        case("lora/oracle/a_row", |d| against_oracle(d, &[], [70, 45, 8])),
        case("lora/oracle/rank_16", |d| against_oracle(d, &[40], [300, 70, 16])),
        case("lora/oracle/over_blocks", over_blocks),
        case("lora/oracle/qkv", qkv),
        f16_case("lora/f16/odd_sizes", in_f16),
        case("lora/property/zero_b_changes_nothing", zero_b_changes_nothing),
        case("lora/property/no_rows_and_no_rank", no_rows_and_no_rank),
        case("lora_backward/gradient/finite_differences", gradients),
        case("lora_backward/gradient/qkv", qkv_gradients),
        case("lora/error/shapes", wrong_shapes),
        case("lora/error/dtype", wrong_dtype),
        case("lora/error/scale", wrong_scale),
        gpu_case("lora/error/other_device", |d| {
            let layer =
                LinearWeights::pack(&zeros(&Device::Cpu, &[2, 3]), None).map_err(|e| e.to_string())?;
            let result = lora_linear(&zeros(d, &[4, 3]), &layer, &zeros(d, &[1, 3]), &zeros(d, &[2, 1]), 1.0);
            expect_error(result, "`x` must be on")
        }),
    ]
}

const SCALE: f64 = 0.625;

fn zeros(device: &Device, shape: &[usize]) -> Tensor {
    Tensor::zeros::<f32>(device, shape)
}

fn tensor(device: &Device, shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(device, shape, values.to_vec()).expect("a test's shape fits its values")
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// The values of a layer and of its correction.
struct Values {
    layer: Layer,
    w: Vec<f32>,
    bias: Vec<f32>,
    a: Vec<f32>,
    b: Vec<f32>,
}

impl Values {
    fn new(name: &str, [inputs, outputs, rank]: [usize; 3]) -> Self {
        let make = |what: &str, len| normal(&format!("lora/{name}/{what}"), len);
        Self {
            layer: Layer { inputs, outputs, rank, scale: SCALE },
            w: make("w", outputs * inputs),
            bias: make("bias", outputs),
            a: make("a", rank * inputs),
            b: make("b", outputs * rank),
        }
    }

    fn w(&self, device: &Device) -> Tensor {
        tensor(device, &[self.layer.outputs, self.layer.inputs], &self.w)
    }

    fn frozen(&self, device: &Device) -> LinearWeights {
        let bias = tensor(device, &[self.layer.outputs], &self.bias);
        LinearWeights::pack(&self.w(device), Some(&bias)).expect("a valid layer")
    }

    /// The layer from outputs to inputs.
    fn turned(&self, device: &Device) -> LinearWeights {
        let turned = crate::elementwise::transpose::transpose(&self.w(device)).expect("a matrix");
        LinearWeights::pack(&turned, None).expect("a valid layer")
    }

    fn a(&self, device: &Device) -> Tensor {
        tensor(device, &[self.layer.rank, self.layer.inputs], &self.a)
    }

    fn b(&self, device: &Device) -> Tensor {
        tensor(device, &[self.layer.outputs, self.layer.rank], &self.b)
    }

    fn expected(&self, x: &[f32]) -> Vec<f64> {
        let [w, bias, a, b] = [&self.w, &self.bias, &self.a, &self.b].map(|values| wide(values));
        reference::lora_linear(self.layer, &wide(x), &w, &bias, &a, &b)
    }
}

fn against_oracle(device: &Device, rows: &[usize], [inputs, outputs, rank]: [usize; 3]) -> Verdict {
    let values = Values::new("layer", [inputs, outputs, rank]);
    let shape = [rows, &[inputs]].concat();
    let x = normal("lora/x", shape.iter().product());
    let y = lora_linear(
        &tensor(device, &shape, &x),
        &values.frozen(device),
        &values.a(device),
        &values.b(device),
        SCALE,
    )
    .map_err(|e| e.to_string())?;
    check_equal(y.shape(), &[rows, &[outputs]].concat())?;
    check_close(&floats(&y)?, &values.expected(&x), Tolerance::Sum { depth: inputs + rank })
}

/// A layer in blocks with a trained correction. On CPUs that multiply pairs of bf16 the layer is as rough as they are.
fn over_blocks(device: &Device) -> Verdict {
    for format in BlockFormat::ALL {
        let mut values = Values::new("layer", [70, 45, 4]);
        let matrix = QuantizedMatrix::quantize(format, [45, 70], &values.w).map_err(|e| e.to_string())?;
        values.w = matrix.dequantize();
        let bias = tensor(device, &[45], &values.bias);
        let frozen = LinearWeights::pack(&matrix, Some(&bias)).map_err(|e| e.to_string())?;
        for rows in [2, 12] {
            let x = normal("lora/x", rows * 70);
            let y = lora_linear(
                &tensor(device, &[rows, 70], &x),
                &frozen,
                &values.a(device),
                &values.b(device),
                SCALE,
            );
            let share = if frozen.rounds_rows() { 1e-2 } else { 2e-6 };
            check_close(
                &floats(&y.map_err(|e| e.to_string())?)?,
                &values.expected(&x),
                Tolerance::OfLargest(share),
            )?;
        }
    }
    Ok(())
}

/// Queries of 29 values, keys and values of 13.
fn three(inputs: usize, rank: usize) -> [Values; 3] {
    [("q", 29), ("k", 13), ("v", 13)].map(|(name, outputs)| Values::new(name, [inputs, outputs, rank]))
}

/// The three `a` in one tensor.
fn stacked(device: &Device, all: &[Values; 3]) -> Tensor {
    let Layer { inputs, rank, .. } = all[0].layer;
    tensor(device, &[3, rank, inputs], &all.iter().flat_map(|v| v.a.clone()).collect::<Vec<_>>())
}

fn qkv(device: &Device) -> Verdict {
    let all = three(37, 5);
    let x = normal("lora/x", 2 * 3 * 37);
    let frozen = all.each_ref().map(|v| v.frozen(device));
    let b = all.each_ref().map(|v| v.b(device));
    let results = lora_qkv(
        &tensor(device, &[2, 3, 37], &x),
        frozen.each_ref(),
        &stacked(device, &all),
        b.each_ref(),
        SCALE,
    )
    .map_err(|e| e.to_string())?;
    for (values, y) in all.iter().zip(&results) {
        check_equal(y.shape(), &[2, 3, values.layer.outputs])?;
        check_close(&floats(y)?, &values.expected(&x), Tolerance::Sum { depth: 42 })?;
    }
    Ok(())
}

fn in_f16(device: &Device) -> Verdict {
    let mut values = Values::new("layer", [37, 29, 5]);
    let half = |shape: &[usize], values: &mut Vec<f32>| {
        let (tensor, rounded) = f16_tensor(device, shape, values);
        *values = rounded;
        tensor
    };
    let mut x = normal("lora/x", 12 * 37);
    let tensors = [
        half(&[12, 37], &mut x),
        half(&[29, 37], &mut values.w),
        half(&[5, 37], &mut values.a),
        half(&[29, 5], &mut values.b),
    ];
    let bias = tensor(device, &[29], &values.bias);
    let frozen = LinearWeights::pack(&tensors[1], Some(&bias)).map_err(|e| e.to_string())?;
    let y = lora_linear(&tensors[0], &frozen, &tensors[2], &tensors[3], SCALE).map_err(|e| e.to_string())?;
    check_close(&floats(&y)?, &values.expected(&x), Tolerance::OfLargest(2e-3))?;
    let turned = crate::elementwise::transpose::transpose(&tensors[1]).map_err(|e| e.to_string())?;
    let turned = LinearWeights::pack(&turned, None).map_err(|e| e.to_string())?;
    let back = lora_linear_backward(&y, &tensors[0], &turned, &tensors[2], &tensors[3], SCALE);
    let back = back.map_err(|e| e.to_string())?;
    let want = Derivatives::of(&values, &x, &floats(&y)?);
    check_close(&floats(&back.x)?, &want.x, Tolerance::OfLargest(3e-3))?;
    check_close(&floats(&back.a)?, &want.a, Tolerance::OfLargest(3e-3))?;
    check_close(&floats(&back.b)?, &want.b, Tolerance::OfLargest(3e-3))
}

fn zero_b_changes_nothing(device: &Device) -> Verdict {
    let values = Values::new("layer", [37, 29, 5]);
    let x = tensor(device, &[6, 37], &normal("lora/x", 6 * 37));
    let frozen = values.frozen(device);
    let with = lora_linear(&x, &frozen, &values.a(device), &zeros(device, &[29, 5]), SCALE);
    let without = crate::linalg::linear::linear(&x, &frozen, crate::linalg::linear::Activation::Identity);
    check_equal(&floats(&with.map_err(|e| e.to_string())?)?, &floats(&without.map_err(|e| e.to_string())?)?)
}

fn no_rows_and_no_rank(device: &Device) -> Verdict {
    let values = Values::new("layer", [7, 5, 2]);
    let y = lora_linear(
        &zeros(device, &[0, 7]),
        &values.frozen(device),
        &values.a(device),
        &values.b(device),
        1.0,
    );
    check_equal(y.map_err(|e| e.to_string())?.shape(), &[0, 5])?;
    let y = lora_linear(
        &zeros(device, &[3, 7]),
        &values.frozen(device),
        &zeros(device, &[0, 7]),
        &zeros(device, &[5, 0]),
        1.0,
    );
    check_equal(&floats(&y.map_err(|e| e.to_string())?)?, &values.bias.repeat(3))
}

/// Central differences of `Σ gradient * result`, which is linear in each argument, so that they are exact but for rounding.
struct Derivatives {
    x: Vec<f64>,
    a: Vec<f64>,
    b: Vec<f64>,
}

impl Derivatives {
    fn of(values: &Values, x: &[f32], gradient: &[f32]) -> Self {
        let (w, bias) = (wide(&values.w), wide(&values.bias));
        let all = [wide(x), wide(&values.a), wide(&values.b)];
        let loss = |all: &[Vec<f64>; 3]| -> f64 {
            let y = reference::lora_linear(values.layer, &all[0], &w, &bias, &all[1], &all[2]);
            y.iter().zip(gradient).map(|(y, &g)| y * f64::from(g)).sum()
        };
        let of = |which: usize| {
            let moved = |i: usize, by: f64| {
                let mut all = all.clone();
                all[which][i] += by;
                loss(&all)
            };
            (0..all[which].len()).map(|i| moved(i, 0.5) - moved(i, -0.5)).collect()
        };
        Self { x: of(0), a: of(1), b: of(2) }
    }
}

fn gradients(device: &Device) -> Verdict {
    for (rows, extents) in [(vec![1], [1, 1, 1]), (vec![2, 3], [9, 7, 2]), (vec![], [6, 5, 3])] {
        let values = Values::new("layer", extents);
        let shape = [&rows[..], &extents[..1]].concat();
        let result = [&rows[..], &extents[1..2]].concat();
        let x = normal("lora/x", shape.iter().product());
        let gradient = normal("lora/gradient", result.iter().product());
        let got = lora_linear_backward(
            &tensor(device, &result, &gradient),
            &tensor(device, &shape, &x),
            &values.turned(device),
            &values.a(device),
            &values.b(device),
            SCALE,
        )
        .map_err(|e| e.to_string())?;
        let want = Derivatives::of(&values, &x, &gradient);
        check_equal(got.x.shape(), &shape)?;
        check_equal(got.a.shape(), &[extents[2], extents[0]])?;
        check_equal(got.b.shape(), &[extents[1], extents[2]])?;
        for (name, got, want) in [("x", &got.x, &want.x), ("a", &got.a, &want.a), ("b", &got.b, &want.b)] {
            check_close(&floats(got)?, want, Tolerance::OfLargest(2e-6))
                .map_err(|e| format!("{name}: {e}"))?;
        }
    }
    Ok(())
}

fn qkv_gradients(device: &Device) -> Verdict {
    let all = three(7, 2);
    let x = normal("lora/x", 4 * 7);
    let gradients = all.each_ref().map(|v| normal("lora/gradient", 4 * v.layer.outputs));
    let given = [0, 1, 2].map(|i| tensor(device, &[4, all[i].layer.outputs], &gradients[i]));
    let turned = all.each_ref().map(|v| v.turned(device));
    let b = all.each_ref().map(|v| v.b(device));
    let got = lora_qkv_backward(
        given.each_ref(),
        &tensor(device, &[4, 7], &x),
        turned.each_ref(),
        &stacked(device, &all),
        b.each_ref(),
        SCALE,
    )
    .map_err(|e| e.to_string())?;
    let want = [0, 1, 2].map(|i| Derivatives::of(&all[i], &x, &gradients[i]));
    let dx: Vec<f64> = (0..x.len()).map(|i| want.iter().map(|w| w.x[i]).sum()).collect();
    check_close(&floats(&got.x)?, &dx, Tolerance::OfLargest(2e-6))?;
    check_equal(got.a.shape(), &[3, 2, 7])?;
    let da: Vec<f64> = want.iter().flat_map(|w| w.a.clone()).collect();
    check_close(&floats(&got.a)?, &da, Tolerance::OfLargest(2e-6))?;
    for (got, want) in got.b.iter().zip(&want) {
        check_close(&floats(got)?, &want.b, Tolerance::OfLargest(2e-6))?;
    }
    Ok(())
}

fn wrong_shapes(device: &Device) -> Verdict {
    let of = |shape: &[usize]| zeros(device, shape);
    let layer = LinearWeights::pack(&of(&[2, 3]), None).map_err(|e| e.to_string())?;
    let run = |x: &[usize], a: &[usize], b: &[usize]| lora_linear(&of(x), &layer, &of(a), &of(b), 1.0);
    expect_error(run(&[4, 2], &[1, 3], &[2, 1]), "linalg::lora: `x` must be [.., 3], got [4, 2]")?;
    expect_error(run(&[4, 3], &[1, 2], &[2, 1]), "`a` must be [rank, 3], got [1, 2]")?;
    expect_error(run(&[4, 3], &[1, 3], &[2, 2]), "`b` must be [2, 1], got [2, 2]")?;
    let turned = LinearWeights::pack(&of(&[3, 2]), None).map_err(|e| e.to_string())?;
    let back = |gradient: &[usize], x: &[usize]| {
        lora_linear_backward(&of(gradient), &of(x), &turned, &of(&[1, 3]), &of(&[2, 1]), 1.0)
    };
    expect_error(back(&[4, 2], &[4, 2]), "`x` must be [.., 3], got [4, 2]")?;
    expect_error(back(&[5, 2], &[4, 3]), "`gradient` must be [4, 2], got [5, 2]")?;
    let b = of(&[2, 1]);
    let qkv = lora_qkv(&of(&[4, 3]), [&layer; 3], &of(&[2, 1, 3]), [&b; 3], 1.0);
    expect_error(qkv, "`a` must be [3, rank, 3], got [2, 1, 3]")
}

fn wrong_dtype(device: &Device) -> Verdict {
    let layer = LinearWeights::pack(&zeros(device, &[2, 3]), None).map_err(|e| e.to_string())?;
    let a = Tensor::zeros::<u32>(device, &[1, 3]);
    let result = lora_linear(&zeros(device, &[4, 3]), &layer, &a, &zeros(device, &[2, 1]), 1.0);
    expect_error(result, "`a` must hold f32")
}

fn wrong_scale(device: &Device) -> Verdict {
    let layer = LinearWeights::pack(&zeros(device, &[2, 3]), None).map_err(|e| e.to_string())?;
    let (x, a, b) = (zeros(device, &[4, 3]), zeros(device, &[1, 3]), zeros(device, &[2, 1]));
    expect_error(lora_linear(&x, &layer, &a, &b, f64::NAN), "`scale` must be finite, got NaN")
}
