use super::{reference, rope2d, rope2d_backward, rope2d_heads};
use std::ops::Range;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::{fnv1a, normal, uniform_at};
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, f16_case, f16_tensor, floats,
    gpu_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("rope2d/oracle/one_token", |d| against_oracle(d, [1, 1, 1, 4], 50)),
        case("rope2d/oracle/odd_sizes", |d| against_oracle(d, [2, 7, 3, 20], 50)),
        case("rope2d/oracle/every_head_dim", every_head_dim),
        case("rope2d/oracle/tiny_encoder", |d| against_oracle(d, [2, 432, 4, 64], 24)),
        case("rope2d/oracle/mast3r_encoder", |d| against_oracle(d, [1, 768, 16, 64], 32)),
        case("rope2d/oracle/far_positions", |d| against_oracle(d, [1, 5, 2, 8], u32::MAX)),
        case("rope2d/oracle/every_integer_type", |d| every_integer_type(d, false)),
        f16_case("rope2d/f16/every_integer_type", |d| every_integer_type(d, true)),
        case("rope2d/oracle/hundred_thousand", |d| against_oracle(d, [1, 201, 2, 64], 100_000)),
        f16_case("rope2d/f16/odd_sizes", |d| f16_against_oracle(d, [2, 7, 3, 20])),
        f16_case("rope2d/f16/mast3r_encoder", |d| f16_against_oracle(d, [1, 96, 16, 64])),
        f16_case("rope2d/f16/five_heads", |d| f16_against_oracle(d, [1, 9, 5, 32])),
        case("rope2d/heads/others_stay", |d| some_heads(d, [2, 7, 6, 20], 1..5)),
        case("rope2d/heads/many", |d| some_heads(d, [1, 5, 12, 8], 0..8)),
        case("rope2d/heads/none", |d| some_heads(d, [1, 5, 3, 8], 2..2)),
        case("rope2d/heads/shared_memory", some_heads_of_shared_memory),
        case("rope2d/gradient/differences", differences),
        case("rope2d/gradient/backward_undoes_forward", backward_undoes_forward),
        gpu_case("rope2d/property/longer_than_a_binding", longer_than_a_binding),
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
        case("rope2d/error/heads", too_few_heads),
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

fn exact(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&v| v.into()).collect()
}

fn wide<T: Copy + Into<i64>>(positions: &[T]) -> Vec<i64> {
    positions.iter().map(|&p| p.into()).collect()
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
    let want = reference::rope2d(&exact(&x), &wide(&positions), heads, head_dim, f64::from(BASE));
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

fn f16_against_oracle(device: &Device, shape: [usize; 4]) -> Verdict {
    let [batch, tokens, heads, head_dim] = shape;
    let positions = positions(batch * tokens, 32);
    let at = tensor(device, &[batch, tokens, 2], positions.clone());
    let (x, rounded) = f16_tensor(device, &shape, &normal("rope2d/x", shape.iter().product()));
    let want = reference::rope2d(&exact(&rounded), &wide(&positions), heads, head_dim, f64::from(BASE));
    let shared = rope2d(x.clone(), &at, BASE).map_err(|e| e.to_string())?;
    check_close(&floats(&shared)?, &want, Tolerance::OfLargest(5e-4))?;
    let in_place = rope2d(x, &at, BASE).map_err(|e| e.to_string())?;
    check_equal(&floats(&in_place)?, &floats(&shared)?)
}

/// Positions of every type, with heads of whole vectors and of others, in memory of their own and over the argument.
fn every_integer_type(device: &Device, f16: bool) -> Verdict {
    let shapes = [[1, 331, 3, 24], [1, 331, 5, 32], [1, 331, 5, 20]];
    shapes.into_iter().try_for_each(|shape| integer_types(device, shape, f16))
}

/// The same places in every type that can hold them, and negative ones in those that can hold these.
fn integer_types(device: &Device, shape: [usize; 4], f16: bool) -> Verdict {
    let [_, tokens, heads, head_dim] = shape;
    let x = normal("rope2d/x", shape.iter().product());
    let small: Vec<u8> = positions(tokens, 256).into_iter().map(|p| p as u8).collect();
    let signed: Vec<i32> = positions(tokens, 200_000).into_iter().map(|p| p as i32 - 100_000).collect();
    let far: Vec<i64> =
        positions(tokens, u32::MAX).into_iter().map(|p| 2 * i64::from(p) - 4_294_967_296).collect();
    let check = |places: &Tensor, wide: &[i64]| {
        let (x, rounded, tolerance) = match f16 {
            true => {
                let (x, rounded) = f16_tensor(device, &shape, &x);
                (x, rounded, 5e-4)
            }
            false => (tensor(device, &shape, x.clone()), x.clone(), 3e-7),
        };
        let want = reference::rope2d(&exact(&rounded), wide, heads, head_dim, f64::from(BASE));
        let turned = |x: Tensor| rope2d(x, places, BASE).map_err(|e| e.to_string());
        let apart = floats(&turned(x.clone())?)?;
        // The CPU's angles are f64, which round the product with a far position.
        let farthest = wide.iter().map(|p| p.unsigned_abs()).max().unwrap_or(0);
        let rounding = farthest as f64 / 2f64.powi(53);
        check_close(&apart, &want, Tolerance::OfLargest(tolerance + rounding))
            .map_err(|e| format!("{shape:?}, {}: {e}", places.dtype()))?;
        check_equal(&floats(&turned(x)?)?, &apart)
    };
    let at = [1, tokens, 2];
    check(&tensor(device, &at, small.clone()), &wide(&small))?;
    check(&tensor(device, &at, small.iter().map(|&p| u32::from(p)).collect()), &wide(&small))?;
    check(&tensor(device, &at, small.iter().map(|&p| i32::from(p)).collect()), &wide(&small))?;
    check(&tensor(device, &at, wide(&small)), &wide(&small))?;
    check(&tensor(device, &at, signed.clone()), &wide(&signed))?;
    check(&tensor(device, &at, wide(&signed)), &wide(&signed))?;
    check(&tensor(device, &at, far.clone()), &far)
}

/// The gradient against central differences of the oracle, which is linear in `x`.
fn differences(device: &Device) -> Verdict {
    let (tokens, heads, head_dim) = (3, 2, 12);
    let shape = [1, tokens, heads, head_dim];
    let (x, gradient) = (normal("rope2d/x", 72), normal("rope2d/gradient", 72));
    let at: Vec<i32> = vec![0, 3, -7, 40, 11, -1];
    let want = reference::differences(&exact(&gradient), &exact(&x), &wide(&at), heads, head_dim, 100.0);
    let got = rope2d_backward(tensor(device, &shape, gradient), &tensor(device, &[1, tokens, 2], at), BASE);
    let got = got.map_err(|e| e.to_string())?;
    check_equal(got.shape(), &shape)?;
    check_close(&floats(&got)?, &want, Tolerance::OfLargest(1e-6))
}

fn backward_undoes_forward(device: &Device) -> Verdict {
    let x = normal("rope2d/x", 7 * 3 * 20);
    let at = tensor(device, &[1, 7, 2], positions(7, 1000));
    let there = rope2d(tensor(device, &[1, 7, 3, 20], x.clone()), &at, BASE).map_err(|e| e.to_string())?;
    let back = rope2d_backward(there, &at, BASE).map_err(|e| e.to_string())?;
    check_close(&floats(&back)?, &exact(&x), Tolerance::OfLargest(6e-7))
}

/// Tokens alike at places that repeat, so that every part of a tensor that is split must come out as the first.
fn longer_than_a_binding(device: &Device) -> Verdict {
    let limit = device.gpu().expect("a GPU case").capabilities().max_binding_bytes;
    if limit > 1 << 28 {
        return Ok(()); // Too much memory for a test; devices with small bindings show the same code.
    }
    let tokens = limit as usize / 4 / 36 + 1001;
    let token = normal("rope2d/x", 36);
    let turned = |tokens: usize| {
        let places = (0..tokens).flat_map(|t| [(t % 7) as u8, (3 * t % 5) as u8]).collect();
        let at = tensor(device, &[1, tokens, 2], places);
        run(tensor(device, &[1, tokens, 1, 36], token.repeat(tokens)), &at)
    };
    let (got, want) = (turned(tokens)?, turned(35)?);
    match got.chunks_exact(36).zip(want.chunks_exact(36).cycle()).position(|(got, want)| got != want) {
        None => Ok(()),
        Some(token) => Err(format!("token {token} of {tokens} differs from its like in the first 35")),
    }
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

/// The heads in the range turn as all would, to the bit; the others stay.
fn some_heads(device: &Device, shape: [usize; 4], range: Range<usize>) -> Verdict {
    let x = normal("rope2d/x", shape.iter().product());
    let at = tensor(device, &[shape[0], shape[1], 2], positions(shape[0] * shape[1], 50));
    let all = run(tensor(device, &shape, x.clone()), &at)?;
    let got = rope2d_heads(tensor(device, &shape, x.clone()), range.clone(), &at, BASE);
    let got = got.and_then(|y| Ok(y.read::<f32>()?)).map_err(|e| e.to_string())?;
    let head_of = |i: usize| i / shape[3] % shape[2];
    let want = (0..x.len()).map(|i| if range.contains(&head_of(i)) { all[i] } else { x[i] });
    check_equal(&got, &want.collect::<Vec<_>>())
}

fn some_heads_of_shared_memory(device: &Device) -> Verdict {
    let x = tensor(device, &[1, 2, 3, 4], normal("rope2d/x", 24));
    let before = x.read::<f32>().unwrap();
    let at = tensor(device, &[1, 2, 2], vec![1u32, 2, 3, 4]);
    let y = rope2d_heads(x.clone(), 1..2, &at, BASE).map_err(|e| e.to_string())?;
    check_equal(&x.read::<f32>().unwrap(), &before)?;
    let y = y.read::<f32>().unwrap();
    check_equal(&[&y[..4], &y[8..16]], &[&before[..4], &before[8..16]])?;
    if y[4..8] == before[4..8] { Err("the head was not turned".to_owned()) } else { Ok(()) }
}

fn too_few_heads(device: &Device) -> Verdict {
    let at = Tensor::zeros::<u32>(device, &[1, 2, 2]);
    let x = Tensor::zeros::<f32>(device, &[1, 2, 3, 4]);
    expect_error(rope2d_heads(x, 1..4, &at, BASE), "`x` must be [.., heads, head_dim] with the heads 1..4")
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
    expect_error(rope2d(Tensor::zeros::<i32>(device, &[1, 3, 2, 8]), &at, BASE), "`x` must hold f32")
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
    expect_error(rope2d(x, &at, BASE), "`positions` must hold u8, i32, u32 or i64, got f32")
}

fn base(device: &Device) -> Verdict {
    for base in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let at = Tensor::zeros::<u32>(device, &[1, 3, 2]);
        let x = Tensor::zeros::<f32>(device, &[1, 3, 2, 8]);
        expect_error(rope2d(x, &at, base), "`base` must be a finite number above 0, got")?;
    }
    Ok(())
}
