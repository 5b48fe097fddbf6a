use super::gather_rows;
use half::f16;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::{
    Case, Verdict, case, check_equal, expect_error, f16_case, f16_tensor, floats, gpu_case, inputs,
    small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("gather_rows/oracle/one_value", |d| copies(d, 1, 1, 1)),
        case("gather_rows/oracle/odd_sizes", |d| copies(d, 211, 37, 5)),
        case("gather_rows/oracle/descriptors", |d| copies(d, 3000, 999, 24)),
        f16_case("gather_rows/f16/odd_sizes", halves),
        case("gather_rows/property/numbers_that_no_row_has", |d| {
            let rows = tensor(d, &[3, 2], vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]);
            let got = gather_rows(&rows, &tensor(d, &[4], vec![2u32, 3, u32::MAX, 0])).map_err(text)?;
            check_equal(&got.read::<f32>().map_err(text)?, &[5.0, 6.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0])
        }),
        case("gather_rows/property/no_rows", |d| {
            let got = gather_rows(&Tensor::zeros::<f32>(d, &[0, 2]), &tensor(d, &[2], vec![0u32, 1]));
            check_equal(&got.map_err(text)?.read::<f32>().map_err(text)?, &[0.0; 4])
        }),
        case("gather_rows/property/nothing_asked", |d| {
            let got = gather_rows(&Tensor::zeros::<f32>(d, &[3, 2]), &Tensor::zeros::<u32>(d, &[0]));
            check_equal(got.map_err(text)?.shape(), &[0, 2])
        }),
        small_bindings_case("gather_rows/oracle/small_bindings", 512, |d| {
            copies(d, 211, 37, 5)?;
            copies(d, 5, 300, 1)?;
            if d.gpu().is_some_and(|gpu| gpu.capabilities().f16) { halves(d) } else { Ok(()) }
        }),
        small_bindings_case(
            "gather_rows/property/rows_at_the_ends_of_bindings",
            1 << 16,
            rows_at_the_ends_of_bindings,
        ),
        gpu_case("gather_rows/error/a_row_that_does_not_fit", |d| {
            let d = Device::Gpu(d.gpu().expect("a GPU case").with_bindings_of(512));
            let (rows, indices) = (Tensor::zeros::<f32>(&d, &[3, 200]), Tensor::zeros::<u32>(&d, &[4]));
            expect_error(gather_rows(&rows, &indices), "a row of 800 bytes does not fit one binding")
        }),
        case("gather_rows/error/arguments", |d| {
            let (rows, indices) = (Tensor::zeros::<f32>(d, &[3, 2]), Tensor::zeros::<u32>(d, &[4]));
            let flat = Tensor::zeros::<f32>(d, &[6]);
            expect_error(gather_rows(&flat, &indices), "`rows` must be [rows, width], got [6]")?;
            let empty = Tensor::zeros::<f32>(d, &[3, 0]);
            expect_error(gather_rows(&empty, &indices), "`rows` must be [rows, width] with a width above 0")?;
            let square = Tensor::zeros::<u32>(d, &[2, 2]);
            expect_error(gather_rows(&rows, &square), "`indices` must be [count], got [2, 2]")?;
            expect_error(gather_rows(&square, &indices), "`rows` must hold f32")?;
            expect_error(
                gather_rows(&rows, &Tensor::zeros::<i32>(d, &[4])),
                "`indices` must hold u32, got i32",
            )
        }),
        gpu_case("gather_rows/error/device", |d| {
            let indices = Tensor::zeros::<u32>(&Device::Cpu, &[4]);
            expect_error(gather_rows(&Tensor::zeros::<f32>(d, &[3, 2]), &indices), "`indices` must be on")
        }),
    ]
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn tensor<T: steropes_tensor::Element>(device: &Device, shape: &[usize], data: Vec<T>) -> Tensor {
    Tensor::new(device, shape, data).expect("a test's shape fits its values")
}

/// Numbers below `rows`, in no order, the first and the last among them.
pub(super) fn indices(count: usize, rows: usize) -> Vec<u32> {
    let random = inputs::uniform("gather_rows/indices", count);
    let mut indices: Vec<u32> = random.iter().map(|v| ((v + 1.0) * 0.5 * rows as f32) as u32).collect();
    indices.iter_mut().for_each(|i| *i = (*i).min(rows as u32 - 1));
    indices[count / 2] = 0;
    indices[count - 1] = rows as u32 - 1;
    indices
}

fn copies(device: &Device, rows: usize, count: usize, width: usize) -> Verdict {
    let data = inputs::normal("gather_rows/rows", rows * width);
    let indices = indices(count, rows);
    let want: Vec<f32> =
        indices.iter().flat_map(|i| &data[*i as usize * width..][..width]).copied().collect();
    let got = gather_rows(&tensor(device, &[rows, width], data), &tensor(device, &[count], indices));
    let got = got.map_err(text)?;
    check_equal(got.shape(), &[count, width])?;
    check_equal(&got.read::<f32>().map_err(text)?, &want)
}

fn halves(device: &Device) -> Verdict {
    let (rows, rounded) = f16_tensor(device, &[41, 7], &inputs::normal("gather_rows/rows", 41 * 7));
    let indices = indices(19, 41);
    let want: Vec<f32> = indices.iter().flat_map(|i| &rounded[*i as usize * 7..][..7]).copied().collect();
    let got = gather_rows(&rows, &tensor(device, &[19], indices)).map_err(text)?;
    check_equal(&floats(&got)?, &want)?;
    got.read::<f16>().map(|_| ()).map_err(text)
}

/// Rows at the ends of the bindings that the rows are cut into.
fn rows_at_the_ends_of_bindings(device: &Device) -> Verdict {
    let largest = device.gpu().expect("a GPU case").capabilities().max_binding_bytes;
    let width = 96;
    let per_binding = ((largest - 256) / (4 * width)) as usize;
    let mut data = vec![0.0f32; (per_binding + 77) * width as usize];
    let rows = [per_binding + 76, 0, per_binding - 1, per_binding + 77, per_binding];
    for (place, row) in rows.iter().enumerate().filter(|(place, _)| *place != 3) {
        data[row * width as usize + place] = 1.0 + place as f32;
    }
    let mut want = vec![0.0f32; rows.len() * width as usize];
    for place in [0, 1, 2, 4] {
        want[place * width as usize + place] = 1.0 + place as f32;
    }
    let data = tensor(device, &[per_binding + 77, width as usize], data);
    let got = gather_rows(&data, &tensor(device, &[5], rows.map(|r| r as u32).to_vec())).map_err(text)?;
    check_equal(&got.read::<f32>().map_err(text)?, &want)
}
