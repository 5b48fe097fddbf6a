use super::{reference, scatter_add};
use crate::indexing::gather::gather;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::{normal, uniform};
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, cpu_case, expect_error, f16_case, f16_tensor,
    floats, gpu_case, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("scatter_add/oracle/one_value", |d| against_oracle(d, &[1], &[1], 0)),
        case("scatter_add/oracle/one_axis", |d| against_oracle(d, &[100], &[333], 0)),
        case("scatter_add/oracle/first_axis", |d| against_oracle(d, &[7, 5], &[9, 5], 0)),
        case("scatter_add/oracle/shorter_index", |d| against_oracle(d, &[7, 5, 6], &[4, 8, 3], 1)),
        case("scatter_add/oracle/last_axis", |d| against_oracle(d, &[3, 7, 11], &[3, 7, 20], 2)),
        case("scatter_add/oracle/several_blocks", |d| against_oracle(d, &[5000], &[9001], 0)),
        case("scatter_add/oracle/all_at_one_place", |d| against_oracle(d, &[1], &[5000], 0)),
        f16_case("scatter_add/f16/odd_sizes", f16_against_oracle),
        case("scatter_add/property/in_the_order_of_the_source", in_order),
        case("scatter_add/property/is_the_gradient_of_gather", gradient_of_gather),
        case("scatter_add/property/empty", empty),
        gpu_case("scatter_add/property/out_of_range_is_left_out", out_of_range),
        small_bindings_case("scatter_add/error/too_long", 1024, |d| {
            let x = Tensor::zeros::<f32>(d, &[500]);
            let (index, src) = (Tensor::zeros::<i64>(d, &[3]), Tensor::zeros::<f32>(d, &[3]));
            expect_error(scatter_add(&x, 0, &index, &src), "a tensor of 2000 bytes does not fit one binding")
        }),
        cpu_case("scatter_add/error/out_of_range", refused),
        case("scatter_add/error/shapes", shapes),
        case("scatter_add/error/dtypes", dtypes),
    ]
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn numbers(count: usize, extent: usize) -> Vec<i64> {
    let spread = uniform("scatter_add/index", count);
    spread.iter().map(|v| ((f64::from(*v) * 0.5 + 0.5) * extent as f64) as i64).collect()
}

fn check(x: &Tensor, src: &Tensor, held: [&[f32]; 2], axis: usize, tolerance: Tolerance) -> Verdict {
    let index = numbers(src.len(), x.shape()[axis]);
    let want = reference::scatter_add((held[0], x.shape()), src.shape(), axis, &index, held[1]);
    let index = Tensor::new(&x.device(), src.shape(), index).map_err(text)?;
    let got = scatter_add(x, axis, &index, src).map_err(text)?;
    check_equal(got.shape(), x.shape())?;
    check_equal(&[got.dtype()], &[x.dtype()])?;
    check_close(&floats(&got)?, &want, tolerance)?;
    // The argument is as it was.
    check_equal(&floats(x)?, held[0])
}

fn against_oracle(device: &Device, x_shape: &[usize], shape: &[usize], axis: usize) -> Verdict {
    let x = normal("scatter_add/x", x_shape.iter().product());
    let src = normal("scatter_add/src", shape.iter().product());
    let tensors = [(x_shape, &x), (shape, &src)].map(|(s, v)| Tensor::new(device, s, v.clone()));
    let [x_tensor, src_tensor] = tensors.map(|t| t.expect("a test's shape fits its values"));
    check(&x_tensor, &src_tensor, [&x, &src], axis, Tolerance::Sum { depth: src.len() })
}

fn f16_against_oracle(device: &Device) -> Verdict {
    let (x, x_held) = f16_tensor(device, &[3, 7, 5], &normal("scatter_add/x", 105));
    let (src, src_held) = f16_tensor(device, &[2, 30, 5], &normal("scatter_add/src", 300));
    check(&x, &src, [&x_held, &src_held], 1, Tolerance::OfLargest(5e-4))
}

/// Sums of numbers of very different size show their order, to the bit.
fn in_order(device: &Device) -> Verdict {
    let count = 6000;
    let index = numbers(count, 3);
    let exponents = uniform("scatter_add/exponents", count);
    let src: Vec<f32> =
        normal("scatter_add/src", count).iter().zip(exponents).map(|(v, e)| v * (20.0 * e).exp2()).collect();
    let mut want = [0f32; 3];
    for (&i, src) in index.iter().zip(&src) {
        want[i as usize] += src;
    }
    let index = Tensor::new(device, &[count], index).map_err(text)?;
    let src = Tensor::new(device, &[count], src).map_err(text)?;
    let got = scatter_add(&Tensor::zeros::<f32>(device, &[3]), 0, &index, &src).map_err(text)?;
    check_equal(&floats(&got)?, &want)
}

/// `<gather(x), g> = <x, scatter_add(0, g)>`.
fn gradient_of_gather(device: &Device) -> Verdict {
    let x = Tensor::new(device, &[6, 4], normal("scatter_add/x", 24)).map_err(text)?;
    let index = Tensor::new(device, &[9, 3], numbers(27, 6)).map_err(text)?;
    let g = Tensor::new(device, &[9, 3], normal("scatter_add/src", 27)).map_err(text)?;
    let gathered = floats(&gather(&x, 0, &index).map_err(text)?)?;
    let added = floats(&scatter_add(&Tensor::zeros::<f32>(device, &[6, 4]), 0, &index, &g).map_err(text)?)?;
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let want = dot(&gathered, &floats(&g)?);
    check_close(&[dot(&floats(&x)?, &added) as f32], &[want], Tolerance::Absolute(1e-5))
}

fn empty(device: &Device) -> Verdict {
    let x = Tensor::new(device, &[2, 3], normal("scatter_add/x", 6)).map_err(text)?;
    let (index, src) = (Tensor::zeros::<i64>(device, &[0, 3]), Tensor::zeros::<f32>(device, &[0, 3]));
    check_equal(&floats(&scatter_add(&x, 0, &index, &src).map_err(text)?)?, &floats(&x)?)?;
    let nothing = Tensor::zeros::<f32>(device, &[0, 3]);
    check_equal(scatter_add(&nothing, 0, &index, &src).map_err(text)?.shape(), &[0, 3])
}

fn out_of_range(device: &Device) -> Verdict {
    let x = Tensor::new(device, &[3], vec![1f32, 2.0, 3.0]).map_err(text)?;
    let index = Tensor::new(device, &[5], vec![2i64, 3, -1, 1 << 32, 2]).map_err(text)?;
    let src = Tensor::new(device, &[5], vec![10f32; 5]).map_err(text)?;
    check_equal(&floats(&scatter_add(&x, 0, &index, &src).map_err(text)?)?, &[1.0, 2.0, 23.0])
}

fn refused(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[2, 3]);
    let index = Tensor::new(device, &[1, 3], vec![0i64, -1, 2]).map_err(text)?;
    let src = Tensor::zeros::<f32>(device, &[1, 3]);
    expect_error(
        scatter_add(&x, 0, &index, &src),
        "`index` must be numbers from 0 to below 2, got -1 at place 1",
    )
}

fn shapes(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[2, 3]);
    let (index, src) = (Tensor::zeros::<i64>(device, &[2, 2]), Tensor::zeros::<f32>(device, &[2, 3]));
    expect_error(scatter_add(&x, 0, &index, &src), "`src` must be [2, 2] as the index, got [2, 3]")?;
    let index = Tensor::zeros::<i64>(device, &[3, 2]);
    expect_error(
        scatter_add(&x, 1, &index, &src),
        "`index` must be at most [2, 3] along all axes but axis 1",
    )?;
    expect_error(scatter_add(&x, 2, &index, &src), "`axis` must be below the rank 2")
}

fn dtypes(device: &Device) -> Verdict {
    let (x, index) = (Tensor::zeros::<f32>(device, &[2]), Tensor::zeros::<i64>(device, &[2]));
    let whole = Tensor::zeros::<i32>(device, &[2]);
    expect_error(scatter_add(&x, 0, &index, &whole), "`src` must hold f32")?;
    expect_error(scatter_add(&whole, 0, &index, &x), "`x` must hold f32")?;
    expect_error(scatter_add(&x, 0, &x, &x), "`index` must hold i32, u32 or i64, got f32")
}
