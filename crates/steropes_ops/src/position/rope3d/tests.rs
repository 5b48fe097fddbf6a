use super::{
    Rope3dAngles, Rope3dRounding, Rope3dTables, reference, rope3d, rope3d_axis_width, rope3d_heads,
    rope3d_tables,
};
use std::ops::Range;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::{fnv1a, normal, uniform_at};
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, f16_case, f16_tensor, floats,
    gpu_case, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("rope3d/oracle/one_token", |d| both(|a| against_oracle(d, [1, 1, 1, 6], a))),
        case("rope3d/oracle/odd_sizes", |d| both(|a| against_oracle(d, [2, 7, 3, 20], a))),
        case("rope3d/oracle/odd_head", |d| both(|a| against_oracle(d, [2, 5, 5, 13], a))),
        case("rope3d/oracle/every_head_dim", |d| both(|a| every_head_dim(d, a))),
        case("rope3d/oracle/vjepa2_heads", |d| both(|a| vjepa2_heads(d, a))),
        case("rope3d/oracle/many_tokens", |d| both(|a| against_oracle(d, [2, 301, 6, 32], a))),
        f16_case("rope3d/f16/odd_sizes", |d| both(|a| f16_against_oracle(d, [2, 7, 3, 20], a))),
        f16_case("rope3d/f16/vjepa2_heads", |d| {
            both(|a| [32, 64, 80, 88].iter().try_for_each(|&h| f16_against_oracle(d, [2, 37, 3, h], a)))
        }),
        f16_case("rope3d/f16/five_heads", |d| both(|a| f16_against_oracle(d, [1, 9, 5, 64], a))),
        case("rope3d/batch/one_for_all", |d| both(|a| one_for_all(d, a))),
        small_bindings_case("rope3d/batch/in_ranges", 4096, |d| both(|a| in_ranges(d, a))),
        case("rope3d/heads/others_stay", |d| both(|a| some_heads(d, [2, 7, 6, 32], 1..4, a))),
        case("rope3d/heads/odd_head", |d| both(|a| some_heads(d, [2, 7, 5, 15], 1..4, a))),
        case("rope3d/heads/none", |d| both(|a| some_heads(d, [1, 5, 3, 20], 2..2, a))),
        case("rope3d/heads/shared_memory", shared_memory),
        case("rope3d/axes/at_the_origin_stay", |d| both(|a| axes_at_the_origin(d, a))),
        case("rope3d/property/the_rest_stays", |d| both(|a| the_rest_stays(d, a))),
        case("rope3d/property/pairs_depend_on_the_offset_and_tiled_do_not", offsets),
        case("rope3d/property/pairs_keep_lengths_and_tiled_do_not", lengths),
        case("rope3d/property/nothing_to_turn", nothing_to_turn),
        case("rope3d/tables/known_values", known_values),
        case("rope3d/tables/rounded_steps", rounded_steps),
        case("rope3d/error/x_rank", x_rank),
        case("rope3d/error/x_dtype", x_dtype),
        case("rope3d/error/heads", too_few_heads),
        case("rope3d/error/tables", table_shapes),
        case("rope3d/error/numbers_of_tables", numbers),
        gpu_case("rope3d/error/devices", devices),
        small_bindings_case("rope3d/error/tables_beyond_a_binding", 1024, tables_beyond_a_binding),
    ]
}

const BASE: f64 = 10_000.0;

/// A check for both kinds of angles.
fn both(check: impl Fn(Rope3dAngles) -> Verdict) -> Verdict {
    for angles in [Rope3dAngles::Tiled, Rope3dAngles::Pairs] {
        check(angles).map_err(|e| format!("{angles:?}: {e}"))?;
    }
    Ok(())
}

fn tensor(device: &Device, shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::new(device, shape, values).expect("a test's shape fits its values")
}

/// Places in no order: whole tubelets, and rows and columns of which every second is a fraction.
fn places(tokens: usize) -> Vec<[f64; 3]> {
    let hash = fnv1a("rope3d/places");
    let at = |i: u64, below: f64| (uniform_at(hash, i) * 0.5 + 0.5) * below;
    let fraction = |p: f64, i: u64| if i.is_multiple_of(2) { p.floor() } else { p };
    (0..tokens as u64)
        .map(|i| {
            [at(3 * i, 32.0).floor(), fraction(at(3 * i + 1, 24.0), i), fraction(at(3 * i + 2, 28.0), i)]
        })
        .collect()
}

fn tables(
    device: &Device,
    places: &[[f64; 3]],
    batch: usize,
    head_dim: usize,
    angles: Rope3dAngles,
) -> Rope3dTables {
    rope3d_tables(device, places, batch, head_dim, BASE, angles, Rope3dRounding::Exact)
        .expect("valid arguments")
}

fn exact(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&v| v.into()).collect()
}

fn run(x: Tensor, tables: &Rope3dTables) -> Result<Vec<f32>, String> {
    let shape = x.shape().to_vec();
    let y = rope3d(x, tables).map_err(|e| e.to_string())?;
    check_equal(y.shape(), &shape)?;
    floats(&y)
}

fn against_oracle(device: &Device, shape: [usize; 4], angles: Rope3dAngles) -> Verdict {
    let [batch, tokens, heads, head_dim] = shape;
    let x = normal("rope3d/x", shape.iter().product());
    let places = places(batch * tokens);
    let tables = tables(device, &places, batch, head_dim, angles);
    let want = reference::rope3d(&exact(&x), &places, [heads, head_dim], BASE, angles);
    let in_place = run(tensor(device, &shape, x.clone()), &tables)?;
    check_close(&in_place, &want, Tolerance::OfLargest(3e-7))?;
    let shared = tensor(device, &shape, x.clone());
    check_equal(&run(shared.clone(), &tables)?, &in_place)?;
    check_equal(&floats(&shared)?, &x)
}

fn every_head_dim(device: &Device, angles: Rope3dAngles) -> Verdict {
    for head_dim in [6, 7, 8, 9, 11, 12, 16, 17, 24, 31, 33, 36, 40, 44, 48, 54, 96, 101, 128] {
        against_oracle(device, [1, 3, 2, head_dim], angles).map_err(|e| format!("{head_dim}: {e}"))?;
    }
    Ok(())
}

/// Those of the published networks, with the widths of axes that they have.
fn vjepa2_heads(device: &Device, angles: Rope3dAngles) -> Verdict {
    for (head_dim, width) in [(32, 10), (64, 20), (80, 26), (88, 28)] {
        check_equal(&[rope3d_axis_width(head_dim)], &[width])?;
        against_oracle(device, [2, 37, 3, head_dim], angles).map_err(|e| format!("{head_dim}: {e}"))?;
    }
    Ok(())
}

fn f16_against_oracle(device: &Device, shape: [usize; 4], angles: Rope3dAngles) -> Verdict {
    let [batch, tokens, heads, head_dim] = shape;
    let places = places(batch * tokens);
    let tables = tables(device, &places, batch, head_dim, angles);
    let (x, rounded) = f16_tensor(device, &shape, &normal("rope3d/x", shape.iter().product()));
    let want = reference::rope3d(&exact(&rounded), &places, [heads, head_dim], BASE, angles);
    let shared = run(x.clone(), &tables)?;
    check_close(&shared, &want, Tolerance::OfLargest(5e-4))?;
    check_equal(&run(x, &tables)?, &shared)
}

/// Tables of one batch element do for all what tables of each do.
fn one_for_all(device: &Device, angles: Rope3dAngles) -> Verdict {
    for [heads, head_dim] in [[3, 32], [2, 13]] {
        let (batch, tokens) = (3, 11);
        let shape = [batch, tokens, heads, head_dim];
        let x = normal("rope3d/x", shape.iter().product());
        let places = places(tokens);
        let one = tables(device, &places, 1, head_dim, angles);
        let each = tables(device, &places.repeat(batch), batch, head_dim, angles);
        let want = run(tensor(device, &shape, x.clone()), &each)?;
        check_equal(&run(tensor(device, &shape, x), &one)?, &want)?;
    }
    Ok(())
}

/// Tokens in several bindings, whose rows of the tables begin anew for each batch element.
fn in_ranges(device: &Device, angles: Rope3dAngles) -> Verdict {
    for head_dim in [32, 13] {
        let (batch, tokens, heads) = (7, 5, 6);
        let shape = [batch, tokens, heads, head_dim];
        let x = normal("rope3d/x", shape.iter().product());
        let places = places(tokens);
        let want = reference::rope3d(&exact(&x), &places.repeat(batch), [heads, head_dim], BASE, angles);
        let got = run(tensor(device, &shape, x), &tables(device, &places, 1, head_dim, angles))?;
        check_close(&got, &want, Tolerance::OfLargest(3e-7))?;
    }
    Ok(())
}

/// The heads in the range turn as all would, to the bit; the others stay.
fn some_heads(device: &Device, shape: [usize; 4], range: Range<usize>, angles: Rope3dAngles) -> Verdict {
    let x = normal("rope3d/x", shape.iter().product());
    let tables = tables(device, &places(shape[0] * shape[1]), shape[0], shape[3], angles);
    let all = run(tensor(device, &shape, x.clone()), &tables)?;
    let got = rope3d_heads(tensor(device, &shape, x.clone()), range.clone(), &tables);
    let got = floats(&got.map_err(|e| e.to_string())?)?;
    let head_of = |i: usize| i / shape[3] % shape[2];
    let want = (0..x.len()).map(|i| if range.contains(&head_of(i)) { all[i] } else { x[i] });
    check_equal(&got, &want.collect::<Vec<_>>())
}

fn shared_memory(device: &Device) -> Verdict {
    for head_dim in [8, 7] {
        let before = normal("rope3d/x", 6 * head_dim);
        let x = tensor(device, &[1, 2, 3, head_dim], before.clone());
        let tables = tables(device, &[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], 1, head_dim, Rope3dAngles::Tiled);
        let y = floats(&rope3d_heads(x.clone(), 1..2, &tables).map_err(|e| e.to_string())?)?;
        check_equal(&floats(&x)?, &before)?;
        let others =
            |x: &[f32]| [&x[..head_dim], &x[2 * head_dim..4 * head_dim], &x[5 * head_dim..]].concat();
        check_equal(&others(&y), &others(&before))?;
        if y[head_dim..head_dim + 6] == before[head_dim..head_dim + 6] {
            return Err("the head was not turned".to_owned());
        }
    }
    Ok(())
}

/// Only the time of a token turns it: the other axes stay to the bit.
fn axes_at_the_origin(device: &Device, angles: Rope3dAngles) -> Verdict {
    for head_dim in [64, 80, 19] {
        let width = rope3d_axis_width(head_dim);
        let shape = [1, 3, 2, head_dim];
        let x = normal("rope3d/x", shape.iter().product());
        let tables = tables(device, &[[0.0; 3], [1.0, 0.0, 0.0], [7.0, 0.0, 0.0]], 1, head_dim, angles);
        let y = run(tensor(device, &shape, x.clone()), &tables)?;
        check_equal(&y[..2 * head_dim], &x[..2 * head_dim])?;
        for (got, was) in y.chunks_exact(head_dim).zip(x.chunks_exact(head_dim)).skip(2) {
            check_equal(&got[width..], &was[width..])?;
            if got[..width].iter().zip(was).any(|(got, was)| got == was) {
                return Err("a value of the time did not turn".to_owned());
            }
        }
    }
    Ok(())
}

fn the_rest_stays(device: &Device, angles: Rope3dAngles) -> Verdict {
    for head_dim in [32, 64, 80, 88, 13] {
        let shape = [1, 5, 3, head_dim];
        let x = normal("rope3d/x", shape.iter().product());
        let y = run(tensor(device, &shape, x.clone()), &tables(device, &places(5), 1, head_dim, angles))?;
        let rest = 3 * rope3d_axis_width(head_dim);
        for (got, was) in y.chunks_exact(head_dim).zip(x.chunks_exact(head_dim)) {
            check_equal(&got[rest..], &was[rest..])?;
        }
    }
    Ok(())
}

/// What separates the published forms: only true rotations have products that depend on offsets alone.
fn offsets(device: &Device) -> Verdict {
    let (q, k) = (normal("rope3d/q", 64), normal("rope3d/k", 64));
    let product = |from: [f64; 3], to: [f64; 3], angles| -> Result<f64, String> {
        let turned = |x: &[f32], at| {
            run(tensor(device, &[1, 1, 1, 64], x.to_vec()), &tables(device, &[at], 1, 64, angles))
        };
        let (q, k) = (turned(&q, from)?, turned(&k, to)?);
        Ok(q.iter().zip(&k).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum())
    };
    for axis in 0..3 {
        let shifted = |place: [f64; 3]| {
            let mut place = place;
            place[axis] += 5.5;
            place
        };
        let (from, to) = ([1.0, 3.0, 5.0], [2.0, 4.0, 1.0]);
        let change = |angles| -> Result<f64, String> {
            Ok((product(shifted(from), shifted(to), angles)? - product(from, to, angles)?).abs())
        };
        let (pairs, tiled) = (change(Rope3dAngles::Pairs)?, change(Rope3dAngles::Tiled)?);
        if pairs > 1e-5 || tiled < 1e-2 {
            return Err(format!(
                "axis {axis}: a shift changes products by {pairs:e} (pairs) and {tiled:e} (tiled)"
            ));
        }
    }
    Ok(())
}

fn lengths(device: &Device) -> Verdict {
    let x = normal("rope3d/x", 7 * 80);
    let length = |x: &[f32]| -> Vec<f64> {
        x.chunks_exact(80).map(|head| exact(head).iter().map(|v| v * v).sum::<f64>().sqrt()).collect()
    };
    let turned = |angles| {
        let y = run(tensor(device, &[1, 7, 1, 80], x.clone()), &tables(device, &places(7), 1, 80, angles));
        Ok::<_, String>(length(&y?))
    };
    let pairs: Vec<f32> = turned(Rope3dAngles::Pairs)?.into_iter().map(|v| v as f32).collect();
    check_close(&pairs, &length(&x), Tolerance::OfLargest(1e-6))?;
    let tiled = turned(Rope3dAngles::Tiled)?;
    match tiled.iter().zip(length(&x)).all(|(tiled, was)| (tiled / was - 1.0).abs() > 1e-3) {
        true => Ok(()),
        false => Err("the tiled form kept a length".to_owned()),
    }
}

fn nothing_to_turn(device: &Device) -> Verdict {
    for shape in [[1, 2, 3, 0], [1, 2, 0, 8], [1, 0, 3, 8], [0, 2, 3, 8], [1, 2, 3, 5]] {
        let tables = tables(device, &vec![[1.0; 3]; shape[1]], 1, shape[3], Rope3dAngles::Pairs);
        let x = normal("rope3d/x", shape.iter().product());
        check_equal(&run(tensor(device, &shape, x.clone()), &tables)?, &x)?;
    }
    Ok(())
}

/// Heads of 12 values: two frequencies, 1 and a hundredth. The tiled angles of an axis are 1, 0.01, 1, 0.01 times the position.
fn known_values(device: &Device) -> Verdict {
    let x = tensor(device, &[1, 1, 1, 12], vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    let place = [[2.0, 3.0, 0.0]];
    let cos_sin = |angle: f64| (angle.cos(), angle.sin());
    let check = |angles, at: [f64; 8]| {
        let got = run(x.clone(), &tables(device, &place, 1, 12, angles))?;
        let pairs = at.chunks_exact(4).flat_map(|angle| {
            let ((c0, _), (_, s1)) = (cos_sin(angle[0]), cos_sin(angle[1]));
            let ((_, s2), (c3, _)) = (cos_sin(angle[2]), cos_sin(angle[3]));
            [c0, s1, -s2, c3]
        });
        let want: Vec<f64> = pairs.chain([0.0; 4]).collect();
        check_close(&got, &want, Tolerance::Absolute(1e-7))
    };
    check(Rope3dAngles::Tiled, [2.0, 0.02, 2.0, 0.02, 3.0, 0.03, 3.0, 0.03])?;
    check(Rope3dAngles::Pairs, [2.0, 2.0, 0.02, 0.02, 3.0, 3.0, 0.03, 0.03])
}

/// The errors that were measured of tables in half precision, of heads of 64 values below position 32: 0.034 and 0.0037 radians.
fn rounded_steps(device: &Device) -> Verdict {
    let places: Vec<[f64; 3]> = (0..32).map(|p| [f64::from(p), 0.0, 0.0]).collect();
    let angles = |rounding| -> Result<Vec<f64>, String> {
        let tables = rope3d_tables(device, &places, 1, 64, BASE, Rope3dAngles::Tiled, rounding);
        let tables = tables.map_err(|e| e.to_string())?;
        let (cos, sin) = (floats(&tables.cos)?, floats(&tables.sin)?);
        Ok(sin.iter().zip(cos).map(|(s, c)| f64::from(*s).atan2(c.into())).collect())
    };
    let exact = angles(Rope3dRounding::Exact)?;
    for (rounding, largest, of_sines) in
        [(Rope3dRounding::Bf16, 0.0337, 0.006), (Rope3dRounding::F16, 0.0037, 0.001)]
    {
        let turn = std::f64::consts::TAU;
        let error = |(a, b): (&f64, f64)| ((a - b + turn / 2.0).rem_euclid(turn) - turn / 2.0).abs();
        let found = exact.iter().zip(angles(rounding)?).map(error).fold(0.0, f64::max);
        if (found - largest).abs() > of_sines {
            return Err(format!("{rounding:?}: angles are off by {found}, measured were {largest}"));
        }
    }
    Ok(())
}

fn tiny_tables(device: &Device) -> Rope3dTables {
    tables(device, &[[1.0; 3]; 3], 1, 8, Rope3dAngles::Pairs)
}

fn x_rank(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[2, 3, 8]);
    expect_error(
        rope3d(x, &tiny_tables(device)),
        "`x` must be [batch, tokens, heads, head_dim], got [2, 3, 8]",
    )
}

fn x_dtype(device: &Device) -> Verdict {
    let x = Tensor::zeros::<i32>(device, &[1, 3, 2, 8]);
    expect_error(rope3d(x, &tiny_tables(device)), "`x` must hold f32")
}

fn too_few_heads(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[1, 3, 2, 8]);
    let expected = "`x` must be [.., heads, head_dim] with the heads 1..4";
    expect_error(rope3d_heads(x, 1..4, &tiny_tables(device)), expected)
}

fn table_shapes(device: &Device) -> Verdict {
    for shape in [[1, 4, 2, 8], [1, 3, 2, 9]] {
        let x = Tensor::zeros::<f32>(device, &shape);
        expect_error(rope3d(x, &tiny_tables(device)), "`tables` must be [1 or 1, ")?;
    }
    let of_two = tables(device, &[[1.0; 3]; 6], 2, 8, Rope3dAngles::Pairs);
    check_equal(&of_two.extents(), &[2, 3, 8])?;
    let x = Tensor::zeros::<f32>(device, &[3, 3, 2, 8]);
    expect_error(rope3d(x, &of_two), "`tables` must be [3 or 1, 3, 8], got [2, 3, 8]")
}

fn numbers(device: &Device) -> Verdict {
    let make = |places: &[[f64; 3]], batch, base| {
        rope3d_tables(device, places, batch, 8, base, Rope3dAngles::Tiled, Rope3dRounding::Exact)
    };
    expect_error(make(&[[0.0; 3]; 3], 2, BASE), "`batch` must be a number that divides 3 positions, got 2")?;
    expect_error(make(&[[0.0; 3]; 3], 0, BASE), "`batch` must be")?;
    expect_error(make(&[[0.0, f64::NAN, 0.0]], 1, BASE), "`positions` must be finite numbers")?;
    for base in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        expect_error(make(&[[0.0; 3]], 1, base), "`base` must be a finite number above 0, got")?;
    }
    Ok(())
}

fn devices(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(&Device::cpu(), &[1, 3, 2, 8]);
    expect_error(rope3d(x, &tiny_tables(device)), "`tables` must be on")
}

fn tables_beyond_a_binding(device: &Device) -> Verdict {
    let tables = tables(device, &[[1.0; 3]; 40], 1, 8, Rope3dAngles::Pairs);
    let x = Tensor::zeros::<f32>(device, &[1, 40, 1, 8]);
    expect_error(rope3d(x, &tables), "tables of 1280 bytes do not fit one binding")
}
