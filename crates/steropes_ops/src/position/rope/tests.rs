use super::{RopePairs, RopeScaling, reference, rope, rope_backward, rope_tables};
use steropes_tensor::{Device, Element, Tensor};
use steropes_testkit::inputs::{fnv1a, normal, uniform_at};
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, cpu_case, expect_error, f16_case, f16_tensor,
    floats, gpu_case, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("rope/oracle/one_token", |d| both(|p| against_oracle(d, [1, 1, 1, 2], 2, p))),
        case("rope/oracle/odd_sizes", |d| both(|p| against_oracle(d, [2, 7, 3, 20], 20, p))),
        case("rope/oracle/partial", |d| both(|p| against_oracle(d, [2, 7, 3, 80], 32, p))),
        case("rope/oracle/partial_odd_head", |d| both(|p| against_oracle(d, [2, 5, 5, 13], 10, p))),
        case("rope/oracle/partial_of_vectors_with_a_rest", |d| {
            both(|p| against_oracle(d, [1, 9, 2, 18], 16, p))
        }),
        case("rope/oracle/every_rotary_dim", |d| both(|p| every_rotary_dim(d, p))),
        case("rope/oracle/llama_heads", |d| both(|p| against_oracle(d, [1, 96, 32, 128], 128, p))),
        case("rope/positions/every_integer_type", |d| both(|p| every_integer_type(d, p))),
        case("rope/positions/of_one_for_all", |d| both(|p| one_for_all(d, p))),
        cpu_case("rope/positions/without_a_row_are_refused", positions_are_refused),
        gpu_case("rope/positions/without_a_row_give_nan", |d| both(|p| nan_without_row(d, p))),
        small_bindings_case("rope/positions/in_ranges", 4096, |d| both(|p| in_ranges(d, p))),
        f16_case("rope/f16/odd_sizes", |d| both(|p| f16_against_oracle(d, [2, 7, 3, 20], 20, p))),
        f16_case("rope/f16/partial", |d| both(|p| f16_against_oracle(d, [2, 7, 3, 80], 32, p))),
        f16_case("rope/f16/wide_packs", |d| both(|p| f16_against_oracle(d, [1, 31, 5, 64], 64, p))),
        case("rope/gradient/differences", |d| both(|p| differences(d, p))),
        case("rope/gradient/backward_undoes_forward", |d| both(|p| undone(d, p))),
        case("rope/tables/no_scaling", |d| tables(d, RopeScaling::None)),
        case("rope/tables/linear", |d| tables(d, RopeScaling::Linear { factor: 4.0 })),
        case("rope/tables/ntk", |d| tables(d, RopeScaling::Ntk { factor: 8.0 })),
        case("rope/tables/llama3", |d| tables(d, LLAMA3)),
        case("rope/tables/one_pair", one_pair),
        case("rope/tables/known_values", known_values),
        case("rope/property/origin_is_identity", |d| both(|p| origin_is_identity(d, p))),
        case("rope/property/the_layouts_are_permutations", layouts),
        case("rope/property/products_depend_on_the_offset", |d| both(|p| offset(d, p))),
        case("rope/property/shared_memory_is_not_changed", |d| both(|p| shared_memory(d, p))),
        case("rope/property/nan_stays_in_its_pair", |d| both(|p| nan_stays(d, p))),
        case("rope/property/nothing_to_turn", nothing_to_turn),
        case("rope/error/rank", rank),
        case("rope/error/tables", table_shapes),
        case("rope/error/positions", position_shapes),
        case("rope/error/dtypes", dtypes),
        case("rope/error/numbers_of_tables", numbers),
    ]
}

const LLAMA3: RopeScaling =
    RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_len: 8192 };

/// A check for both layouts.
fn both(check: impl Fn(RopePairs) -> Verdict) -> Verdict {
    for pairs in [RopePairs::Halves, RopePairs::Neighbours] {
        check(pairs).map_err(|e| format!("{pairs:?}: {e}"))?;
    }
    Ok(())
}

fn tensor<T: Element>(device: &Device, shape: &[usize], values: Vec<T>) -> Tensor {
    Tensor::new(device, shape, values).expect("a test's shape fits its values")
}

fn exact(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&v| v.into()).collect()
}

fn plain_tables(device: &Device, len: usize, rotary_dim: usize) -> (Tensor, Tensor) {
    rope_tables(device, 0..len as i64, rotary_dim, 100.0, RopeScaling::None).expect("valid arguments")
}

fn angles(rows: impl Iterator<Item = usize>, rotary_dim: usize) -> Vec<Vec<f64>> {
    rows.map(|row| reference::angles(row as f64, rotary_dim, 100.0, RopeScaling::None)).collect()
}

/// Rows that repeat, in no order.
fn places(count: usize, below: usize) -> Vec<usize> {
    let hash = fnv1a("rope/positions");
    (0..count as u64).map(|i| ((uniform_at(hash, i) * 0.5 + 0.5) * below as f64) as usize).collect()
}

fn read(y: Result<Tensor, crate::OpError>, shape: &[usize]) -> Result<Vec<f32>, String> {
    let y = y.map_err(|e| e.to_string())?;
    check_equal(y.shape(), shape)?;
    floats(&y)
}

fn against_oracle(device: &Device, shape: [usize; 4], rotary_dim: usize, pairs: RopePairs) -> Verdict {
    let [batch, seq, heads, head_dim] = shape;
    let x = normal("rope/x", shape.iter().product());
    // The tables may be longer than the sequence.
    let (cos, sin) = plain_tables(device, seq + 3, rotary_dim);
    let turns = angles((0..batch).flat_map(|_| 0..seq), rotary_dim);
    let want = reference::rope(&exact(&x), &turns, heads, head_dim, pairs);
    let got = read(rope(tensor(device, &shape, x.clone()), &cos, &sin, None, pairs), &shape)?;
    check_close(&got, &want, Tolerance::OfLargest(3e-7))?;
    let shared = tensor(device, &shape, x);
    check_equal(&read(rope(shared.clone(), &cos, &sin, None, pairs), &shape)?, &got)?;
    // By positions in any order.
    let at = places(batch * seq, seq + 3);
    let want = reference::rope(
        &exact(&floats(&shared)?),
        &angles(at.iter().copied(), rotary_dim),
        heads,
        head_dim,
        pairs,
    );
    let at = tensor(device, &[batch, seq], at.into_iter().map(|p| p as u32).collect());
    let got = read(rope(shared, &cos, &sin, Some(&at), pairs), &shape)?;
    check_close(&got, &want, Tolerance::OfLargest(3e-7))
}

/// Around one and several vectors of every instruction set.
fn every_rotary_dim(device: &Device, pairs: RopePairs) -> Verdict {
    for half in [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33] {
        for head_dim in [2 * half, 2 * half + 1, 2 * half + 8] {
            against_oracle(device, [1, 3, 2, head_dim], 2 * half, pairs)
                .map_err(|e| format!("{} of {head_dim}: {e}", 2 * half))?;
        }
    }
    Ok(())
}

fn every_integer_type(device: &Device, pairs: RopePairs) -> Verdict {
    let shape = [3, 23, 2, 12];
    let (cos, sin) = plain_tables(device, 50, 12);
    let x = normal("rope/x", shape.iter().product());
    let at = places(69, 50);
    let want = reference::rope(&exact(&x), &angles(at.iter().copied(), 12), 2, 12, pairs);
    let check = |at: Tensor| {
        let y = rope(tensor(device, &shape, x.clone()), &cos, &sin, Some(&at), pairs);
        check_close(&read(y, &shape)?, &want, Tolerance::OfLargest(3e-7))
    };
    check(tensor(device, &[3, 23], at.iter().map(|&p| p as u8).collect()))?;
    check(tensor(device, &[3, 23], at.iter().map(|&p| p as i32).collect()))?;
    check(tensor(device, &[3, 23], at.iter().map(|&p| p as u32).collect()))?;
    check(tensor(device, &[3, 23], at.iter().map(|&p| p as i64).collect()))
}

fn one_for_all(device: &Device, pairs: RopePairs) -> Verdict {
    let shape = [3, 7, 2, 12];
    let (cos, sin) = plain_tables(device, 50, 12);
    let x = normal("rope/x", shape.iter().product());
    let at = places(7, 50);
    let turns = angles((0..3).flat_map(|_| at.iter().copied()), 12);
    let want = reference::rope(&exact(&x), &turns, 2, 12, pairs);
    let at = tensor(device, &[1, 7], at.iter().map(|&p| p as u8).collect());
    let got = read(rope(tensor(device, &shape, x), &cos, &sin, Some(&at), pairs), &shape)?;
    check_close(&got, &want, Tolerance::OfLargest(3e-7))
}

fn positions_are_refused(device: &Device) -> Verdict {
    let (cos, sin) = plain_tables(device, 5, 4);
    for place in [5, -1, i64::MAX] {
        let at = tensor(device, &[1, 2], vec![4, place]);
        let x = Tensor::zeros::<f32>(device, &[1, 2, 1, 4]);
        let y = rope(x, &cos, &sin, Some(&at), RopePairs::Halves);
        expect_error(y, &format!("`positions` must be from 0 to below 5, got {place}"))?;
    }
    Ok(())
}

fn nan_without_row(device: &Device, pairs: RopePairs) -> Verdict {
    for head_dim in [6, 16] {
        let (cos, sin) = plain_tables(device, 5, head_dim - 2 * (head_dim % 4));
        let turned = head_dim - 2 * (head_dim % 4);
        let at = tensor(device, &[1, 5], vec![4i64, 5, -1, 1 << 32, 0]);
        let x = tensor(device, &[1, 5, 1, head_dim], normal("rope/x", 5 * head_dim));
        let y = read(rope(x, &cos, &sin, Some(&at), pairs), &[1, 5, 1, head_dim])?;
        for (i, y) in y.iter().enumerate() {
            let nan = matches!(i / head_dim, 1..=3) && i % head_dim < turned;
            if y.is_nan() != nan {
                return Err(format!("token {} value {} is {y}", i / head_dim, i % head_dim));
            }
        }
    }
    Ok(())
}

/// Tokens of 192 bytes: 20 of them in a binding.
fn in_ranges(device: &Device, pairs: RopePairs) -> Verdict {
    against_oracle(device, [3, 37, 2, 24], 24, pairs)?;
    against_oracle(device, [3, 37, 2, 24], 16, pairs)?;
    let shape = [3, 37, 2, 24];
    let (cos, sin) = plain_tables(device, 40, 24);
    let at = places(37, 40);
    let x = normal("rope/x", shape.iter().product());
    let turns = angles((0..3).flat_map(|_| at.iter().copied()), 24);
    let want = reference::rope(&exact(&x), &turns, 2, 24, pairs);
    let at = tensor(device, &[1, 37], at.iter().map(|&p| p as u8).collect());
    let got = read(rope(tensor(device, &shape, x), &cos, &sin, Some(&at), pairs), &shape)?;
    check_close(&got, &want, Tolerance::OfLargest(3e-7))?;
    let (cos, sin) = plain_tables(device, 100, 24);
    let x = Tensor::zeros::<f32>(device, &shape);
    expect_error(rope(x, &cos, &sin, None, pairs), "do not fit one binding")
}

fn f16_against_oracle(device: &Device, shape: [usize; 4], rotary_dim: usize, pairs: RopePairs) -> Verdict {
    let [batch, seq, heads, head_dim] = shape;
    let (cos, sin) = plain_tables(device, seq, rotary_dim);
    let (x, rounded) = f16_tensor(device, &shape, &normal("rope/x", shape.iter().product()));
    let turns = angles((0..batch).flat_map(|_| 0..seq), rotary_dim);
    let want = reference::rope(&exact(&rounded), &turns, heads, head_dim, pairs);
    let shared = read(rope(x.clone(), &cos, &sin, None, pairs), &shape)?;
    check_close(&shared, &want, Tolerance::OfLargest(5e-4))?;
    check_equal(&read(rope(x, &cos, &sin, None, pairs), &shape)?, &shared)
}

/// The gradient against central differences of the oracle, which is linear in `x`.
fn differences(device: &Device, pairs: RopePairs) -> Verdict {
    let shape = [2, 3, 2, 7];
    let (x, gradient) = (normal("rope/x", 84), normal("rope/gradient", 84));
    let (cos, sin) = plain_tables(device, 9, 6);
    let at = places(6, 9);
    let turns = angles(at.iter().copied(), 6);
    let want = reference::differences(&exact(&gradient), &exact(&x), &turns, [2, 7], pairs);
    let at = tensor(device, &[2, 3], at.into_iter().map(|p| p as u32).collect());
    let got = rope_backward(tensor(device, &shape, gradient), &cos, &sin, Some(&at), pairs);
    check_close(&read(got, &shape)?, &want, Tolerance::OfLargest(1e-6))
}

fn undone(device: &Device, pairs: RopePairs) -> Verdict {
    for head_dim in [20, 32] {
        let shape = [1, 7, 3, head_dim];
        let x = normal("rope/x", shape.iter().product());
        let (cos, sin) = plain_tables(device, 7, head_dim);
        let there = rope(tensor(device, &shape, x.clone()), &cos, &sin, None, pairs);
        let back = rope_backward(there.map_err(|e| e.to_string())?, &cos, &sin, None, pairs);
        check_close(&read(back, &shape)?, &exact(&x), Tolerance::OfLargest(6e-7))?;
    }
    Ok(())
}

fn tables(device: &Device, scaling: RopeScaling) -> Verdict {
    for (rotary_dim, base) in [(128, 500_000.0), (64, 1e4), (6, 100.0)] {
        let positions = [0i64, 1, 7, 8191, 131_071, -3];
        let (cos, sin) =
            rope_tables(device, positions, rotary_dim, base, scaling).map_err(|e| e.to_string())?;
        check_equal(cos.shape(), &[6, rotary_dim / 2])?;
        let angles: Vec<f64> =
            positions.iter().flat_map(|&p| reference::angles(p as f64, rotary_dim, base, scaling)).collect();
        let cosines: Vec<f64> = angles.iter().map(|a| a.cos()).collect();
        let sines: Vec<f64> = angles.iter().map(|a| a.sin()).collect();
        // Two ways to write a frequency differ by some 1e-16 of it, times the position.
        check_close(&floats(&cos)?, &cosines, Tolerance::OfLargest(6.1e-8))?;
        check_close(&floats(&sin)?, &sines, Tolerance::OfLargest(6.1e-8))?;
    }
    Ok(())
}

/// The only pair has frequency 1 for every base, also for a stretched one.
fn one_pair(device: &Device) -> Verdict {
    let (cos, _) =
        rope_tables(device, [1], 2, 1e4, RopeScaling::Ntk { factor: 8.0 }).map_err(|e| e.to_string())?;
    check_close(&floats(&cos)?, &[1f64.cos()], Tolerance::Exact)
}

/// Pair 32 of 64 has frequency base^(-1/2); the last pair of NTK is slower by the factor; Llama 3's slow pairs too, its fast
/// ones not at all.
fn known_values(device: &Device) -> Verdict {
    let at = |scaling, i: usize, base| -> Result<f32, String> {
        let (_, sin) = rope_tables(device, [1], 128, base, scaling).map_err(|e| e.to_string())?;
        Ok(floats(&sin)?[i])
    };
    check_close(&[at(RopeScaling::None, 32, 1e4)?], &[0.01f64.sin()], Tolerance::Ulps(1))?;
    let last = 1e4f64.powf(-126.0 / 128.0);
    check_close(
        &[at(RopeScaling::Ntk { factor: 4.0 }, 63, 1e4)?],
        &[(last / 4.0).sin()],
        Tolerance::Ulps(1),
    )?;
    check_close(&[at(RopeScaling::Linear { factor: 4.0 }, 0, 1e4)?], &[0.25f64.sin()], Tolerance::Ulps(1))?;
    let slow = 5e5f64.powf(-126.0 / 128.0);
    check_close(&[at(LLAMA3, 63, 5e5)?], &[(slow / 8.0).sin()], Tolerance::Ulps(1))?;
    check_close(&[at(LLAMA3, 0, 5e5)?], &[1f64.sin()], Tolerance::Ulps(1))
}

fn origin_is_identity(device: &Device, pairs: RopePairs) -> Verdict {
    let x = normal("rope/x", 3 * 2 * 12);
    let (cos, sin) = plain_tables(device, 1, 12);
    let at = Tensor::zeros::<u8>(device, &[1, 3]);
    let shape = [1, 3, 2, 12];
    check_equal(&read(rope(tensor(device, &shape, x.clone()), &cos, &sin, Some(&at), pairs), &shape)?, &x)
}

/// Neighbours turn as halves do when their values change places.
fn layouts(device: &Device) -> Verdict {
    let (shape, half) = ([1, 9, 3, 24], 12);
    let x = normal("rope/x", shape.iter().product());
    let to_halves = |x: &[f32]| -> Vec<f32> {
        let value = |head: &[f32], i: usize| head[2 * (i % half) + i / half];
        x.chunks_exact(24).flat_map(|head| (0..24).map(|i| value(head, i)).collect::<Vec<_>>()).collect()
    };
    let (cos, sin) = plain_tables(device, 9, 24);
    let turn = |x, pairs| read(rope(tensor(device, &shape, x), &cos, &sin, None, pairs), &shape);
    let neighbours = turn(x.clone(), RopePairs::Neighbours)?;
    let halves = turn(to_halves(&x), RopePairs::Halves)?;
    let want: Vec<f64> = exact(&halves);
    check_close(&to_halves(&neighbours), &want, Tolerance::OfLargest(3e-7))
}

/// What the embedding is for: `q · k` after turning depends only on the difference of the positions.
fn offset(device: &Device, pairs: RopePairs) -> Verdict {
    let (q, k) = (normal("rope/q", 32), normal("rope/k", 32));
    let (cos, sin) = plain_tables(device, 100, 32);
    let turned = |x: &[f32], at: u32| {
        let at = tensor(device, &[1, 1], vec![at]);
        let x = tensor(device, &[1, 1, 1, 32], x.to_vec());
        read(rope(x, &cos, &sin, Some(&at), pairs), &[1, 1, 1, 32])
    };
    let product = |from: u32, to: u32| -> Result<f32, String> {
        let (q, k) = (turned(&q, from)?, turned(&k, to)?);
        Ok(q.iter().zip(&k).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>() as f32)
    };
    let here = product(3, 7)?;
    check_close(&[product(90, 94)?], &[f64::from(here)], Tolerance::Absolute(2e-5))?;
    let elsewhere = product(7, 3)?;
    if (elsewhere - here).abs() < 1e-2 {
        return Err(format!("another offset gives the same product, {elsewhere}"));
    }
    Ok(())
}

fn shared_memory(device: &Device, pairs: RopePairs) -> Verdict {
    for rotary_dim in [8, 4] {
        let x = tensor(device, &[1, 2, 3, 8], normal("rope/x", 48));
        let before = floats(&x)?;
        let (cos, sin) = plain_tables(device, 2, rotary_dim);
        let y = read(rope(x.clone(), &cos, &sin, None, pairs), &[1, 2, 3, 8])?;
        check_equal(&floats(&x)?, &before)?;
        for (i, (y, x)) in y.iter().zip(&before).enumerate() {
            if (y == x) != (i < 24 || i % 8 >= rotary_dim) {
                return Err(format!("value {i} was {x} and is {y}"));
            }
        }
    }
    Ok(())
}

fn nan_stays(device: &Device, pairs: RopePairs) -> Verdict {
    let shape = [1, 3, 2, 16];
    let mut x = normal("rope/x", 96);
    x[2 * 32 + 4] = f32::NAN;
    let partner = 2 * 32 + if pairs == RopePairs::Halves { 12 } else { 5 };
    let (cos, sin) = plain_tables(device, 3, 16);
    let y = read(rope(tensor(device, &shape, x), &cos, &sin, None, pairs), &shape)?;
    match (0..96).find(|&i| y[i].is_nan() != (i == 2 * 32 + 4 || i == partner)) {
        None => Ok(()),
        Some(i) => Err(format!("value {i} is {}", y[i])),
    }
}

fn nothing_to_turn(device: &Device) -> Verdict {
    for shape in [[1, 2, 3, 0], [1, 2, 0, 8], [1, 0, 3, 8], [0, 2, 3, 8]] {
        let (cos, sin) = plain_tables(device, 2, shape[3]);
        let at = Tensor::zeros::<u32>(device, &shape[..2]);
        for positions in [None, Some(&at)] {
            let x = Tensor::zeros::<f32>(device, &shape);
            check_equal(&read(rope(x, &cos, &sin, positions, RopePairs::Halves), &shape)?, &[])?;
        }
    }
    let x = normal("rope/x", 48);
    let (cos, sin) = plain_tables(device, 2, 0);
    let y = rope(tensor(device, &[1, 2, 3, 8], x.clone()), &cos, &sin, None, RopePairs::Halves);
    check_equal(&read(y, &[1, 2, 3, 8])?, &x)
}

fn rank(device: &Device) -> Verdict {
    let (cos, sin) = plain_tables(device, 3, 8);
    let x = Tensor::zeros::<f32>(device, &[2, 3, 8]);
    expect_error(
        rope(x.clone(), &cos, &sin, None, RopePairs::Halves),
        "`x` must be [batch, seq, heads, head_dim], got [2, 3, 8]",
    )?;
    expect_error(
        rope_backward(x, &cos, &sin, None, RopePairs::Halves),
        "rope_backward: `gradient` must be [batch, seq, heads, head_dim], got [2, 3, 8]",
    )
}

fn table_shapes(device: &Device) -> Verdict {
    let turn = |cos: &[usize], sin: &[usize]| {
        let x = Tensor::zeros::<f32>(device, &[1, 3, 2, 9]);
        let [cos, sin] = [cos, sin].map(|shape| Tensor::zeros::<f32>(device, shape));
        rope(x, &cos, &sin, None, RopePairs::Halves)
    };
    for wrong in [&[2, 4][..], &[3, 5], &[3], &[1, 3, 4]] {
        expect_error(turn(wrong, wrong), "`cos` must be [at least 3, at most 4], got")?;
    }
    expect_error(turn(&[4, 4], &[3, 4]), "`sin` must be [4, 4], got [3, 4]")?;
    let at = Tensor::zeros::<u32>(device, &[1, 3]);
    let none = Tensor::zeros::<f32>(device, &[0, 4]);
    let x = Tensor::zeros::<f32>(device, &[1, 3, 2, 9]);
    expect_error(rope(x, &none, &none, Some(&at), RopePairs::Halves), "`cos` must be [at least 1,")
}

fn position_shapes(device: &Device) -> Verdict {
    let (cos, sin) = plain_tables(device, 3, 8);
    for shape in [&[2, 4][..], &[3], &[3, 3], &[2, 3, 1]] {
        let at = Tensor::zeros::<u32>(device, shape);
        let x = Tensor::zeros::<f32>(device, &[2, 3, 2, 8]);
        let y = rope(x, &cos, &sin, Some(&at), RopePairs::Halves);
        expect_error(y, "`positions` must be [2, 3] or [1, 3], got")?;
    }
    Ok(())
}

fn dtypes(device: &Device) -> Verdict {
    let (cos, sin) = plain_tables(device, 3, 8);
    let x = || Tensor::zeros::<f32>(device, &[1, 3, 2, 8]);
    let whole = Tensor::zeros::<i32>(device, &[3, 4]);
    let turn = |x, cos, sin, at| rope(x, cos, sin, at, RopePairs::Halves);
    let wrong_x = Tensor::zeros::<i32>(device, &[1, 3, 2, 8]);
    expect_error(turn(wrong_x, &cos, &sin, None), "`x` must hold f32")?;
    expect_error(turn(x(), &whole, &sin, None), "`cos` must hold f32, got i32")?;
    expect_error(turn(x(), &cos, &whole, None), "`sin` must hold f32, got i32")?;
    let at = Tensor::zeros::<f32>(device, &[1, 3]);
    expect_error(turn(x(), &cos, &sin, Some(&at)), "`positions` must hold u8, i32, u32 or i64, got f32")
}

fn numbers(device: &Device) -> Verdict {
    let tables = |rotary_dim, base, scaling| rope_tables(device, 0..3, rotary_dim, base, scaling);
    expect_error(tables(7, 1e4, RopeScaling::None), "`rotary_dim` must be even, got 7")?;
    for base in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        expect_error(tables(8, base, RopeScaling::None), "`base` must be a finite number above 0, got")?;
    }
    for factor in [0.5, f64::NAN, f64::INFINITY] {
        for scaling in [RopeScaling::Linear { factor }, RopeScaling::Ntk { factor }] {
            expect_error(tables(8, 1e4, scaling), "`factor` must be a finite number from 1 on, got")?;
        }
    }
    let llama = |low_freq_factor, high_freq_factor, original_len| {
        let scaling = RopeScaling::Llama3 { factor: 8.0, low_freq_factor, high_freq_factor, original_len };
        tables(8, 1e4, scaling)
    };
    expect_error(llama(0.0, 4.0, 8192), "`low_freq_factor` must be")?;
    expect_error(llama(4.0, 4.0, 8192), "`high_freq_factor` must be")?;
    expect_error(llama(1.0, 4.0, 0), "`original_len` must be above 0")
}
