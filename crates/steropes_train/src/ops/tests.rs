use crate::{Tape, TapeError, Var};
use steropes_ops::linalg::matmul::Transposed;
use steropes_ops::loss::conf_matching_loss::ConfMatchingOptions;
use steropes_ops::loss::cross_entropy::CrossEntropyOptions;
use steropes_ops::loss::info_nce::InfoNceOptions;
use steropes_ops::vision::pointmap::ConfidenceMode;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::normal;

/// A number from variables.
type Loss<'a> = &'a dyn Fn(&Tape, &[Var]) -> Result<Var, TapeError>;

fn f32_tensor(name: &str, shape: &[usize]) -> Tensor {
    Tensor::new(&Device::Cpu, shape, normal(name, shape.iter().product())).unwrap()
}

fn f64_tensor(name: &str, shape: &[usize]) -> Tensor {
    let values = normal(name, shape.iter().product()).into_iter().map(f64::from).collect::<Vec<_>>();
    Tensor::new(&Device::Cpu, shape, values).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f64> {
    match tensor.read::<f64>() {
        Ok(values) => values,
        Err(_) => tensor.read::<f32>().unwrap().into_iter().map(f64::from).collect(),
    }
}

/// `input` with `change` added along `direction`.
fn moved(input: &Tensor, direction: &[f64], change: f64) -> Tensor {
    let new = values(input).iter().zip(direction).map(|(x, d)| x + change * d).collect::<Vec<f64>>();
    if input.dtype() == steropes_tensor::DType::F64 {
        Tensor::new(&Device::Cpu, input.shape(), new).unwrap()
    } else {
        let new = new.into_iter().map(|x| x as f32).collect::<Vec<f32>>();
        Tensor::new(&Device::Cpu, input.shape(), new).unwrap()
    }
}

/// The gradient of every input along a direction is the slope of `loss` there, to a relative `within`.
fn check(inputs: &[Tensor], loss: Loss<'_>, step: f64, within: f64) {
    let tape = Tape::new();
    let variables: Vec<Var> = inputs.iter().map(|input| tape.variable(input.clone())).collect();
    let result = loss(&tape, &variables).unwrap();
    let gradients = tape.gradients(&result).unwrap();
    let at = |inputs: &[Tensor]| {
        let constants: Vec<Var> = inputs.iter().cloned().map(Var::constant).collect();
        values(loss(&Tape::new(), &constants).unwrap().value())[0]
    };
    for (i, variable) in variables.iter().enumerate() {
        let gradient = gradients.of(variable).expect("the loss depends on every input");
        assert_eq!(gradient.shape(), inputs[i].shape());
        let direction: Vec<f64> =
            normal(&format!("direction{i}"), inputs[i].len()).into_iter().map(f64::from).collect();
        let slope: f64 = values(gradient).iter().zip(&direction).map(|(g, d)| g * d).sum();
        let shifted = |change: f64| {
            let mut inputs = inputs.to_vec();
            inputs[i] = moved(&inputs[i], &direction, change);
            at(&inputs)
        };
        let measured = (shifted(step) - shifted(-step)) / (2.0 * step);
        let size = measured.abs().max(1e-2);
        assert!((slope - measured).abs() < within * size, "input {i}: {slope} instead of {measured}");
    }
}

/// A weighted sum of all values, so that no direction is special.
fn weighted(tape: &Tape, x: &Var) -> Result<Var, TapeError> {
    let weights = if x.value().dtype() == steropes_tensor::DType::F64 {
        f64_tensor("weights", x.shape())
    } else {
        f32_tensor("weights", x.shape())
    };
    tape.sum_all(&tape.mul(x, &Var::constant(weights))?)
}

#[test]
fn arithmetic() {
    let inputs = ["a", "b"].map(|name| f64_tensor(name, &[3, 4]));
    let loss = |tape: &Tape, v: &[Var]| {
        let both = tape.add(&tape.mul(&v[0], &v[1])?, &tape.sub(&v[0], &tape.scale(&v[1], 0.3)?)?)?;
        let columns = tape.sum(&tape.reshape(&tape.transpose(&both)?, &[2, 2, 3])?, 1)?;
        let squares = tape.mul(&columns, &columns)?;
        tape.add(&weighted(tape, &squares)?, &tape.mean(&both)?)
    };
    check(&inputs, &loss, 1e-5, 1e-8);
}

#[test]
fn products_of_transposes() {
    for t in Transposed::ALL {
        let shape =
            |flipped: bool, rows, columns| if flipped { [2, columns, rows] } else { [2, rows, columns] };
        let inputs = [f64_tensor("a", &shape(t.a, 3, 4)), f64_tensor("b", &shape(t.b, 4, 5))];
        check(&inputs, &|tape, v| weighted(tape, &tape.matmul(&v[0], &v[1], t)?), 1e-5, 1e-8);
    }
    let repeated = [f64_tensor("a", &[2, 3, 4]), f64_tensor("b", &[4, 5])];
    check(&repeated, &|tape, v| weighted(tape, &tape.matmul(&v[0], &v[1], Transposed::NONE)?), 1e-5, 1e-8);
}

#[test]
fn factorisations() {
    let spread = f64_tensor("spread", &[2, 4, 4]);
    let inputs = [spread, f64_tensor("right", &[2, 4, 3])];
    check(&inputs, &|tape, v| weighted(tape, &tape.solve(&v[0], &v[1])?), 1e-6, 1e-5);
    check(&inputs[..1], &|tape, v| weighted(tape, &tape.inv(&v[0])?), 1e-6, 1e-5);
    check(
        &inputs[..1],
        &|tape, v| {
            // A Aᵀ + 1, whose factor is far from singular.
            let gram = tape.matmul(&v[0], &v[0], Transposed::B)?;
            let one = [1.0, 0.0, 0.0, 0.0, 0.0].into_iter().cycle().take(16).collect::<Vec<f64>>().repeat(2);
            let one = Var::constant(Tensor::new(&Device::Cpu, &[2, 4, 4], one)?);
            weighted(tape, &tape.cholesky(&tape.add(&gram, &one)?)?)
        },
        1e-6,
        1e-5,
    );
    check(
        &inputs[1..],
        &|tape, v| {
            let (q, r) = tape.qr(&v[0])?;
            tape.add(&weighted(tape, &q)?, &weighted(tape, &r)?)
        },
        1e-6,
        1e-5,
    );
    check(
        &inputs[..1],
        &|tape, v| {
            let symmetric = tape.add(&v[0], &tape.transpose(&v[0])?)?;
            let (l, w) = tape.eigh(&symmetric)?;
            // Squares of vectors do not depend on signs.
            tape.add(&weighted(tape, &l)?, &weighted(tape, &tape.mul(&w, &w)?)?)
        },
        1e-6,
        1e-5,
    );
    check(
        &inputs[1..],
        &|tape, v| {
            let [u, s, vh] = tape.svd(&v[0])?;
            let squares =
                tape.add(&weighted(tape, &tape.mul(&u, &u)?)?, &weighted(tape, &tape.mul(&vh, &vh)?)?)?;
            tape.add(&squares, &weighted(tape, &s)?)
        },
        1e-6,
        1e-5,
    );
}

/// Matrices away from those that lack rank, whose pivots stay.
fn heavy(name: &str, shape: &[usize]) -> Tensor {
    let &[.., m, n] = shape else { panic!("a matrix") };
    let plain = values(&f64_tensor(name, shape)).into_iter().enumerate();
    let heavier =
        plain.map(|(e, x)| 0.4 * x + if e / n % m == e % n { 3.0 - 0.4 * (e % n) as f64 } else { 0.0 });
    Tensor::new(&Device::Cpu, shape, heavier.collect::<Vec<_>>()).unwrap()
}

#[test]
fn more_factorisations() {
    for shape in [[2, 4, 4], [2, 5, 3], [2, 3, 5]] {
        let a = [heavy("a", &shape)];
        check(
            &a,
            &|tape, v| {
                let (_, l, u) = tape.lu(&v[0])?;
                tape.add(&weighted(tape, &l)?, &weighted(tape, &u)?)
            },
            1e-6,
            1e-5,
        );
        check(&a, &|tape, v| weighted(tape, &tape.pinv(&v[0], None)?), 1e-6, 1e-5);
        let both = [a[0].clone(), f64_tensor("right", &[2, shape[1], 2])];
        check(&both, &|tape, v| weighted(tape, &tape.lstsq(&v[0], &v[1])?), 1e-6, 1e-5);
    }
    let square = [heavy("a", &[2, 4, 4]), f64_tensor("right", &[2, 4, 3]), f64_tensor("left", &[2, 3, 4])];
    check(&square[..1], &|tape, v| weighted(tape, &tape.det(&v[0])?), 1e-6, 1e-5);
    check(&square[..1], &|tape, v| weighted(tape, &tape.slogdet(&v[0])?.1), 1e-6, 1e-5);
    check(
        &square,
        &|tape, v| {
            let right = weighted(tape, &tape.solve_triangular(&v[0], &v[1], true, true)?)?;
            tape.add(&right, &weighted(tape, &tape.solve_triangular(&v[0], &v[2], false, false)?)?)
        },
        1e-6,
        1e-5,
    );
    let quotient = [f64_tensor("a", &[3, 4]), heavy("b", &[3, 4])];
    check(&quotient, &|tape, v| weighted(tape, &tape.div(&v[0], &v[1])?), 1e-7, 1e-4);
    let error = Tape::new().lstsq(&Var::constant(square[0].clone()), &Var::constant(quotient[0].clone()));
    assert!(error.unwrap_err().to_string().contains("operands must have one shape"));
}

#[test]
fn layers() {
    let x = f32_tensor("x", &[2, 3, 8]);
    let (square, row) = (f32_tensor("w", &[8, 8]), f32_tensor("b", &[8]));
    let inputs = [x.clone(), square, row.clone()];
    check(&inputs, &|tape, v| weighted(tape, &tape.linear(&v[0], &v[1], Some(&v[2]))?), 1e-2, 1e-3);
    let norm = [x.clone(), row.clone(), f32_tensor("c", &[8])];
    check(&norm, &|tape, v| weighted(tape, &tape.layer_norm(&v[0], &v[1], &v[2], 1e-6)?), 1e-2, 3e-3);
    check(&norm[..2], &|tape, v| weighted(tape, &tape.rms_norm(&v[0], &v[1], 1e-6)?), 1e-2, 3e-3);
    check(&norm[..1], &|tape, v| weighted(tape, &tape.normalize(&v[0])?), 1e-2, 3e-3);
    check(&norm[..1], &|tape, v| weighted(tape, &tape.gelu(&v[0])?), 1e-2, 3e-3);
    check(&norm[..1], &|tape, v| weighted(tape, &tape.silu(&v[0])?), 1e-2, 3e-3);
    check(&norm[..1], &|tape, v| weighted(tape, &tape.softmax(&v[0], 2)?), 1e-2, 3e-3);
    check(
        &[x.clone(), f32_tensor("y", &[2, 3, 8])],
        &|tape, v| weighted(tape, &tape.swiglu(&v[0], &v[1])?),
        1e-2,
        3e-3,
    );
    check(&norm[..1], &|tape, v| weighted(tape, &tape.select_rows(&v[0], &[1, 0, 1, 1])?), 1e-2, 1e-3);
    let heads = ["q", "k", "v"].map(|name| f32_tensor(name, &[1, 5, 2, 8]));
    let positions =
        Tensor::new(&Device::Cpu, &[1, 5, 2], (0..10).map(|i| i % 4).collect::<Vec<i64>>()).unwrap();
    for causal in [false, true] {
        let attended = |tape: &Tape, v: &[Var]| {
            let (q, k) = (tape.rope2d(&v[0], &positions, 100.0)?, tape.rope2d(&v[1], &positions, 100.0)?);
            weighted(tape, &tape.sdpa(&q, &k, &v[2], causal, 0.35)?)
        };
        check(&heads, &attended, 1e-2, 3e-3);
    }
}

#[test]
fn losses() {
    let logits = [f32_tensor("logits", &[5, 7])];
    let targets = Tensor::new(&Device::Cpu, &[5], vec![0i64, 6, 3, 3, 1]).unwrap();
    let options = CrossEntropyOptions::default();
    check(&logits, &|tape, v| tape.sum_all(&tape.cross_entropy(&v[0], &targets, &options)?), 1e-2, 3e-3);
    let descriptors = ["d1", "d2"].map(|name| f32_tensor(name, &[1, 6, 4]));
    let valid = Tensor::new(&Device::Cpu, &[1, 6], vec![1u8, 1, 0, 1, 1, 0]).unwrap();
    let options = InfoNceOptions { temperature: 0.5, ..InfoNceOptions::default() };
    check(
        &descriptors,
        &|tape, v| tape.sum_all(&tape.info_nce([&v[0], &v[1]], &valid, &options)?),
        1e-3,
        1e-2,
    );
    let confidence = Tensor::new(&Device::Cpu, &[6], vec![1.5f32, 2.0, 1.1, 3.0, 1.2, 4.0]).unwrap();
    let mask = Tensor::new(&Device::Cpu, &[6], vec![1u8, 1, 0, 1, 1, 1]).unwrap();
    let inputs = [f32_tensor("loss", &[6]), confidence];
    check(&inputs, &|tape, v| tape.conf_loss(&v[0], &v[1], &mask, 0.2), 1e-3, 1e-2);
}

#[test]
fn parts_of_tensors() {
    let whole = [f32_tensor("whole", &[4, 3, 2])];
    for rows in [0..4, 0..1, 1..3, 3..4] {
        check(&whole, &|tape, v| weighted(tape, &tape.rows(&v[0], rows.clone())?), 1e-2, 1e-3);
    }
    // The parts of a tensor cover it once.
    let tape = Tape::new();
    let x = tape.variable(f32_tensor("whole", &[4, 3]));
    let sum = |rows| tape.sum_all(&tape.rows(&x, rows).unwrap()).unwrap();
    let all = tape.add(&sum(0..1), &tape.add(&sum(1..3), &sum(3..4)).unwrap()).unwrap();
    assert_eq!(values(tape.gradients(&all).unwrap().of(&x).unwrap()), [1.0; 12]);
    let error = tape.rows(&x, 3..5).unwrap_err().to_string();
    assert!(error.contains("rows") || error.contains("copy"), "{error}");
    let beside = [f32_tensor("left", &[2, 3, 4]), f32_tensor("right", &[2, 3, 5])];
    check(&beside, &|tape, v| weighted(tape, &tape.concat(&v[0], &v[1])?), 1e-2, 1e-3);
}

#[test]
fn confidences() {
    let raw = [f32_tensor("raw", &[3, 4])];
    let infinite = ConfidenceMode::Exp { min: 1.5, max: f32::INFINITY };
    for mode in [infinite, ConfidenceMode::Sigmoid { min: 0.5, max: 3.0 }] {
        check(&raw, &|tape, v| weighted(tape, &tape.confidence(&v[0], mode)?), 1e-2, 3e-3);
    }
    let bounded = ConfidenceMode::Exp { min: 1.0, max: 8.0 };
    let error = Tape::new().confidence(&Var::constant(raw[0].clone()), bounded).unwrap_err();
    assert!(error.to_string().contains("without an upper bound"), "{error}");
    let sure = ["c1", "c2"].map(|name| {
        let positive =
            values(&f32_tensor(name, &[2, 3])).iter().map(|x| x.abs() as f32 + 0.5).collect::<Vec<_>>();
        Tensor::new(&Device::Cpu, &[2, 3], positive).unwrap()
    });
    let valid = Tensor::new(&Device::Cpu, &[2, 3], vec![1u8, 0, 1, 1, 1, 0]).unwrap();
    let [one, other] = sure;
    let inputs = [f32_tensor("each", &[2, 3]), one, other];
    let options = ConfMatchingOptions { alpha: 0.7, ..ConfMatchingOptions::default() };
    check(&inputs, &|tape, v| tape.conf_matching_loss(&v[0], [&v[1], &v[2]], &valid, &options), 1e-3, 1e-2);
}

/// `f(x)` has the gradient `g`, the same recorded or not, and `Σ g²` a gradient of its own, which is its slope.
fn check_second(inputs: &[Tensor], f: Loss<'_>, step: f64, within: f64) {
    let squares = |tape: &Tape, v: &[Var]| -> Result<Var, TapeError> {
        let inner = f(tape, v)?;
        let recorded = tape.recorded_gradients(&inner)?;
        let plain = tape.gradients(&inner)?;
        let mut sum = Var::constant(Tensor::new(&Device::Cpu, &[], vec![0.0f64])?);
        for var in v {
            let gradient = recorded.recorded(var).expect("the loss depends on every input");
            let (one, other) = (values(gradient.value()), values(plain.of(var).unwrap()));
            let largest = other.iter().fold(1e-3, |m: f64, x| m.max(x.abs()));
            for (one, other) in one.iter().zip(&other) {
                assert!((one - other).abs() < 1e-9 * largest, "recorded {one}, else {other}");
            }
            sum = tape.add(&sum, &tape.sum_all(&tape.mul(gradient, gradient)?)?)?;
        }
        Ok(sum)
    };
    // Constants have no gradient to square, so both sides of a slope are computed with variables.
    let at = |inputs: &[Tensor]| {
        let tape = Tape::new();
        let variables: Vec<Var> = inputs.iter().map(|input| tape.variable(input.clone())).collect();
        values(squares(&tape, &variables).unwrap().value())[0]
    };
    let tape = Tape::new();
    let variables: Vec<Var> = inputs.iter().map(|input| tape.variable(input.clone())).collect();
    let gradients = tape.gradients(&squares(&tape, &variables).unwrap()).unwrap();
    for i in 0..inputs.len() {
        let direction: Vec<f64> = normal("direction", inputs[i].len()).into_iter().map(f64::from).collect();
        let slope: f64 =
            values(gradients.of(&variables[i]).unwrap()).iter().zip(&direction).map(|(g, d)| g * d).sum();
        let shifted = |change: f64| {
            let mut inputs = inputs.to_vec();
            inputs[i] = moved(&inputs[i], &direction, change);
            at(&inputs)
        };
        let measured = (shifted(step) - shifted(-step)) / (2.0 * step);
        assert!(
            (slope - measured).abs() < within * measured.abs(),
            "input {i}: {slope} instead of {measured}"
        );
    }
}

#[test]
fn gradients_have_gradients() {
    let inputs = [f64_tensor("a", &[3, 3]), f64_tensor("b", &[3, 2])];
    let solved = |tape: &Tape, v: &[Var]| {
        let solved = tape.solve(&v[0], &v[1])?;
        weighted(tape, &tape.mul(&solved, &solved)?)
    };
    check_second(&inputs, &solved, 1e-6, 1e-4);
    let a = [heavy("a", &[2, 4, 4])];
    check_second(&a, &|tape, v| weighted(tape, &tape.inv(&v[0])?), 1e-6, 1e-5);
    check_second(&a, &|tape, v| weighted(tape, &tape.det(&v[0])?), 1e-6, 1e-5);
    check_second(&a, &|tape, v| weighted(tape, &tape.slogdet(&v[0])?.1), 1e-6, 1e-5);
    let gram = |tape: &Tape, a: &Var| tape.matmul(a, a, Transposed::B);
    check_second(&a, &|tape, v| weighted(tape, &tape.cholesky(&gram(tape, &v[0])?)?), 1e-6, 1e-5);
    // Squares of vectors do not depend on signs.
    let squares = |tape: &Tape, x: &Var| weighted(tape, &tape.mul(x, x)?);
    check_second(
        &a,
        &|tape, v| {
            let (l, w) = tape.eigh(&tape.add(&v[0], &tape.transpose(&v[0])?)?)?;
            tape.add(&weighted(tape, &l)?, &squares(tape, &w)?)
        },
        1e-6,
        1e-5,
    );
    for shape in [[2, 4, 4], [2, 5, 3], [2, 3, 5]] {
        let a = [heavy("a", &shape)];
        check_second(
            &a,
            &|tape, v| {
                let [u, s, vh] = tape.svd(&v[0])?;
                tape.add(&weighted(tape, &s)?, &tape.add(&squares(tape, &u)?, &squares(tape, &vh)?)?)
            },
            1e-6,
            1e-5,
        );
        check_second(
            &a,
            &|tape, v| {
                let (q, r) = tape.qr(&v[0])?;
                tape.add(&weighted(tape, &q)?, &squares(tape, &r)?)
            },
            1e-6,
            1e-5,
        );
        check_second(&a, &|tape, v| weighted(tape, &tape.pinv(&v[0], None)?), 1e-6, 1e-5);
        let both = [a[0].clone(), f64_tensor("right", &[2, shape[1], 2])];
        check_second(&both, &|tape, v| squares(tape, &tape.lstsq(&v[0], &v[1])?), 1e-6, 1e-5);
    }
}

/// What has no second derivative says so.
#[test]
fn a_second_derivative_that_does_not_exist() {
    let tape = Tape::new();
    let a = tape.variable(heavy("a", &[3, 3]));
    let (_, l, _) = tape.lu(&a).unwrap();
    let error = tape.recorded_gradients(&weighted(&tape, &l).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "lu has no second derivative here");
}
