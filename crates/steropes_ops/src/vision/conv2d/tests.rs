use super::super::{bytes, normal};
use super::{Conv2dWeights, ConvOptions, Geometry, conv2d, gpu, reference, resized_conv2d};
use crate::cpu::{Isa, with_isa};
use crate::gpu::product::{MatrixTile, PlainTile, Plan};
use crate::vision::resize_bilinear;
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, f16_case, f16_tensor, floats,
    gpu_case,
};

pub(crate) fn cases() -> Vec<Case> {
    let resized = resized_cases();
    [oracle_cases(), f16_cases(), form_cases(), property_cases(), pack_error_cases(), error_cases(), resized]
        .into_iter()
        .flatten()
        .collect()
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

fn f16_cases() -> Vec<Case> {
    [
        ("conv2d/f16/few_channels", [2, 7, 5], [3, 5, 3, 1, 1], ALL),
        ("conv2d/f16/vectors", [1, 7, 9], [12, 20, 3, 2, 1], ALL),
        ("conv2d/f16/odd_sizes_1x1", [2, 7, 9], [23, 37, 1, 1, 0], PLAIN),
        ("conv2d/f16/patch_embedding", [1, 64, 96], [3, 64, 16, 16, 0], PLAIN),
        ("conv2d/f16/small_unit", [1, 18, 24], [64, 64, 3, 1, 1], UNIT),
        ("conv2d/f16/small_head_4", [1, 30, 40], [32, 4, 1, 1, 0], PLAIN),
    ]
    .into_iter()
    .map(|(name, extents, g, fusion)| {
        f16_case(name, move |d| {
            let example = Example::with_dtype(d, DType::F16, extents, geometry(g), fusion);
            check_close(&floats(&example.run()?)?, &example.oracle(), Tolerance::OfLargest(F16_ROUNDING))
        })
    })
    .collect()
}

/// Half a unit in the last place of f16, for the largest of the tensor and so for all.
const F16_ROUNDING: f64 = 5e-4;

/// Forms and splits that a device may choose, whatever this one would.
fn form_cases() -> Vec<Case> {
    vec![
        gpu_case("conv2d/form/emulated_8x8", |d| emulated(d, DType::F32, 8)),
        f16_case("conv2d/form/emulated_16x16_f16", |d| emulated(d, DType::F16, 16)),
        gpu_case("conv2d/form/more_than_a_binding", more_than_a_binding),
    ]
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
    fn new(device: &Device, extents: [usize; 3], g: Geometry, fusion: Fusion) -> Self {
        Self::with_dtype(device, DType::F32, extents, g, fusion)
    }

    fn with_dtype(
        device: &Device,
        dtype: DType,
        [batch, height, width]: [usize; 3],
        g: Geometry,
        fusion: Fusion,
    ) -> Self {
        let make = |name: &str, shape: &[usize]| match dtype {
            DType::F16 => {
                let values = steropes_testkit::inputs::normal(name, shape.iter().product());
                f16_tensor(device, shape, &values).0
            }
            _ => normal(device, name, shape),
        };
        let out = |n: usize| (n + 2 * g.padding - g.kernel) / g.stride + 1;
        let shape = [batch, out(height), out(width), g.outputs];
        Self {
            x: make("conv2d/x", &[batch, height, width, g.inputs]),
            weight: make("conv2d/weight", &[g.outputs, g.inputs, g.kernel, g.kernel]),
            bias: fusion.bias.then(|| normal(device, "conv2d/bias", &[g.outputs])),
            residual: fusion.residual.then(|| make("conv2d/residual", &shape)),
            geometry: g,
            fusion,
        }
    }

    fn run(&self) -> Result<Tensor, String> {
        let g = self.geometry;
        let weights = Conv2dWeights::pack(&self.weight, self.bias.as_ref(), g.stride, g.padding)
            .map_err(|e| e.to_string())?;
        check_equal(&[weights.geometry()], &[g])?;
        conv2d(&self.x, &weights, self.options()).map_err(|e| e.to_string())
    }

    fn options(&self) -> ConvOptions<'_> {
        ConvOptions {
            relu_input: self.fusion.relu_input,
            relu_output: self.fusion.relu_output,
            residual: self.residual.as_ref(),
        }
    }

    /// The result by a plan, with bindings of at most `max_bytes`.
    fn run_as(&self, device: &Device, plan: Plan, max_bytes: Option<u64>) -> Result<Vec<f32>, String> {
        let (gpu, g) = (device.gpu().expect("a case for GPUs"), self.geometry);
        let weights = gpu::pack(gpu, &self.weight, self.bias.as_ref(), g).map_err(|e| e.to_string())?;
        let out = |n: usize| (n + 2 * g.padding - g.kernel) / g.stride + 1;
        let extents = self.x.shape();
        let shape = [extents[0], out(extents[1]), out(extents[2]), g.outputs];
        let y = Tensor::on_gpu(gpu, "test", self.x.dtype(), &shape).map_err(|e| e.to_string())?;
        let max_bytes = max_bytes.unwrap_or(gpu.capabilities().max_binding_bytes);
        gpu::product(&self.x, &weights, g, &shape, &self.options())
            .launch_as(gpu, plan, max_bytes, &y)
            .map_err(|e| e.to_string())?;
        floats(&y)
    }

    fn oracle(&self) -> Vec<f64> {
        let g = self.geometry;
        let &[batch, height, width, _] = self.x.shape() else { return Vec::new() };
        let relu = |v: f64, on: bool| if on { v.max(0.0) } else { v };
        let read = |t: &Tensor| floats(t).unwrap();
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

/// The matrix form with matrices that every invocation computes for itself.
fn emulated(device: &Device, dtype: DType, side: u32) -> Verdict {
    let tile = MatrixTile { side, tile: [32, 32], part: [16, 16], depth: 32, emulated: true };
    for (extents, g) in
        [([2, 7, 5], [3, 5, 3, 1, 1]), ([1, 6, 7], [12, 20, 3, 2, 1]), ([1, 5, 6], [32, 36, 3, 1, 1])]
    {
        let example = Example::with_dtype(device, dtype, extents, geometry(g), ALL);
        let tolerance = match dtype {
            DType::F16 => Tolerance::OfLargest(F16_ROUNDING),
            _ => Tolerance::Sum { depth: g[0] * 9 + 2 },
        };
        check_close(&example.run_as(device, Plan::Matrix(tile), None)?, &example.oracle(), tolerance)
            .map_err(|e| format!("{g:?}: {e}"))?;
    }
    Ok(())
}

/// Bindings so small that a batch comes image by image, then an image line by line.
fn more_than_a_binding(device: &Device) -> Verdict {
    let plan = Plan::Plain(PlainTile::MEDIUM);
    for g in [[12, 20, 3, 1, 1], [7, 9, 3, 2, 1], [8, 5, 2, 3, 0]] {
        let example = Example::new(device, [2, 50, 31], geometry(g), ALL);
        let whole = example.run_as(device, plan, None)?;
        check_close(&whole, &example.oracle(), Tolerance::Sum { depth: g[0] * 9 + 2 })?;
        // All images, then lines of one; the weights of 64 outputs must fit.
        for max_bytes in [160_000, 40_000, 33_100] {
            let parts = example.run_as(device, plan, Some(max_bytes))?;
            check_equal(&parts, &whole).map_err(|e| format!("{g:?} {max_bytes}: {e}"))?;
        }
        expect_error(example.run_as(device, plan, Some(1024)), "does not fit one of its bindings")?;
    }
    Ok(())
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
        gpu_case("conv2d/property/nan_stays_in_its_patches", nan_stays_in_its_patches),
        case("conv2d/property/nan_of_a_weight_stays_in_its_output", nan_of_a_weight),
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
        check_close(&one, &example.oracle(), tolerance(example.geometry))?;
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

/// One sum for each result: a NaN shows in the patches that hold it and nowhere else, whatever pads the depth.
fn nan_stays_in_its_patches(device: &Device) -> Verdict {
    for g in [[16, 8, 3, 1, 1], [12, 5, 3, 1, 1], [3, 4, 3, 1, 1], [3, 4, 2, 2, 0]] {
        let mut example = Example::new(device, [1, 12, 12], geometry(g), PLAIN);
        let mut values = example.x.read::<f32>().unwrap();
        values[(6 * 12 + 6) * g[0] + 1] = f32::NAN;
        example.x = Tensor::new(device, &[1, 12, 12, g[0]], values).unwrap();
        let y = example.run()?;
        let width = y.shape()[2];
        // Under the taps of pixel p are s p - padding to s p - padding + kernel - 1.
        let holds = |p: usize| (g[3] * p..g[3] * p + g[2]).contains(&(6 + g[4]));
        for (pixel, y) in y.read::<f32>().unwrap().chunks(g[1]).enumerate() {
            let (row, col) = (pixel / width, pixel % width);
            if y.iter().any(|v| v.is_nan() != (holds(row) && holds(col))) {
                return Err(format!("{g:?}: {y:?} at {row}, {col}"));
            }
        }
        let finite = Example::new(device, [1, 12, 12], geometry(g), PLAIN);
        check_close(&finite.run()?.read::<f32>().unwrap(), &finite.oracle(), tolerance(finite.geometry))?;
    }
    Ok(())
}

/// What pads the packed weights is 0 and not the next weight.
fn nan_of_a_weight(device: &Device) -> Verdict {
    let mut example = Example::new(device, [1, 5, 6], geometry([1, 6, 2, 1, 0]), PLAIN);
    let mut weight = example.weight.read::<f32>().unwrap();
    weight[4 * 4] = f32::NAN;
    example.weight = Tensor::new(device, &[6, 1, 2, 2], weight).unwrap();
    let y = example.run()?.read::<f32>().unwrap();
    match (0..y.len()).find(|&i| y[i].is_nan() != (i % 6 == 4)) {
        Some(i) => Err(format!("pixel {} output {} is {}", i / 6, i % 6, y[i])),
        None => Ok(()),
    }
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

/// `[inputs, between, outputs]` of a head's end, the extents of its image, and the size that it is resized to.
type Head = ([usize; 3], [usize; 3], [usize; 2]);

fn resized_cases() -> Vec<Case> {
    const HEADS: [(&str, Head); 8] = [
        ("conv2d/resized/twice", ([16, 32, 4], [1, 12, 16], [24, 32])),
        ("conv2d/resized/odd_sizes", ([19, 37, 3], [2, 7, 9], [13, 18])),
        ("conv2d/resized/dune_ratio", ([32, 32, 4], [1, 8, 12], [14, 21])),
        ("conv2d/resized/smaller", ([17, 20, 1], [2, 23, 31], [7, 5])),
        ("conv2d/resized/as_it_is", ([16, 16, 2], [1, 9, 11], [9, 11])),
        ("conv2d/resized/from_one_pixel", ([16, 16, 4], [1, 1, 1], [6, 5])),
        ("conv2d/resized/few_inputs", ([5, 16, 4], [1, 6, 7], [11, 13])),
        ("conv2d/resized/more_outputs", ([16, 16, 7], [1, 6, 7], [12, 14])),
    ];
    let mut cases: Vec<Case> = HEADS
        .into_iter()
        .map(|(name, head)| case(name, move |d| Resized::new(d, DType::F32, head).check(1e-5)))
        .collect();
    cases.extend([
        f16_case("conv2d/resized/f16", |d| {
            let head = ([16, 32, 4], [1, 12, 16], [24, 32]);
            Resized::new(d, DType::F16, head).check(3.0 * F16_ROUNDING)
        }),
        case("conv2d/resized/is_its_parts", is_its_parts),
        case("conv2d/resized/threads_do_not_matter", |d| {
            let isa = Isa::current();
            let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().map_err(|e| e.to_string());
            let head = Resized::new(d, DType::F32, ([24, 40, 4], [1, 20, 17], [41, 33]));
            let [one, three] = [1, 3].map(|n| pool(n)?.install(|| with_isa(isa, || head.run())));
            check_equal(&one?, &three?)
        }),
        case("conv2d/resized/error/no_height", |d| {
            let head = Resized { size: [0, 4], ..Resized::new(d, DType::F32, HEADS[0].1) };
            expect_error(head.run(), "`out_height` must be at least 1")
        }),
        case("conv2d/resized/error/x_channels", |d| {
            let x = normal(d, "x", &[1, 5, 5, 3]);
            let head = Resized { x, ..Resized::new(d, DType::F32, HEADS[0].1) };
            expect_error(head.run(), "`x` must be [batch, height, width, 16]")
        }),
        case("conv2d/resized/error/x_empty", |d| {
            let x = normal(d, "x", &[0, 5, 5, 16]);
            let head = Resized { x, ..Resized::new(d, DType::F32, HEADS[0].1) };
            expect_error(head.run(), "no extent 0")
        }),
        case("conv2d/resized/error/x_dtype", |d| {
            let head = Resized { x: bytes(d, &[1, 5, 5, 16]), ..Resized::new(d, DType::F32, HEADS[0].1) };
            expect_error(head.run(), "`x` must hold")
        }),
        case("conv2d/resized/error/convolution_strided", |d| {
            let weights = Conv2dWeights::pack(&normal(d, "w", &[4, 3, 3, 3]), None, 2, 1).unwrap();
            let last = Conv2dWeights::pack(&normal(d, "w", &[2, 4, 1, 1]), None, 1, 0).unwrap();
            let x = normal(d, "x", &[1, 5, 5, 3]);
            expect_error(resized_conv2d(&x, [6, 6], &weights, Some(&last)), "one that keeps height and width")
        }),
        case("conv2d/resized/error/pointwise_inputs", |d| {
            let weights = Conv2dWeights::pack(&normal(d, "w", &[4, 3, 3, 3]), None, 1, 1).unwrap();
            let last = Conv2dWeights::pack(&normal(d, "w", &[2, 5, 1, 1]), None, 1, 0).unwrap();
            let x = normal(d, "x", &[1, 5, 5, 3]);
            expect_error(resized_conv2d(&x, [6, 6], &weights, Some(&last)), "a 1x1 convolution of 4 inputs")
        }),
    ]);
    cases
}

/// The end of a head with random weights.
struct Resized {
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    last_weight: Tensor,
    last_bias: Tensor,
    size: [usize; 2],
}

impl Resized {
    fn new(device: &Device, dtype: DType, ([inputs, between, outputs], extents, size): Head) -> Self {
        let make = |name: &str, shape: &[usize]| match dtype {
            DType::F16 => {
                let values = steropes_testkit::inputs::normal(name, shape.iter().product());
                f16_tensor(device, shape, &values).0
            }
            _ => normal(device, name, shape),
        };
        let [batch, height, width] = extents;
        Self {
            x: make("resized/x", &[batch, height, width, inputs]),
            weight: make("resized/weight", &[between, inputs, 3, 3]),
            bias: normal(device, "resized/bias", &[between]),
            last_weight: make("resized/last", &[outputs, between, 1, 1]),
            last_bias: normal(device, "resized/last_bias", &[outputs]),
            size,
        }
    }

    fn weights(&self) -> Result<[Conv2dWeights; 2], String> {
        let packed = Conv2dWeights::pack(&self.weight, Some(&self.bias), 1, 1);
        let last = Conv2dWeights::pack(&self.last_weight, Some(&self.last_bias), 1, 0);
        Ok([packed.map_err(|e| e.to_string())?, last.map_err(|e| e.to_string())?])
    }

    fn run(&self) -> Result<Vec<f32>, String> {
        let [weights, last] = self.weights()?;
        let y = resized_conv2d(&self.x, self.size, &weights, Some(&last)).map_err(|e| e.to_string())?;
        check_equal(&y.shape()[1..3], &self.size)?;
        floats(&y)
    }

    /// Against the three formulas one after the other, within a share of the largest value.
    fn check(&self, share: f64) -> Verdict {
        let read = |t: &Tensor| floats(t).unwrap();
        let &[batch, height, width, inputs] = self.x.shape() else { return Err("four axes".into()) };
        let [between, outputs] = [self.weight.shape()[0], self.last_weight.shape()[0]];
        let [out_h, out_w] = self.size;
        let shape = [batch, height, width, inputs];
        let large = resize_bilinear::reference::resize_bilinear(&read(&self.x), shape, self.size);
        let with_bias = |mut y: Vec<f64>, bias: &Tensor| {
            let bias = read(bias);
            y.iter_mut().enumerate().for_each(|(i, y)| *y += f64::from(bias[i % bias.len()]));
            y
        };
        let extents = [batch, out_h, out_w];
        let hidden =
            reference::conv2d(&large, extents, &read(&self.weight), geometry([inputs, between, 3, 1, 1]));
        let hidden: Vec<f64> = with_bias(hidden, &self.bias).into_iter().map(|v| v.max(0.0)).collect();
        let last = geometry([between, outputs, 1, 1, 0]);
        let y = reference::conv2d(&hidden, extents, &read(&self.last_weight), last);
        check_close(&self.run()?, &with_bias(y, &self.last_bias), Tolerance::OfLargest(share))
    }
}

/// Bit by bit: no value depends on whether the maps between the parts exist.
fn is_its_parts(device: &Device) -> Verdict {
    let head = Resized::new(device, DType::F32, ([24, 40, 4], [2, 13, 18], [25, 31]));
    let [weights, last] = head.weights()?;
    let error = |e: crate::OpError| e.to_string();
    let large = resize_bilinear::resize_bilinear(&head.x, 25, 31).map_err(error)?;
    let rectified = ConvOptions { relu_output: true, ..ConvOptions::default() };
    let hidden = conv2d(&large, &weights, rectified).map_err(error)?;
    let y = conv2d(&hidden, &last, ConvOptions::default()).map_err(error)?;
    check_equal(&head.run()?, &floats(&y)?)?;
    // And alone, where negative values stay.
    let y = resized_conv2d(&head.x, head.size, &weights, None).map_err(error)?;
    let want = conv2d(&large, &weights, ConvOptions::default()).map_err(error)?;
    check_equal(&floats(&y)?, &floats(&want)?)
}
