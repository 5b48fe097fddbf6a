use super::super::{bytes, normal};
use super::{ConvTranspose2dWeights, conv_transpose2d, reference};
use crate::vision::conv2d::{Conv2dWeights, ConvOptions, conv2d};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, f16_case, f16_tensor, floats,
};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("conv_transpose2d/property/adjoint_of_conv2d", adjoint_of_conv2d),
        case("conv_transpose2d/property/images_of_a_batch_are_independent", images_are_independent),
        case("conv_transpose2d/property/nan_stays_in_its_block", |d| nan_stays_in_its_block(d, false)),
        f16_case("conv_transpose2d/f16/nan_stays_in_its_block", |d| nan_stays_in_its_block(d, true)),
    ];
    cases.extend(
        [
            ("conv_transpose2d/oracle/one_value", [1, 1, 1, 1], 1, 1),
            ("conv_transpose2d/oracle/odd_sizes", [2, 5, 7, 13], 11, 3),
            ("conv_transpose2d/oracle/kernel_1", [2, 5, 7, 45], 37, 1),
            ("conv_transpose2d/oracle/wide", [3, 4, 9, 40], 71, 2),
            // More than eight tiles down, a whole number of tiles across or one column less, three steps along the depth.
            ("conv_transpose2d/oracle/many_tiles", [2, 19, 17, 45], 71, 3),
            ("conv_transpose2d/oracle/many_tiles_of_vectors", [2, 19, 17, 44], 16, 4),
            ("conv_transpose2d/oracle/many_tiles_even_inputs", [2, 19, 17, 44], 71, 3),
            ("conv_transpose2d/oracle/many_tiles_even_outputs", [2, 19, 17, 45], 16, 4),
            ("conv_transpose2d/oracle/many_thin_tiles", [1, 46, 45, 37], 1, 2),
            ("conv_transpose2d/oracle/small_layer1", [1, 18, 24, 32], 32, 4),
            ("conv_transpose2d/oracle/small_layer2", [1, 18, 24, 64], 64, 2),
            ("conv_transpose2d/oracle/mast3r_layer1", [1, 12, 16, 96], 96, 4),
        ]
        .into_iter()
        .map(|(name, shape, outputs, k)| case(name, move |d| against_oracle(d, shape, outputs, k))),
    );
    cases.extend(
        [
            ("conv_transpose2d/f16/odd_sizes", [2, 5, 7, 45], 11, 3),
            ("conv_transpose2d/f16/small_layer2", [1, 9, 12, 64], 64, 2),
            ("conv_transpose2d/f16/many_tiles", [2, 19, 17, 45], 71, 3),
            ("conv_transpose2d/f16/many_tiles_of_vectors", [2, 19, 17, 44], 16, 4),
        ]
        .into_iter()
        .map(|(name, shape, outputs, k)| f16_case(name, move |d| f16_against_oracle(d, shape, outputs, k))),
    );
    cases.extend(error_cases());
    cases
}

fn against_oracle(device: &Device, shape: [usize; 4], outputs: usize, k: usize) -> Verdict {
    let [batch, height, width, inputs] = shape;
    let x = normal(device, "conv_transpose2d/x", &shape);
    let weight = normal(device, "conv_transpose2d/weight", &[inputs, outputs, k, k]);
    let bias = normal(device, "conv_transpose2d/bias", &[outputs]);
    let read = |t: &Tensor| t.read::<f32>().unwrap();
    let want = reference::conv_transpose2d(&read(&x), shape, &read(&weight), &read(&bias), k);
    let weights = ConvTranspose2dWeights::pack(&weight, &bias).map_err(|e| e.to_string())?;
    let y = conv_transpose2d(&x, &weights).map_err(|e| e.to_string())?;
    check_equal(y.shape(), &[batch, k * height, k * width, outputs])?;
    check_close(&read(&y), &want, Tolerance::Sum { depth: inputs + 1 })
}

fn f16_against_oracle(device: &Device, shape: [usize; 4], outputs: usize, k: usize) -> Verdict {
    let inputs = shape[3];
    let values = |name, shape: &[usize]| steropes_testkit::inputs::normal(name, shape.iter().product());
    let (x, x_values) = f16_tensor(device, &shape, &values("conv_transpose2d/x", &shape));
    let extents = [inputs, outputs, k, k];
    let (weight, w_values) = f16_tensor(device, &extents, &values("conv_transpose2d/weight", &extents));
    let bias = normal(device, "conv_transpose2d/bias", &[outputs]);
    let want = reference::conv_transpose2d(&x_values, shape, &w_values, &bias.read::<f32>().unwrap(), k);
    let weights = ConvTranspose2dWeights::pack(&weight, &bias).map_err(|e| e.to_string())?;
    let y = conv_transpose2d(&x, &weights).map_err(|e| e.to_string())?;
    check_close(&floats(&y)?, &want, Tolerance::OfLargest(5e-4))
}

/// `<conv2d(y), x> = <y, conv_transpose2d(x)>` for the same kernel, without biases.
fn adjoint_of_conv2d(device: &Device) -> Verdict {
    let (inputs, outputs, k) = (6, 5, 3);
    let weight = normal(device, "adjoint/weight", &[inputs, outputs, k, k]);
    let up = ConvTranspose2dWeights::pack(&weight, &Tensor::zeros::<f32>(device, &[outputs]))
        .map_err(|e| e.to_string())?;
    let down = Conv2dWeights::pack(&weight, None, k, 0).map_err(|e| e.to_string())?;
    let x = normal(device, "adjoint/x", &[2, 4, 7, inputs]);
    let y = normal(device, "adjoint/y", &[2, 4 * k, 7 * k, outputs]);
    let up_x = conv_transpose2d(&x, &up).map_err(|e| e.to_string())?;
    let down_y = conv2d(&y, &down, ConvOptions::default()).map_err(|e| e.to_string())?;
    let dot = |a: &Tensor, b: &Tensor| {
        let (a, b) = (a.read::<f32>().unwrap(), b.read::<f32>().unwrap());
        a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
    };
    check_close(&[dot(&down_y, &x) as f32], &[dot(&y, &up_x)], Tolerance::OfLargest(1e-4))
}

fn images_are_independent(device: &Device) -> Verdict {
    let weight = normal(device, "independent/weight", &[9, 10, 2, 2]);
    let weights = ConvTranspose2dWeights::pack(&weight, &normal(device, "independent/bias", &[10]))
        .map_err(|e| e.to_string())?;
    let x = normal(device, "independent/x", &[3, 11, 7, 9]);
    let all = conv_transpose2d(&x, &weights).map_err(|e| e.to_string())?.read::<f32>().unwrap();
    let values = x.read::<f32>().unwrap();
    for (image, all) in values.chunks(values.len() / 3).zip(all.chunks(all.len() / 3)) {
        let x = Tensor::new(device, &[1, 11, 7, 9], image.to_vec()).unwrap();
        let alone = conv_transpose2d(&x, &weights).map_err(|e| e.to_string())?;
        check_equal(&alone.read::<f32>().unwrap(), all)?;
    }
    Ok(())
}

/// A NaN shows in the block of its pixel and nowhere else, whatever pads the depth.
fn nan_stays_in_its_block(device: &Device, f16: bool) -> Verdict {
    let [height, width] = [5, 6];
    let float = |name: &str, shape: &[usize]| normal(device, name, shape).read::<f32>().unwrap();
    let make = |shape: &[usize], values: Vec<f32>| match f16 {
        true => f16_tensor(device, shape, &values).0,
        false => Tensor::new(device, shape, values).unwrap(),
    };
    for (inputs, outputs, k) in [(13, 5, 3), (14, 5, 3), (12, 5, 3), (36, 8, 2), (34, 8, 2), (7, 1, 2)] {
        // A kernel that gives nothing but right NaNs would pass below.
        let check = if f16 { f16_against_oracle } else { against_oracle };
        check(device, [1, height, width, inputs], outputs, k)?;
        let shape = [inputs, outputs, k, k];
        let weight = make(&shape, float("conv_transpose2d/weight", &shape));
        let bias = normal(device, "conv_transpose2d/bias", &[outputs]);
        let weights = ConvTranspose2dWeights::pack(&weight, &bias).map_err(|e| e.to_string())?;
        for channel in [0, inputs - 1] {
            let shape = [1, height, width, inputs];
            let mut values = float("conv_transpose2d/x", &shape);
            values[(2 * width + 3) * inputs + channel] = f32::NAN;
            let y = conv_transpose2d(&make(&shape, values), &weights).map_err(|e| e.to_string())?;
            for (pixel, y) in floats(&y)?.chunks(outputs).enumerate() {
                let (row, column) = (pixel / (k * width), pixel % (k * width));
                let inside = row / k == 2 && column / k == 3;
                if y.iter().any(|v| v.is_nan() != inside) {
                    return Err(format!("{inputs} inputs, channel {channel}: {y:?} at {row}, {column}"));
                }
            }
        }
    }
    Ok(())
}

fn error_cases() -> Vec<Case> {
    fn refused(
        name: &'static str,
        part: &'static str,
        tensors: impl Fn(&Device) -> (Tensor, Tensor) + Send + Sync + 'static,
    ) -> Case {
        case(name, move |d| {
            let (weight, bias) = tensors(d);
            expect_error(ConvTranspose2dWeights::pack(&weight, &bias), part)
        })
    }
    fn refused_x(
        name: &'static str,
        part: &'static str,
        x: impl Fn(&Device) -> Tensor + Send + Sync + 'static,
    ) -> Case {
        case(name, move |d| {
            let weights = ConvTranspose2dWeights::pack(&normal(d, "w", &[3, 4, 2, 2]), &normal(d, "b", &[4]));
            expect_error(conv_transpose2d(&x(d), &weights.unwrap()), part)
        })
    }
    vec![
        refused("conv_transpose2d/error/weight_rank", "`weight` must be [inputs", |d| {
            (normal(d, "w", &[3, 4, 2]), normal(d, "b", &[4]))
        }),
        refused("conv_transpose2d/error/weight_not_square", "`weight` must be [inputs", |d| {
            (normal(d, "w", &[3, 4, 2, 3]), normal(d, "b", &[4]))
        }),
        refused("conv_transpose2d/error/weight_empty", "no extent 0", |d| {
            (normal(d, "w", &[3, 4, 0, 0]), normal(d, "b", &[4]))
        }),
        refused("conv_transpose2d/error/weight_dtype", "`weight` must hold f32", |d| {
            (bytes(d, &[3, 4, 2, 2]), normal(d, "b", &[4]))
        }),
        refused("conv_transpose2d/error/bias_shape", "`bias` must be [4]", |d| {
            (normal(d, "w", &[3, 4, 2, 2]), normal(d, "b", &[3]))
        }),
        refused("conv_transpose2d/error/bias_dtype", "`bias` must hold f32", |d| {
            (normal(d, "w", &[3, 4, 2, 2]), bytes(d, &[4]))
        }),
        refused_x("conv_transpose2d/error/x_rank", "vision::conv_transpose2d: `x` must be [batch", |d| {
            normal(d, "x", &[5, 5, 3])
        }),
        refused_x("conv_transpose2d/error/x_channels", "vision::conv_transpose2d: `x` must be [batch", |d| {
            normal(d, "x", &[1, 5, 5, 4])
        }),
        refused_x("conv_transpose2d/error/x_dtype", "vision::conv_transpose2d: `x` must hold f32", |d| {
            bytes(d, &[1, 5, 5, 3])
        }),
    ]
}
