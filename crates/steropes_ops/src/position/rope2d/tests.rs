use super::{reference, rope2d};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::{fnv1a, normal, uniform_at};
use steropes_testkit::{Case, Tolerance, Verdict, case, check_close, check_equal, expect_error};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("rope2d/oracle/one_token", |d| against_oracle(d, [1, 1, 1, 4], 50)),
        case("rope2d/oracle/odd_sizes", |d| against_oracle(d, [2, 7, 3, 20], 50)),
        case("rope2d/oracle/every_head_dim", every_head_dim),
        case("rope2d/oracle/tiny_encoder", |d| against_oracle(d, [2, 432, 4, 64], 24)),
        case("rope2d/oracle/mast3r_encoder", |d| against_oracle(d, [1, 768, 16, 64], 32)),
        case("rope2d/oracle/far_positions", |d| against_oracle(d, [1, 5, 2, 8], u32::MAX)),
        case("rope2d/property/origin_is_identity", origin_is_identity),
        case("rope2d/property/lengths_are_kept", lengths_are_kept),
        case("rope2d/property/products_depend_on_the_offset", products_depend_on_the_offset),
        case("rope2d/property/shared_memory_is_not_changed", shared_memory_is_not_changed),
        case("rope2d/property/nothing_to_turn", nothing_to_turn),
        case("rope2d/error/x_rank", x_rank),
        case("rope2d/error/head_dim_not_a_multiple_of_4", head_dim),
        case("rope2d/error/x_dtype", x_dtype),
        case("rope2d/error/positions_shape", positions_shape),
        case("rope2d/error/positions_dtype", positions_dtype),
        case("rope2d/error/base", base),
    ]
}

const BASE: f32 = 100.0;

fn tensor<T: steropes_tensor::Element>(device: &Device, shape: &[usize], values: Vec<T>) -> Tensor {
    Tensor::new(device, shape, values).expect("a test's shape fits its values")
}

fn positions(tokens: usize, limit: u32) -> Vec<u32> {
    let hash = fnv1a("rope2d/positions");
    let at = |i| (uniform_at(hash, i) * 0.5 + 0.5) * f64::from(limit);
    (0..2 * tokens as u64).map(|i| at(i) as u32).collect()
}

fn run(x: Tensor, positions: &Tensor) -> Result<Vec<f32>, String> {
    let shape = x.shape().to_vec();
    let y = rope2d(x, positions, BASE).map_err(|e| e.to_string())?;
    check_equal(y.shape(), &shape)?;
    y.read::<f32>().map_err(|e| e.to_string())
}

fn against_oracle(device: &Device, shape: [usize; 4], limit: u32) -> Verdict {
    let [batch, tokens, heads, head_dim] = shape;
    let x = normal("rope2d/x", shape.iter().product());
    let positions = positions(batch * tokens, limit);
    let want = reference::rope2d(&x, &positions, heads, head_dim, f64::from(BASE));
    let got = run(tensor(device, &shape, x), &tensor(device, &[batch, tokens, 2], positions))?;
    // Angles are f64, so only two products and a sum are rounded.
    check_close(&got, &want, Tolerance::OfLargest(3e-7))
}

fn every_head_dim(device: &Device) -> Verdict {
    for quarter in [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33] {
        against_oracle(device, [1, 3, 2, 4 * quarter], 40).map_err(|e| format!("quarter {quarter}: {e}"))?;
    }
    Ok(())
}

fn origin_is_identity(device: &Device) -> Verdict {
    let x = normal("rope2d/x", 3 * 2 * 12);
    let zeros = Tensor::zeros::<u32>(device, &[1, 3, 2]);
    check_equal(&run(tensor(device, &[1, 3, 2, 12], x.clone()), &zeros)?, &x)
}

fn lengths_are_kept(device: &Device) -> Verdict {
    let x = normal("rope2d/x", 11 * 2 * 28);
    let at = tensor(device, &[1, 11, 2], positions(11, 1000));
    let y = run(tensor(device, &[1, 11, 2, 28], x.clone()), &at)?;
    let lengths = |x: &[f32]| -> Vec<f64> {
        x.chunks_exact(28)
            .map(|head| head.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt())
            .collect()
    };
    let got: Vec<f32> = lengths(&y).iter().map(|&v| v as f32).collect();
    check_close(&got, &lengths(&x), Tolerance::OfLargest(1e-6))
}

/// What the embedding is for: `q · k` after turning depends only on the difference of the positions.
fn products_depend_on_the_offset(device: &Device) -> Verdict {
    let (q, k) = (normal("rope2d/q", 32), normal("rope2d/k", 32));
    let product = |from: [u32; 2], to: [u32; 2]| -> Result<f32, String> {
        let q = run(tensor(device, &[1, 1, 1, 32], q.clone()), &tensor(device, &[1, 1, 2], from.to_vec()))?;
        let k = run(tensor(device, &[1, 1, 1, 32], k.clone()), &tensor(device, &[1, 1, 2], to.to_vec()))?;
        Ok(q.iter().zip(&k).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>() as f32)
    };
    let here = product([3, 5], [4, 1])?;
    let there = product([13, 45], [14, 41])?;
    let elsewhere = product([3, 5], [1, 4])?;
    check_close(&[there], &[f64::from(here)], Tolerance::Absolute(1e-5))?;
    if (elsewhere - here).abs() < 1e-2 {
        return Err(format!("another offset gives the same product, {elsewhere}"));
    }
    Ok(())
}

fn shared_memory_is_not_changed(device: &Device) -> Verdict {
    let x = tensor(device, &[1, 2, 1, 4], normal("rope2d/x", 8));
    let before = x.read::<f32>().unwrap();
    run(x.clone(), &tensor(device, &[1, 2, 2], vec![1u32, 2, 3, 4]))?;
    check_equal(&x.read::<f32>().unwrap(), &before)
}

fn nothing_to_turn(device: &Device) -> Verdict {
    for shape in [[1, 2, 3, 0], [1, 2, 0, 8], [1, 0, 3, 8], [0, 2, 3, 8]] {
        let at = Tensor::zeros::<u32>(device, &[shape[0], shape[1], 2]);
        check_equal(&run(Tensor::zeros::<f32>(device, &shape), &at)?, &[])?;
    }
    Ok(())
}

fn x_rank(device: &Device) -> Verdict {
    let at = Tensor::zeros::<u32>(device, &[2, 3, 2]);
    expect_error(
        rope2d(Tensor::zeros::<f32>(device, &[2, 3, 8]), &at, BASE),
        "`x` must be [batch, tokens, heads, head_dim], got [2, 3, 8]",
    )
}

fn head_dim(device: &Device) -> Verdict {
    let at = Tensor::zeros::<u32>(device, &[1, 3, 2]);
    expect_error(
        rope2d(Tensor::zeros::<f32>(device, &[1, 3, 2, 6]), &at, BASE),
        "`x` must be [.., head_dim] with head_dim a multiple of 4, got [1, 3, 2, 6]",
    )
}

fn x_dtype(device: &Device) -> Verdict {
    let at = Tensor::zeros::<u32>(device, &[1, 3, 2]);
    expect_error(rope2d(Tensor::zeros::<i32>(device, &[1, 3, 2, 8]), &at, BASE), "`x` must hold f32, got i32")
}

fn positions_shape(device: &Device) -> Verdict {
    for shape in [&[1, 4, 2][..], &[3, 2], &[1, 3, 3]] {
        let at = Tensor::zeros::<u32>(device, shape);
        let x = Tensor::zeros::<f32>(device, &[1, 3, 2, 8]);
        expect_error(rope2d(x, &at, BASE), "`positions` must be [1, 3, 2], got")?;
    }
    Ok(())
}

fn positions_dtype(device: &Device) -> Verdict {
    let at = Tensor::zeros::<f32>(device, &[1, 3, 2]);
    let x = Tensor::zeros::<f32>(device, &[1, 3, 2, 8]);
    expect_error(rope2d(x, &at, BASE), "`positions` must hold u32, got f32")
}

fn base(device: &Device) -> Verdict {
    for base in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let at = Tensor::zeros::<u32>(device, &[1, 3, 2]);
        let x = Tensor::zeros::<f32>(device, &[1, 3, 2, 8]);
        expect_error(rope2d(x, &at, base), "`base` must be a finite number above 0, got")?;
    }
    Ok(())
}
