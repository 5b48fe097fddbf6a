//! Weights in blocks and groups of small integers in all forms of the product.

use super::{MATRICES_8, MATRICES_16, random, tensor, values};
use crate::gpu::product::{MatrixTile, PlainTile, Plan, Residual};
use crate::linalg::linear::{Activation, LinearWeights, Packed, Weight, gpu, linear, linear_add, reference};
use crate::linalg::quantize::{BlockFormat, GroupedMatrix, QuantizedMatrix};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, cpu_case, expect_error, f16_case, f16_tensor,
    floats, gpu_case,
};

pub(super) fn cases() -> Vec<Case> {
    use Activation::{Gelu, Identity, Relu};
    vec![
        case("linear/int4_groups/one_value", |d| each_group(d, [1, 1, 1], Identity)),
        case("linear/int4_groups/odd_sizes", |d| each_group(d, [29, 67, 43], Gelu)),
        case("linear/int4_groups/few_rows", |d| rows_of_all_kinds(d, &GROUPS)),
        case("linear/int4_groups/several_groups", |d| each_group(d, [3, 515, 70], Relu)),
        case("linear/int4_groups/add_is_the_residual_and_the_product", |d| sums(d, &GROUPS)),
        case("linear/int4_groups/nothing_to_sum", nothing_to_sum),
        case("linear/int4_groups/equal_weights", equal_weights),
        case("linear/int4_groups/nan_stays_in_its_row", |d| nan_stays_in_its_row(d, Format::Groups(32))),
        case("linear/int4_groups/wrong_arguments", wrong_arguments),
        cpu_case("linear/int4_groups/rows_are_independent", rows_are_independent),
        cpu_case("linear/blocks/more_rows_and_panels_than_a_part", more_than_a_part),
        gpu_case("linear/blocks/few_rows", |d| rows_of_all_kinds(d, &BLOCKS)),
        gpu_case("linear/blocks/few_rows_add", |d| sums(d, &BLOCKS)),
        gpu_case("linear/blocks/parts_of_the_depth", parts_of_the_depth),
        gpu_case("linear/blocks/nan_stays_in_its_row", |d| {
            BLOCKS.iter().try_for_each(|&format| nan_stays_in_its_row(d, format))
        }),
        gpu_case("linear/blocks/plain_tiles_give_the_same_bits", plain_tiles_agree),
        gpu_case("linear/blocks/more_than_a_binding", more_than_a_binding),
        f16_case("linear/blocks/f16", in_f16),
        f16_case("linear/blocks/emulated_matrices_f16", |d| emulated(d, MATRICES_16, true)),
        gpu_case("linear/blocks/emulated_matrices_f32", |d| emulated(d, MATRICES_8, false)),
    ]
}

/// How the weights of a case are held.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Format {
    Blocks(BlockFormat),
    Groups(usize),
}

const BLOCKS: [Format; 2] = [Format::Blocks(BlockFormat::Q8), Format::Blocks(BlockFormat::Q4)];
const GROUPS: [Format; 2] = [Format::Groups(32), Format::Groups(128)];
const ALL: [Format; 4] = [BLOCKS[0], BLOCKS[1], GROUPS[0], GROUPS[1]];

/// A weight, the values that it stands for, and a bias.
struct Layer {
    held: Held,
    values: Vec<f32>,
    bias: Vec<f32>,
}

enum Held {
    Blocks(QuantizedMatrix),
    Groups(GroupedMatrix),
}

impl Layer {
    fn new(format: Format, [outputs, inputs]: [usize; 2]) -> Self {
        // Not around zero, as the range of a group need not be.
        let weight: Vec<f32> = normal("linear/weight", outputs * inputs).iter().map(|v| v + 0.3).collect();
        let shape = [outputs, inputs];
        let (held, values) = match format {
            Format::Blocks(format) => {
                let matrix = QuantizedMatrix::quantize(format, shape, &weight).expect("normal values");
                let values = matrix.dequantize();
                (Held::Blocks(matrix), values)
            }
            Format::Groups(group) => {
                let matrix = GroupedMatrix::quantize(group, shape, &weight).expect("normal values");
                let values = matrix.dequantize();
                (Held::Groups(matrix), values)
            }
        };
        Self { held, values, bias: normal("linear/bias", outputs) }
    }

    fn weight(&self) -> Weight<'_> {
        match &self.held {
            Held::Blocks(matrix) => matrix.into(),
            Held::Groups(matrix) => matrix.into(),
        }
    }

    fn packed(&self, device: &Device) -> LinearWeights {
        let bias = tensor(device, &[self.bias.len()], self.bias.clone());
        LinearWeights::pack(self.weight(), Some(&bias)).expect("a valid layer")
    }

    fn expected(&self, x: &[f32], activation: Activation) -> Vec<f64> {
        reference::linear(x, &self.values, &self.bias, activation)
    }
}

fn against_oracle(
    device: &Device,
    format: Format,
    [rows, inputs, outputs]: [usize; 3],
    activation: Activation,
) -> Verdict {
    let layer = Layer::new(format, [outputs, inputs]);
    let x = normal("linear/x", rows * inputs);
    let want = layer.expected(&x, activation);
    let y = values(linear(&tensor(device, &[rows, inputs], x), &layer.packed(device), activation))?;
    check_close(&y, &want, Tolerance::Sum { depth: inputs })
        .map_err(|e| format!("{format:?} {rows} x {inputs} x {outputs}: {e}"))
}

fn each_group(device: &Device, extents: [usize; 3], activation: Activation) -> Verdict {
    GroupedMatrix::GROUPS
        .iter()
        .try_for_each(|&group| against_oracle(device, Format::Groups(group), extents, activation))
}

/// Rows around the limits of the forms, depths that are no multiples of anything, columns around a panel.
fn rows_of_all_kinds(device: &Device, formats: &[Format]) -> Verdict {
    for &format in formats {
        for rows in [1, 2, 5, 8, 9, 33] {
            for [inputs, outputs] in [[1, 3], [31, 64], [33, 65], [97, 66], [130, 132]] {
                against_oracle(device, format, [rows, inputs, outputs], Activation::Identity)?;
            }
        }
    }
    Ok(())
}

/// Depths that several workgroups share, whole and not.
fn parts_of_the_depth(device: &Device) -> Verdict {
    for format in ALL {
        for [rows, inputs, outputs] in [[1, 2048, 70], [3, 4200, 68], [8, 2049, 5]] {
            against_oracle(device, format, [rows, inputs, outputs], Activation::Gelu)?;
        }
    }
    Ok(())
}

fn sums(device: &Device, formats: &[Format]) -> Verdict {
    for &format in formats {
        for [rows, inputs, outputs] in [[1, 77, 31], [5, 2500, 64], [45, 77, 31]] {
            let layer = Layer::new(format, [outputs, inputs]).packed(device);
            let x = random(device, "linear/x", &[rows, inputs]);
            let residual = random(device, "linear/residual", &[rows, outputs]);
            let product = values(linear(&x, &layer, Activation::Identity))?;
            let before = floats(&residual)?;
            let want: Vec<f32> = before.iter().zip(product).map(|(r, p)| p + r).collect();
            let apart = values(linear_add(residual.clone(), &x, &layer))?;
            check_equal(&apart, &want).map_err(|e| format!("{format:?} {rows} rows: {e}"))?;
            check_equal(&floats(&residual)?, &before)?;
            check_equal(&values(linear_add(residual, &x, &layer))?, &want)?;
        }
    }
    Ok(())
}

fn nothing_to_sum(device: &Device) -> Verdict {
    for format in ALL {
        let layer = Layer::new(format, [5, 0]);
        let y = linear(&Tensor::zeros::<f32>(device, &[3, 0]), &layer.packed(device), Activation::Identity);
        check_equal(&values(y)?, &layer.bias.repeat(3))?;
        let layer = Layer::new(format, [5, 7]).packed(device);
        let none = linear(&Tensor::zeros::<f32>(device, &[0, 7]), &layer, Activation::Identity);
        check_equal(&values(none)?, &[])?;
        let layer = Layer::new(format, [0, 7]).packed(device);
        let none = linear(&Tensor::zeros::<f32>(device, &[2, 7]), &layer, Activation::Identity);
        check_equal(&values(none)?, &[])?;
    }
    Ok(())
}

/// Several widenings of panels, several blocks of rows: each row is as if it were alone, for any number of threads.
fn more_than_a_part(device: &Device) -> Verdict {
    let (rows, inputs) = (400, 1000);
    for format in BLOCKS {
        for (threads, outputs) in [(1, 310), (2, 1060)] {
            let layer = Layer::new(format, [outputs, inputs]).packed(device);
            let x = normal("linear/x", rows * inputs);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            let product = |x: &[f32]| {
                let x = tensor(device, &[x.len() / inputs, inputs], x.to_vec());
                values(pool.install(|| linear(&x, &layer, Activation::Identity)))
            };
            let all = product(&x)?;
            for row in [0, 1, 191, 384, 399] {
                let alone = product(&x[row * inputs..][..inputs])?;
                check_equal(&all[row * outputs..][..outputs], &alone)
                    .map_err(|e| format!("{format:?} {threads} threads, row {row}: {e}"))?;
            }
        }
    }
    Ok(())
}

/// Groups without a range: the scale is 0.
fn equal_weights(device: &Device) -> Verdict {
    let matrix = GroupedMatrix::quantize(32, [3, 40], &[0.75; 120]).map_err(|e| e.to_string())?;
    let layer = LinearWeights::pack_on(device, &matrix, None).map_err(|e| e.to_string())?;
    for rows in [1, 12] {
        let x = tensor(device, &[rows, 40], vec![2.0; rows * 40]);
        check_equal(&values(linear(&x, &layer, Activation::Identity))?, &vec![60.0; rows * 3])?;
    }
    Ok(())
}

fn nan_stays_in_its_row(device: &Device, format: Format) -> Verdict {
    let (inputs, outputs) = (70, 9);
    let layer = Layer::new(format, [outputs, inputs]).packed(device);
    for rows in [5, 12] {
        let mut x = normal("linear/x", rows * inputs);
        x[2 * inputs + 69] = f32::NAN;
        let y = values(linear(&tensor(device, &[rows, inputs], x), &layer, Activation::Identity))?;
        if let Some(i) = (0..y.len()).find(|&i| y[i].is_nan() != (i / outputs == 2)) {
            return Err(format!("row {} column {} is {}", i / outputs, i % outputs, y[i]));
        }
    }
    Ok(())
}

fn rows_are_independent(device: &Device) -> Verdict {
    let [rows, inputs, outputs] = [45, 100, 70];
    let layer = Layer::new(Format::Groups(64), [outputs, inputs]).packed(device);
    let x = normal("linear/x", rows * inputs);
    let all = values(linear(&tensor(device, &[rows, inputs], x.clone()), &layer, Activation::Identity))?;
    for row in [0, 13, 44] {
        let one = tensor(device, &[inputs], x[row * inputs..][..inputs].to_vec());
        let one = values(linear(&one, &layer, Activation::Identity))?;
        check_equal(&one, &all[row * outputs..][..outputs]).map_err(|e| format!("row {row}: {e}"))?;
    }
    Ok(())
}

fn wrong_arguments(device: &Device) -> Verdict {
    let matrix = GroupedMatrix::quantize(32, [2, 3], &[1.0; 6]).map_err(|e| e.to_string())?;
    let bias = Tensor::zeros::<f32>(device, &[3]);
    expect_error(LinearWeights::pack(&matrix, Some(&bias)), "`bias` must be [2], got [3]")?;
    let bias = Tensor::zeros::<i32>(device, &[2]);
    expect_error(LinearWeights::pack(&matrix, Some(&bias)), "`bias` must hold f32, got i32")?;
    let layer = LinearWeights::pack_on(device, &matrix, None).map_err(|e| e.to_string())?;
    let x = Tensor::zeros::<f32>(device, &[4, 32]);
    expect_error(linear(&x, &layer, Activation::Identity), "`x` must be [.., 3], got [4, 32]")?;
    let x = Tensor::zeros::<u32>(device, &[4, 3]);
    expect_error(linear(&x, &layer, Activation::Identity), "`x` must hold f32")
}

fn in_f16(device: &Device) -> Verdict {
    for format in ALL {
        for [rows, inputs, outputs] in [[1, 2100, 70], [3, 67, 43], [29, 67, 43]] {
            let layer = Layer::new(format, [outputs, inputs]);
            let (x, rounded) = f16_tensor(device, &[rows, inputs], &normal("linear/x", rows * inputs));
            let y = linear(&x, &layer.packed(device), Activation::Gelu).map_err(|e| e.to_string())?;
            check_equal(&[y.dtype()], &[x.dtype()])?;
            check_close(
                &floats(&y)?,
                &layer.expected(&rounded, Activation::Gelu),
                Tolerance::OfLargest(1e-3),
            )
            .map_err(|e| format!("{format:?} {rows} x {inputs} x {outputs}: {e}"))?;
        }
    }
    Ok(())
}

/// The result of a form, `None` for that of few rows, and what the oracle says.
fn planned(
    device: &Device,
    plan: Option<Plan>,
    format: Format,
    [rows, inputs, outputs]: [usize; 3],
    max_bytes: Option<u64>,
    f16: bool,
) -> Result<(Vec<f32>, Vec<f64>), String> {
    let gpu = device.gpu().expect("a case for GPUs");
    let layer = Layer::new(format, [outputs, inputs]);
    let values = normal("linear/x", rows * inputs);
    let (x, values) = match f16 {
        true => f16_tensor(device, &[rows, inputs], &values),
        false => (tensor(device, &[rows, inputs], values.clone()), values),
    };
    let packed = layer.packed(device);
    let Packed::Gpu(packed) = &packed.packed else { unreachable!("packed on a GPU") };
    let y = Tensor::on_gpu(gpu, "test", x.dtype(), &[rows, outputs]).map_err(|e| e.to_string())?;
    let max_bytes = max_bytes.unwrap_or(gpu.capabilities().max_binding_bytes);
    let product = gpu::product(&x, packed, Activation::Gelu, Residual::Nothing);
    match plan {
        Some(plan) => product.launch_as(gpu, plan, max_bytes, &y),
        None => product.launch_few_rows(gpu, max_bytes, &y),
    }
    .map_err(|e| e.to_string())?;
    Ok((floats(&y)?, layer.expected(&values, Activation::Gelu)))
}

fn plain_tiles_agree(device: &Device) -> Verdict {
    let extents = [131, 97, 262];
    for format in ALL {
        let run = |tile| planned(device, Some(Plan::Plain(tile)), format, extents, None, false);
        let (medium, want) = run(PlainTile::MEDIUM)?;
        check_close(&medium, &want, Tolerance::Sum { depth: extents[1] })?;
        for tile in [PlainTile::LARGE, PlainTile::NARROW, PlainTile::THIN, PlainTile::FLAT] {
            check_equal(&run(tile)?.0, &medium).map_err(|e| format!("{format:?} {tile:?}: {e}"))?;
        }
    }
    Ok(())
}

/// Bindings so small that columns come in parts.
fn more_than_a_binding(device: &Device) -> Verdict {
    for format in ALL {
        for (plan, extents) in [
            (Some(Plan::Plain(PlainTile::MEDIUM)), [130, 64, 260]),
            (None, [3, 64, 260]),
            (None, [2, 2100, 200]),
        ] {
            let (whole, want) = planned(device, plan, format, extents, None, false)?;
            check_close(&whole, &want, Tolerance::Sum { depth: extents[1] })?;
            let max_bytes = if extents[1] > 64 { 200_000 } else { 20_000 };
            let (parts, _) = planned(device, plan, format, extents, Some(max_bytes), false)?;
            // The depth is shared by as many workgroups as the columns of a launch leave room for.
            check_close(&parts, &want, Tolerance::Sum { depth: extents[1] })
                .map_err(|e| format!("{format:?} {extents:?}: {e}"))?;
            let refused = planned(device, plan, format, extents, Some(512), false);
            expect_error(refused, "does not fit one of its bindings").or_else(|_| {
                let refused = planned(device, plan, format, extents, Some(512), false);
                expect_error(refused, "do not fit one of its bindings")
            })?;
        }
    }
    Ok(())
}

fn emulated(device: &Device, tile: MatrixTile, f16: bool) -> Verdict {
    for format in ALL {
        for extents in [[3, 3, 17], [37, 70, 45]] {
            let (got, want) = planned(device, Some(Plan::Matrix(tile)), format, extents, None, f16)?;
            let tolerance =
                if f16 { Tolerance::OfLargest(1e-3) } else { Tolerance::Sum { depth: extents[1] } };
            check_close(&got, &want, tolerance).map_err(|e| format!("{format:?} {extents:?}: {e}"))?;
        }
    }
    Ok(())
}
