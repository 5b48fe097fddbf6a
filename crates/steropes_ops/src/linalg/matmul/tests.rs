use super::{Transposed, matmul, matmul_backward, reference};
use crate::linalg::stack::Broadcast;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, cpu_case, expect_error, f16_case, f16_tensor,
    floats, gpu_case, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("matmul/oracle/one_value", |d| against_oracle(d, &[], &[], [1, 1, 1])),
        case("matmul/oracle/odd_sizes", |d| against_oracle(d, &[], &[], [37, 45, 71])),
        case("matmul/oracle/around_a_tile", around_a_tile),
        case("matmul/oracle/rows_and_columns_alone", |d| {
            [[1, 90, 70], [90, 1, 70], [1, 1, 300], [70, 90, 1]]
                .iter()
                .try_for_each(|&extents| against_oracle(d, &[], &[], extents))
        }),
        case("matmul/oracle/many_small", |d| {
            [[1, 1, 1], [2, 3, 4], [4, 4, 4], [16, 15, 13], [7, 16, 16]]
                .iter()
                .try_for_each(|&extents| against_oracle(d, &[37], &[37], extents))
        }),
        case("matmul/oracle/batch_32", |d| against_oracle(d, &[2, 5], &[2, 5], [32, 32, 32])),
        case("matmul/oracle/broadcast", broadcast),
        case("matmul/oracle/deep_and_narrow", |d| against_oracle(d, &[2], &[], [9, 16, 2100])),
        case("matmul/oracle/blocks_of_the_result", |d| {
            against_oracle_as(d, &[], &[], [260, 520, 3], Transposed::BOTH)
        }),
        case("matmul/oracle/large", |d| against_oracle_as(d, &[], &[], [513, 515, 517], Transposed::A)),
        case("matmul/oracle/large_joined", |d| {
            against_oracle_as(d, &[3], &[], [173, 515, 517], Transposed::NONE)
        }),
        cpu_case("matmul/f64/odd_sizes", |_| in_f64()),
        f16_case("matmul/f16/odd_sizes", |d| {
            f16_against_oracle(d, [37, 45, 71])?;
            f16_against_oracle(d, [9, 16, 600])
        }),
        small_bindings_case("matmul/oracle/several_ranges", 8192, |d| {
            against_oracle(d, &[9], &[9], [20, 17, 13])?;
            against_oracle(d, &[3, 3], &[3, 3], [2, 3, 4])
        }),
        case("matmul/property/rows_are_independent", rows_are_independent),
        case("matmul/property/nan_stays_in_its_row", nan_stays_in_its_row),
        case("matmul/property/infinity_times_zero", infinity_times_zero),
        case("matmul/property/nothing", nothing),
        cpu_case("matmul/property/threads_change_nothing", |_| threads_change_nothing()),
        case("matmul_backward/gradient/finite_differences", finite_differences),
        case("matmul_backward/gradient/broadcast", repeated_operands),
        case("matmul/error/shapes", wrong_shapes),
        case("matmul/error/dtypes", wrong_dtypes),
        gpu_case("matmul/error/devices_differ", |d| {
            let (a, b) = (Tensor::zeros::<f32>(d, &[2, 3]), Tensor::zeros::<f32>(&Device::Cpu, &[3, 2]));
            expect_error(matmul(&a, &b, Transposed::NONE), "`b` must be on")
        }),
        small_bindings_case("matmul/error/a_repeated_stack_too_long", 4096, |d| {
            let (a, b) = (Tensor::zeros::<f32>(d, &[9, 1, 20, 17]), Tensor::zeros::<f32>(d, &[1, 2, 17, 13]));
            expect_error(
                matmul(&a, &b, Transposed::NONE),
                "a stack of matrices that is repeated does not fit",
            )
        }),
    ]
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// The shapes of the operands of a product with these extents.
fn shapes(a: &[usize], b: &[usize], [rows, columns, depth]: [usize; 3], t: Transposed) -> [Vec<usize>; 2] {
    let matrix = |batch: &[usize], [x, y]: [usize; 2], turned: bool| {
        [batch, &if turned { [y, x] } else { [x, y] }].concat()
    };
    [matrix(a, [rows, depth], t.a), matrix(b, [depth, columns], t.b)]
}

/// The products of all pairs.
fn expected(a: &[f64], b: &[f64], batches: [&[usize]; 2], extents: [usize; 3], t: Transposed) -> Vec<f64> {
    let [rows, columns, depth] = extents;
    let batch = Broadcast::of("test", "b", batches[0], batches[1]).expect("batches that go together");
    let (left, right) = (rows * depth, depth * columns);
    (0..batch.count())
        .flat_map(|index| {
            let [i, j] = batch.sources(index);
            reference::matmul(&a[i * left..][..left], &b[j * right..][..right], extents, t)
        })
        .collect()
}

fn run(a: &Tensor, b: &Tensor, t: Transposed, shape: &[usize]) -> Result<Tensor, String> {
    let y = matmul(a, b, t).map_err(|e| e.to_string())?;
    check_equal(y.shape(), shape)?;
    check_equal(&[y.dtype()], &[a.dtype()])?;
    Ok(y)
}

fn result_shape(a: &[usize], b: &[usize], [rows, columns, _]: [usize; 3]) -> Vec<usize> {
    let batch = Broadcast::of("test", "b", a, b).expect("batches that go together").batch;
    [batch, vec![rows, columns]].concat()
}

fn against_oracle(device: &Device, a: &[usize], b: &[usize], extents: [usize; 3]) -> Verdict {
    Transposed::ALL.iter().try_for_each(|&t| against_oracle_as(device, a, b, extents, t))
}

fn against_oracle_as(
    device: &Device,
    a: &[usize],
    b: &[usize],
    extents: [usize; 3],
    t: Transposed,
) -> Verdict {
    let shapes = shapes(a, b, extents, t);
    let [x, y] = [("matmul/a", &shapes[0]), ("matmul/b", &shapes[1])]
        .map(|(name, shape)| normal(name, shape.iter().product()));
    let want = expected(&wide(&x), &wide(&y), [a, b], extents, t);
    let tensor = |shape: &[usize], values| Tensor::new(device, shape, values).expect("a test's shape");
    let got = run(&tensor(&shapes[0], x), &tensor(&shapes[1], y), t, &result_shape(a, b, extents))?;
    check_close(&floats(&got)?, &want, Tolerance::Sum { depth: extents[2] })
        .map_err(|e| format!("{a:?} {b:?} {extents:?} {t:?}: {e}"))
}

fn around_a_tile(device: &Device) -> Verdict {
    for extents in [[31, 32, 15], [32, 33, 16], [33, 32, 17], [63, 65, 33], [65, 64, 8]] {
        against_oracle(device, &[], &[], extents)?;
    }
    Ok(())
}

fn broadcast(device: &Device) -> Verdict {
    let pairs: [[&[usize]; 2]; 6] = [
        [&[3], &[]],
        [&[], &[3]],
        [&[2, 1], &[3]],
        [&[2, 1, 4], &[1, 3, 1]],
        [&[1], &[5]],
        [&[2, 3], &[2, 3]],
    ];
    for [a, b] in pairs {
        for extents in [[5, 7, 6], [20, 40, 33]] {
            against_oracle(device, a, b, extents)?;
        }
    }
    Ok(())
}

fn in_f64() -> Verdict {
    let cases: [([usize; 3], &[usize]); 4] =
        [([37, 45, 71], &[]), ([5, 7, 6], &[19]), ([300, 17, 40], &[2]), ([1, 1, 1000], &[])];
    for (extents, batch) in cases {
        for t in Transposed::ALL {
            let shapes = shapes(batch, batch, extents, t);
            let [x, y] = [("matmul/a", &shapes[0]), ("matmul/b", &shapes[1])].map(|(name, shape)| {
                wide(&normal(name, shape.iter().product())).into_iter().map(|v| v / 3.0).collect::<Vec<f64>>()
            });
            let want = expected(&x, &y, [batch, batch], extents, t);
            let tensor = |shape: &[usize], values| Tensor::new(&Device::Cpu, shape, values).expect("a shape");
            let shape = result_shape(batch, batch, extents);
            let got = run(&tensor(&shapes[0], x), &tensor(&shapes[1], y), t, &shape)?;
            let got = got.read::<f64>().map_err(|e| e.to_string())?;
            let largest = want.iter().fold(0.0f64, |m, w| m.max(w.abs()));
            let worst = got.iter().zip(&want).fold(0.0f64, |m, (g, w)| m.max((g - w).abs()));
            let bound = 4.0 * f64::EPSILON * (extents[2] as f64).sqrt() * largest;
            if worst > bound || got.len() != want.len() {
                return Err(format!("{extents:?} {t:?}: off by {worst:e}, at most {bound:e}"));
            }
        }
    }
    Ok(())
}

fn f16_against_oracle(device: &Device, extents: [usize; 3]) -> Verdict {
    for t in Transposed::ALL {
        let shapes = shapes(&[3], &[1], extents, t);
        let (a, x) = f16_tensor(device, &shapes[0], &normal("matmul/a", shapes[0].iter().product()));
        let (b, y) = f16_tensor(device, &shapes[1], &normal("matmul/b", shapes[1].iter().product()));
        let want = expected(&wide(&x), &wide(&y), [&[3], &[1]], extents, t);
        let got = run(&a, &b, t, &result_shape(&[3], &[1], extents))?;
        check_close(&floats(&got)?, &want, Tolerance::OfLargest(5e-4)).map_err(|e| format!("{t:?}: {e}"))?;
    }
    Ok(())
}

/// In a stack a matrix gives the bits that it gives alone.
fn rows_are_independent(device: &Device) -> Verdict {
    for [rows, columns, depth] in [[40, 50, 60], [8, 9, 10]] {
        let (a, b) = (normal("matmul/a", 3 * rows * depth), normal("matmul/b", 3 * depth * columns));
        let tensor = |shape: &[usize], values: &[f32]| {
            Tensor::new(device, shape, values.to_vec()).expect("a test's shape fits its values")
        };
        let product = |a: &Tensor, b: &Tensor| {
            matmul(a, b, Transposed::NONE).map_err(|e| e.to_string()).and_then(|y| floats(&y))
        };
        let all = product(&tensor(&[3, rows, depth], &a), &tensor(&[3, depth, columns], &b))?;
        let pair = |range: std::ops::Range<usize>| {
            let count = range.len();
            product(
                &tensor(&[count, rows, depth], &a[range.start * rows * depth..range.end * rows * depth]),
                &tensor(
                    &[count, depth, columns],
                    &b[range.start * depth * columns..range.end * depth * columns],
                ),
            )
        };
        check_equal(&pair(1..3)?, &all[rows * columns..])?;
    }
    Ok(())
}

fn nan_stays_in_its_row(device: &Device) -> Verdict {
    for (batch, extents) in [(1, [40, 50, 60]), (20, [5, 6, 7])] {
        let [rows, columns, depth] = extents;
        let mut a = normal("matmul/a", batch * rows * depth);
        a[2 * depth + 1] = f32::NAN;
        let a = Tensor::new(device, &[batch, rows, depth], a).expect("a test's shape");
        let b = Tensor::new(device, &[depth, columns], normal("matmul/b", depth * columns)).expect("a shape");
        let y = floats(&run(&a, &b, Transposed::NONE, &[batch, rows, columns])?)?;
        if let Some(i) = (0..y.len()).find(|&i| y[i].is_nan() != (i / columns == 2)) {
            return Err(format!("{extents:?}: row {} column {} is {}", i / columns, i % columns, y[i]));
        }
    }
    Ok(())
}

fn infinity_times_zero(device: &Device) -> Verdict {
    let a = Tensor::new(device, &[1, 2], vec![f32::INFINITY, 1.0]).expect("2 values");
    let b = Tensor::new(device, &[2, 2], vec![0.0f32, 1.0, 1.0, 1.0]).expect("4 values");
    let y = floats(&run(&a, &b, Transposed::NONE, &[1, 2])?)?;
    check_equal(&[y[0].is_nan(), y[1] == f32::INFINITY], &[true, true])
}

fn nothing(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    for (a, b, shape) in [
        (vec![0, 2, 3], vec![0, 3, 4], vec![0, 2, 4]),
        (vec![0, 2, 3], vec![3, 4], vec![0, 2, 4]),
        (vec![5, 0, 3], vec![5, 3, 4], vec![5, 0, 4]),
        (vec![2, 3], vec![3, 0], vec![2, 0]),
    ] {
        check_equal(&floats(&run(&zeros(&a), &zeros(&b), Transposed::NONE, &shape)?)?, &[])?;
    }
    for batch in [1, 3] {
        let y = run(&zeros(&[batch, 2, 0]), &zeros(&[batch, 0, 4]), Transposed::NONE, &[batch, 2, 4])?;
        check_equal(&floats(&y)?, &vec![0.0; batch * 8])?;
    }
    Ok(())
}

fn threads_change_nothing() -> Verdict {
    for (batch, side) in [(1, 300), (100, 12), (5, 90)] {
        let len = batch * side * side;
        let tensor =
            |name| Tensor::new(&Device::Cpu, &[batch, side, side], normal(name, len)).expect("a cube");
        let (a, b) = (tensor("matmul/a"), tensor("matmul/b"));
        let on = |threads| {
            let pool =
                rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| e.to_string())?;
            pool.install(|| matmul(&a, &b, Transposed::B).map_err(|e| e.to_string()).and_then(|y| floats(&y)))
        };
        check_equal(&on(7)?, &on(1)?)?;
    }
    Ok(())
}

/// The gradient of `Σ gradient * A B` against central differences of the oracle, which are exact but for rounding: the sum is linear
/// in each operand.
fn gradients(device: &Device, a: &[usize], b: &[usize], extents: [usize; 3], t: Transposed) -> Verdict {
    let shapes = shapes(a, b, extents, t);
    let result = result_shape(a, b, extents);
    let [x, y] = [("matmul/a", &shapes[0]), ("matmul/b", &shapes[1])]
        .map(|(name, shape)| normal(name, shape.iter().product()));
    let g = normal("matmul/gradient", result.iter().product());
    let tensor =
        |shape: &[usize], values: &[f32]| Tensor::new(device, shape, values.to_vec()).expect("a shape");
    let (da, db) = matmul_backward(&tensor(&result, &g), &tensor(&shapes[0], &x), &tensor(&shapes[1], &y), t)
        .map_err(|e| e.to_string())?;
    check_equal(da.shape(), &shapes[0])?;
    check_equal(db.shape(), &shapes[1])?;
    let (x, y) = (wide(&x), wide(&y));
    let loss = |x: &[f64], y: &[f64]| -> f64 {
        expected(x, y, [a, b], extents, t).iter().zip(&g).map(|(v, &g)| v * f64::from(g)).sum()
    };
    let differences = |values: &[f64], loss: &dyn Fn(&[f64]) -> f64| -> Vec<f64> {
        let moved = |i: usize, by: f64| {
            let mut values = values.to_vec();
            values[i] += by;
            loss(&values)
        };
        (0..values.len()).map(|i| moved(i, 0.5) - moved(i, -0.5)).collect()
    };
    let tolerance = Tolerance::OfLargest(2e-6);
    check_close(&floats(&da)?, &differences(&x, &|x| loss(x, &y)), tolerance)
        .map_err(|e| format!("a: {a:?} {b:?} {t:?}: {e}"))?;
    check_close(&floats(&db)?, &differences(&y, &|y| loss(&x, y)), tolerance)
        .map_err(|e| format!("b: {a:?} {b:?} {t:?}: {e}"))
}

fn finite_differences(device: &Device) -> Verdict {
    Transposed::ALL.iter().try_for_each(|&t| {
        gradients(device, &[], &[], [3, 5, 4], t)?;
        gradients(device, &[2], &[2], [2, 3, 4], t)
    })
}

fn repeated_operands(device: &Device) -> Verdict {
    let pairs: [[&[usize]; 2]; 5] =
        [[&[3], &[]], [&[], &[3]], [&[2, 1], &[3]], [&[2, 1, 2], &[1, 3, 1]], [&[1], &[4]]];
    pairs.iter().try_for_each(|[a, b]| {
        Transposed::ALL.iter().try_for_each(|&t| gradients(device, a, b, [2, 3, 2], t))
    })
}

fn wrong_shapes(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    let product = |a: &[usize], b: &[usize], t| matmul(&zeros(a), &zeros(b), t);
    expect_error(product(&[3], &[3, 2], Transposed::NONE), "`a` must be [.., rows, columns], got [3]")?;
    expect_error(product(&[2, 3], &[3], Transposed::NONE), "`b` must be [.., rows, columns], got [3]")?;
    expect_error(product(&[2, 3], &[2, 3], Transposed::NONE), "`b` must be [.., 3, columns], got [2, 3]")?;
    expect_error(product(&[2, 3], &[3, 2], Transposed::B), "`b` must be [.., columns, 3], got [3, 2]")?;
    expect_error(product(&[2, 3], &[3, 2], Transposed::A), "`b` must be [.., 2, columns], got [3, 2]")?;
    expect_error(
        product(&[2, 1, 3], &[3, 3, 2], Transposed::NONE),
        "`b` must be of a batch that goes with [2]",
    )?;
    let wrong = matmul_backward(&zeros(&[2, 3]), &zeros(&[2, 3]), &zeros(&[3, 2]), Transposed::NONE);
    expect_error(wrong.map(|(da, _)| da), "`gradient` must be [2, 2], got [2, 3]")
}

fn wrong_dtypes(device: &Device) -> Verdict {
    let (x, whole) = (Tensor::zeros::<f32>(device, &[2, 2]), Tensor::zeros::<u32>(device, &[2, 2]));
    expect_error(matmul(&x, &whole, Transposed::NONE), "`b` must hold f32")?;
    expect_error(matmul(&whole, &x, Transposed::NONE), "`a` must hold f32")?;
    if device.gpu().is_none() {
        let double = Tensor::zeros::<f64>(device, &[2, 2]);
        expect_error(
            matmul(&double, &x, Transposed::NONE),
            "`b` must hold f64 as the first argument, got f32",
        )?;
    }
    Ok(())
}
