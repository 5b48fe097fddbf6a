use super::transpose;
use half::f16;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::{
    Case, Verdict, case, check_equal, cpu_case, expect_error, f16_case, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("transpose/oracle/one_value", |d| against_oracle(d, &[1, 1])),
        case("transpose/oracle/odd_sizes", |d| against_oracle(d, &[3, 5, 7])),
        case("transpose/oracle/around_a_tile", |d| {
            [[31, 33], [32, 32], [33, 64], [1, 100], [100, 1], [65, 31]]
                .iter()
                .try_for_each(|s| against_oracle(d, s))
        }),
        case("transpose/oracle/several_tasks", |d| against_oracle(d, &[2, 301, 203])),
        case("transpose/oracle/many_small", |d| against_oracle(d, &[70, 3, 4, 5])),
        small_bindings_case("transpose/oracle/several_ranges", 4096, |d| against_oracle(d, &[9, 13, 35])),
        f16_case("transpose/f16/odd_sizes", in_f16),
        cpu_case("transpose/f64/odd_sizes", |_| in_f64()),
        case("transpose/property/nothing", |d| {
            [[0, 3], [3, 0], [0, 0]].iter().try_for_each(|s| against_oracle(d, s))?;
            against_oracle(d, &[0, 2, 3])
        }),
        small_bindings_case("transpose/error/a_matrix_too_long", 4096, |d| {
            expect_error(transpose(&Tensor::zeros::<f32>(d, &[40, 40])), "does not fit one binding")
        }),
        case("transpose/error/no_matrix", |d| {
            let x = Tensor::zeros::<f32>(d, &[3]);
            expect_error(transpose(&x), "`x` must be [.., rows, columns], got [3]")
        }),
        case("transpose/error/dtype", |d| {
            expect_error(transpose(&Tensor::zeros::<u32>(d, &[3, 2])), "`x` must hold f32")
        }),
    ]
}

/// Every value of `numbers` where the definition says.
fn transposed<T: Copy>(numbers: &[T], shape: &[usize]) -> Vec<T> {
    let &[.., rows, columns] = shape else { unreachable!("a matrix") };
    let batch: usize = shape[..shape.len() - 2].iter().product();
    let mut want = Vec::new();
    for matrix in 0..batch {
        for column in 0..columns {
            want.extend((0..rows).map(|row| numbers[(matrix * rows + row) * columns + column]));
        }
    }
    want
}

fn exchanged(shape: &[usize]) -> Vec<usize> {
    let mut shape = shape.to_vec();
    let rank = shape.len();
    shape.swap(rank - 2, rank - 1);
    shape
}

fn against_oracle(device: &Device, shape: &[usize]) -> Verdict {
    let numbers: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| i as f32).collect();
    let x = Tensor::new(device, shape, numbers.clone()).expect("a test's shape fits its values");
    let y = transpose(&x).map_err(|e| e.to_string())?;
    check_equal(y.shape(), &exchanged(shape))?;
    let got = y.read::<f32>().map_err(|e| e.to_string())?;
    check_equal(&got, &transposed(&numbers, shape)).map_err(|e| format!("{shape:?}: {e}"))
}

fn in_f16(device: &Device) -> Verdict {
    for shape in [[3, 5, 7], [2, 40, 33]] {
        let numbers: Vec<f16> = (0..shape.iter().product()).map(|i: usize| f16::from_f64(i as f64)).collect();
        let x = Tensor::new(device, &shape, numbers.clone()).expect("a test's shape fits its values");
        let y = transpose(&x).and_then(|y| Ok(y.read::<f16>()?)).map_err(|e| e.to_string())?;
        check_equal(&y, &transposed(&numbers, &shape))?;
    }
    Ok(())
}

fn in_f64() -> Verdict {
    let shape = [3, 50, 70];
    let numbers: Vec<f64> = (0..shape.iter().product()).map(|i: usize| i as f64 + 1e-12).collect();
    let x = Tensor::new(&Device::Cpu, &shape, numbers.clone()).expect("a test's shape fits its values");
    let y = transpose(&x).and_then(|y| Ok(y.read::<f64>()?)).map_err(|e| e.to_string())?;
    check_equal(&y, &transposed(&numbers, &shape))
}
