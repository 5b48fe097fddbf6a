use super::super::{bytes, normal};
use super::{Conv2dWeights, ConvOptions, Geometry, conv2d, reference};
use crate::cpu::{Isa, with_isa};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::{Case, Tolerance, Verdict, case, check_close, check_equal, expect_error};

pub(crate) fn cases() -> Vec<Case> {
    [oracle_cases(), property_cases(), pack_error_cases(), error_cases()].into_iter().flatten().collect()
}

/// What a case fuses into its convolution.
#[derive(Clone, Copy)]
struct Fusion {
    bias: bool,
    relu_input: bool,
    relu_output: bool,
    residual: bool,
}

const PLAIN: Fusion = Fusion { bias: true, relu_input: false, relu_output: false, residual: false };
const BARE: Fusion = Fusion { bias: false, ..PLAIN };
const RELU: Fusion = Fusion { relu_output: true, ..PLAIN };
/// The second convolution of a residual unit.
const UNIT: Fusion = Fusion { bias: true, relu_input: true, relu_output: false, residual: true };
const ALL: Fusion = Fusion { bias: true, relu_input: true, relu_output: true, residual: true };

/// A convolution from `[inputs, outputs, kernel, stride, padding]`.
fn geometry([inputs, outputs, kernel, stride, padding]: [usize; 5]) -> Geometry {
    Geometry { inputs, outputs, kernel, stride, padding }
}

fn oracle_cases() -> Vec<Case> {
    [
        ("conv2d/oracle/one_value", [1, 1, 1], [1, 1, 1, 1, 0], PLAIN),
        ("conv2d/oracle/one_pixel_3x3", [1, 1, 1], [1, 1, 3, 1, 1], PLAIN),
        ("conv2d/oracle/one_pixel_winograd", [1, 1, 1], [16, 16, 3, 1, 1], PLAIN),
        ("conv2d/oracle/few_channels", [2, 7, 5], [3, 5, 3, 1, 1], ALL),
        ("conv2d/oracle/odd_sizes_winograd", [2, 13, 11], [37, 41, 3, 1, 1], PLAIN),
        ("conv2d/oracle/odd_sizes_winograd_bare", [3, 6, 19], [17, 70, 3, 1, 1], BARE),
        ("conv2d/oracle/odd_sizes_winograd_all", [2, 17, 10], [67, 35, 3, 1, 1], ALL),
        ("conv2d/oracle/one_row_winograd", [1, 1, 37], [20, 24, 3, 1, 1], UNIT),
        ("conv2d/oracle/one_column_winograd", [1, 37, 1], [20, 24, 3, 1, 1], UNIT),
        ("conv2d/oracle/few_outputs_winograd", [1, 9, 9], [32, 3, 3, 1, 1], PLAIN),
        ("conv2d/oracle/odd_sizes_strided", [2, 9, 7], [19, 23, 3, 2, 1], ALL),
        ("conv2d/oracle/stride_beyond_kernel", [1, 11, 13], [5, 6, 2, 3, 0], PLAIN),
        ("conv2d/oracle/padding_0", [2, 9, 7], [18, 20, 3, 1, 0], RELU),
        ("conv2d/oracle/padding_2", [2, 5, 4], [18, 20, 3, 1, 2], RELU),
        ("conv2d/oracle/kernel_5", [1, 8, 9], [6, 7, 5, 2, 2], ALL),
        ("conv2d/oracle/odd_sizes_1x1", [2, 7, 9], [23, 37, 1, 1, 0], ALL),
        ("conv2d/oracle/narrow_one_output", [2, 7, 9], [23, 1, 1, 1, 0], ALL),
        ("conv2d/oracle/narrow_odd_sizes", [1, 37, 59], [19, 3, 1, 1, 0], ALL),
        ("conv2d/oracle/narrow_bare", [3, 5, 7], [16, 4, 1, 1, 0], BARE),
        ("conv2d/oracle/strided_1x1", [2, 7, 9], [23, 37, 1, 2, 0], PLAIN),
        ("conv2d/oracle/no_batch", [0, 4, 4], [16, 16, 3, 1, 1], PLAIN),
        ("conv2d/oracle/patch_embedding", [1, 96, 64], [3, 256, 16, 16, 0], PLAIN),
        ("conv2d/oracle/patch_embedding_odd", [2, 35, 50], [3, 21, 14, 14, 0], PLAIN),
        ("conv2d/oracle/small_unit", [1, 36, 48], [64, 64, 3, 1, 1], UNIT),
        ("conv2d/oracle/small_head_0", [1, 36, 24], [64, 32, 3, 1, 1], PLAIN),
        ("conv2d/oracle/small_head_2", [1, 30, 40], [32, 32, 3, 1, 1], RELU),
        ("conv2d/oracle/small_head_4", [1, 30, 40], [32, 4, 1, 1, 0], PLAIN),
        ("conv2d/oracle/small_layer4_rn", [1, 9, 12], [128, 64, 3, 1, 1], BARE),
        ("conv2d/oracle/small_layer4_strided", [1, 18, 24], [128, 128, 3, 2, 1], PLAIN),
        ("conv2d/oracle/mast3r_unit", [1, 12, 16], [256, 256, 3, 1, 1], UNIT),
        ("conv2d/oracle/mast3r_layer4_rn", [1, 6, 8], [768, 256, 3, 1, 1], BARE),
    ]
    .into_iter()
    .map(|(name, extents, g, fusion)| case(name, move |d| against_oracle(d, extents, geometry(g), fusion)))
    .collect()
}

/// A convolution with random weights and the tensors that it takes.
struct Example {
    x: Tensor,
    weight: Tensor,
    bias: Option<Tensor>,
    residual: Option<Tensor>,
    geometry: Geometry,
    fusion: Fusion,
}

impl Example {
    fn new(device: &Device, [batch, height, width]: [usize; 3], g: Geometry, fusion: Fusion) -> Self {
        let out = |n: usize| (n + 2 * g.padding - g.kernel) / g.stride + 1;
        let shape = [batch, out(height), out(width), g.outputs];
        Self {
            x: normal(device, "conv2d/x", &[batch, height, width, g.inputs]),
            weight: normal(device, "conv2d/weight", &[g.outputs, g.inputs, g.kernel, g.kernel]),
            bias: fusion.bias.then(|| normal(device, "conv2d/bias", &[g.outputs])),
            residual: fusion.residual.then(|| normal(device, "conv2d/residual", &shape)),
            geometry: g,
            fusion,
        }
    }

    fn run(&self) -> Result<Tensor, String> {
        let g = self.geometry;
        let weights = Conv2dWeights::pack(&self.weight, self.bias.as_ref(), g.stride, g.padding)
            .map_err(|e| e.to_string())?;
        check_equal(&[weights.geometry()], &[g])?;
        let options = ConvOptions {
            relu_input: self.fusion.relu_input,
            relu_output: self.fusion.relu_output,
            residual: self.residual.as_ref(),
        };
        conv2d(&self.x, &weights, options).map_err(|e| e.to_string())
    }

    fn oracle(&self) -> Vec<f64> {
        let g = self.geometry;
        let &[batch, height, width, _] = self.x.shape() else { return Vec::new() };
        let relu = |v: f64, on: bool| if on { v.max(0.0) } else { v };
        let read = |t: &Tensor| t.read::<f32>().unwrap();
        let x: Vec<f64> =
            read(&self.x).into_iter().map(|v| relu(f64::from(v), self.fusion.relu_input)).collect();
        let mut y = reference::conv2d(&x, [batch, height, width], &read(&self.weight), g);
        let bias = self.bias.as_ref().map(read);
        let residual = self.residual.as_ref().map(read);
        for (i, y) in y.iter_mut().enumerate() {
            *y += bias.as_ref().map_or(0.0, |b| f64::from(b[i % g.outputs]));
            *y = relu(*y, self.fusion.relu_output) + residual.as_ref().map_or(0.0, |r| f64::from(r[i]));
        }
        y
    }
}

fn against_oracle(device: &Device, extents: [usize; 3], g: Geometry, fusion: Fusion) -> Verdict {
    let example = Example::new(device, extents, g, fusion);
    let y = example.run()?;
    let out = |n: usize| (n + 2 * g.padding - g.kernel) / g.stride + 1;
    check_equal(y.shape(), &[extents[0], out(extents[1]), out(extents[2]), g.outputs])?;
    check_close(&y.read::<f32>().unwrap(), &example.oracle(), tolerance(g))
}

/// As the contract says.
fn tolerance(g: Geometry) -> Tolerance {
    if super::cpu::is_winograd(g) {
        Tolerance::OfLargest(3e-6)
    } else {
        Tolerance::Sum { depth: g.inputs * g.kernel * g.kernel + 2 }
    }
}

fn property_cases() -> Vec<Case> {
    vec![
        case("conv2d/property/delta_is_identity", delta_is_identity),
        case("conv2d/property/images_of_a_batch_are_independent", images_are_independent),
        case("conv2d/property/threads_do_not_matter", threads_do_not_matter),
        case("conv2d/property/nan_stays_near", nan_stays_near),
    ]
}

/// A kernel that is 1 in its middle, channel by channel, gives the image back.
fn delta_is_identity(device: &Device) -> Verdict {
    for (channels, tolerance) in [(7, Tolerance::Exact), (48, Tolerance::OfLargest(2e-6))] {
        let mut weight = vec![0.0f32; channels * channels * 9];
        for c in 0..channels {
            weight[(c * channels + c) * 9 + 4] = 1.0;
        }
        let weight = Tensor::new(device, &[channels, channels, 3, 3], weight).unwrap();
        let weights = Conv2dWeights::pack(&weight, None, 1, 1).map_err(|e| e.to_string())?;
        let x = normal(device, "conv2d/delta", &[2, 11, 14, channels]);
        let y = conv2d(&x, &weights, ConvOptions::default()).map_err(|e| e.to_string())?;
        let want: Vec<f64> = x.read::<f32>().unwrap().into_iter().map(f64::from).collect();
        check_close(&y.read::<f32>().unwrap(), &want, tolerance)?;
    }
    Ok(())
}

/// Bit by bit: a tile has the same result wherever its block begins.
fn images_are_independent(device: &Device) -> Verdict {
    for g in [[24, 40, 3, 1, 1], [24, 40, 3, 2, 1], [5, 3, 1, 1, 0]] {
        let example = Example::new(device, [3, 21, 26], geometry(g), PLAIN);
        let all = example.run()?.read::<f32>().unwrap();
        let values = example.x.read::<f32>().unwrap();
        let image_len = values.len() / 3;
        for (image, all) in values.chunks(image_len).zip(all.chunks(all.len() / 3)) {
            let x = Tensor::new(device, &[1, 21, 26, g[0]], image.to_vec()).unwrap();
            let alone = Example { x, ..Example::new(device, [1, 21, 26], geometry(g), PLAIN) }.run()?;
            check_equal(&alone.read::<f32>().unwrap(), all)?;
        }
    }
    Ok(())
}

fn threads_do_not_matter(device: &Device) -> Verdict {
    let isa = Isa::current();
    let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().map_err(|e| e.to_string());
    for g in [[40, 33, 3, 1, 1], [40, 33, 3, 2, 1]] {
        let example = Example::new(device, [1, 45, 38], geometry(g), ALL);
        let one = pool(1)?.install(|| with_isa(isa, || example.run()))?.read::<f32>().unwrap();
        let three = pool(3)?.install(|| with_isa(isa, || example.run()))?.read::<f32>().unwrap();
        check_equal(&one, &three)?;
    }
    Ok(())
}

/// A NaN must show in the results that depend on it, and in none beyond its tile.
fn nan_stays_near(device: &Device) -> Verdict {
    for relu_input in [false, true] {
        let mut example =
            Example::new(device, [1, 24, 24], geometry([16, 16, 3, 1, 1]), Fusion { relu_input, ..PLAIN });
        let mut values = example.x.read::<f32>().unwrap();
        values[(10 * 24 + 10) * 16 + 3] = f32::NAN;
        example.x = Tensor::new(device, &[1, 24, 24, 16], values).unwrap();
        let y = example.run()?.read::<f32>().unwrap();
        for (pixel, y) in y.chunks(16).enumerate() {
            let (row, col) = (pixel / 24, pixel % 24);
            let near = row.abs_diff(10) <= 1 && col.abs_diff(10) <= 1;
            let beyond = row.abs_diff(10) > 5 || col.abs_diff(10) > 5;
            if near && !y.iter().all(|v| v.is_nan()) {
                return Err(format!("relu_input {relu_input}: the NaN does not show at {row}, {col}"));
            }
            if beyond && y.iter().any(|v| v.is_nan()) {
                return Err(format!("relu_input {relu_input}: a NaN at {row}, {col}"));
            }
        }
    }
    Ok(())
}

fn pack_error_cases() -> Vec<Case> {
    fn refused(
        name: &'static str,
        weight: &'static [usize],
        stride: usize,
        padding: usize,
        part: &'static str,
    ) -> Case {
        case(name, move |d| {
            expect_error(Conv2dWeights::pack(&normal(d, "w", weight), None, stride, padding), part)
        })
    }
    vec![
        refused("conv2d/error/weight_rank", &[4, 3, 3], 1, 1, "`weight` must be [outputs"),
        refused("conv2d/error/weight_not_square", &[4, 3, 3, 5], 1, 1, "`weight` must be [outputs"),
        refused("conv2d/error/weight_empty", &[4, 3, 0, 0], 1, 0, "no extent 0"),
        refused("conv2d/error/no_outputs", &[0, 3, 3, 3], 1, 0, "no extent 0"),
        refused("conv2d/error/stride_0", &[4, 3, 3, 3], 0, 1, "`stride` must be at least 1"),
        refused("conv2d/error/padding", &[4, 3, 3, 3], 1, 3, "`padding` must be below the kernel's side 3"),
        case("conv2d/error/weight_dtype", |d| {
            expect_error(Conv2dWeights::pack(&bytes(d, &[4, 3, 3, 3]), None, 1, 1), "`weight` must hold f32")
        }),
        case("conv2d/error/bias_shape", |d| {
            let weight = normal(d, "w", &[4, 3, 3, 3]);
            expect_error(
                Conv2dWeights::pack(&weight, Some(&normal(d, "b", &[3])), 1, 1),
                "`bias` must be [4]",
            )
        }),
        case("conv2d/error/bias_dtype", |d| {
            let weight = normal(d, "w", &[4, 3, 3, 3]);
            expect_error(Conv2dWeights::pack(&weight, Some(&bytes(d, &[4])), 1, 1), "`bias` must hold f32")
        }),
    ]
}

fn error_cases() -> Vec<Case> {
    fn refused(
        name: &'static str,
        part: &'static str,
        tensors: impl Fn(&Device) -> (Tensor, Option<Tensor>) + Send + Sync + 'static,
    ) -> Case {
        case(name, move |d| {
            let weights = Conv2dWeights::pack(&normal(d, "w", &[4, 3, 3, 3]), None, 2, 0).unwrap();
            let (x, residual) = tensors(d);
            let options = ConvOptions { residual: residual.as_ref(), ..ConvOptions::default() };
            expect_error(conv2d(&x, &weights, options), part)
        })
    }
    vec![
        refused("conv2d/error/x_rank", "`x` must be [batch", |d| (normal(d, "x", &[5, 5, 3]), None)),
        refused("conv2d/error/x_channels", "width, 3]", |d| (normal(d, "x", &[1, 5, 5, 4]), None)),
        refused("conv2d/error/x_too_low", "no side below", |d| (normal(d, "x", &[1, 2, 5, 3]), None)),
        refused("conv2d/error/x_too_narrow", "no side below", |d| (normal(d, "x", &[1, 5, 2, 3]), None)),
        refused("conv2d/error/x_dtype", "`x` must hold f32", |d| (bytes(d, &[1, 5, 5, 3]), None)),
        refused("conv2d/error/residual_shape", "`residual` must be [1, 2, 2, 4]", |d| {
            (normal(d, "x", &[1, 5, 5, 3]), Some(normal(d, "r", &[1, 2, 2, 3])))
        }),
        refused("conv2d/error/residual_dtype", "`residual` must hold f32", |d| {
            (normal(d, "x", &[1, 5, 5, 3]), Some(bytes(d, &[1, 2, 2, 4])))
        }),
    ]
}
