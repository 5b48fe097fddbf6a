use super::reference::Problem;
use super::{BagMode, Bags, EmbeddingBagOptions, embedding_bag, embedding_bag_backward};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::{normal, uniform};
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, cpu_case, expect_error, f16_case, f16_tensor,
    floats, gpu_case, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("embedding_bag/oracle/one_value", |d| all_modes(d, [1, 1], &[0], 1)),
        case("embedding_bag/oracle/odd_sizes", |d| all_modes(d, [11, 7], &[0, 3, 4, 9, 20], 33)),
        case("embedding_bag/oracle/empty_bags", |d| all_modes(d, [5, 9], &[0, 0, 4, 4, 4, 6, 6], 6)),
        case("embedding_bag/oracle/long_bag", |d| all_modes(d, [50, 3], &[0, 2500], 5000)),
        case("embedding_bag/oracle/wide_rows", |d| all_modes(d, [20, 300], &[0, 10, 15], 40)),
        f16_case("embedding_bag/f16/odd_sizes", f16_modes),
        case("embedding_bag/property/the_last_bag_counts", last_bag),
        case("embedding_bag/property/padding_only", padding_only),
        case("embedding_bag/property/equal_maxima", equal_maxima),
        case("embedding_bag/property/index_types", index_types),
        case("embedding_bag/property/nothing", nothing),
        gpu_case("embedding_bag/property/unknown_rows", unknown_rows),
        gpu_case("embedding_bag/property/wild_offsets", wild_offsets),
        small_bindings_case("embedding_bag/error/too_long", 1024, |d| {
            let (indices, offsets) = (Tensor::zeros::<i64>(d, &[1]), Tensor::zeros::<i64>(d, &[1]));
            let bags = Bags { indices: &indices, offsets: &offsets, per_sample_weights: None };
            let weight = Tensor::zeros::<f32>(d, &[100, 5]);
            let said = "a tensor of 2000 bytes does not fit one binding";
            expect_error(embedding_bag(&weight, &bags, &EmbeddingBagOptions::default()), said)
        }),
        cpu_case("embedding_bag/error/numbers", wrong_numbers),
        case("embedding_bag/error/shapes", shapes),
        case("embedding_bag/error/options", wrong_options),
        case("embedding_bag/error/dtypes", dtypes),
    ]
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| v.into()).collect()
}

/// What a case runs on: tensors, and the values that they hold.
struct Held<'a> {
    tensor: &'a Tensor,
    values: &'a [f32],
}

fn check(
    weight: &Held<'_>,
    factors: Option<&Held<'_>>,
    grad: &Held<'_>,
    (offsets, entries): (&[i64], usize),
    mut options: EmbeddingBagOptions,
    f16: bool,
) -> Verdict {
    let device = weight.tensor.device();
    let [rows, width] = [weight.tensor.shape()[0], weight.tensor.shape()[1]];
    let spread = uniform("embedding_bag/indices", entries);
    let indices: Vec<i64> =
        spread.iter().map(|v| ((f64::from(*v) * 0.5 + 0.5) * rows as f64) as i64).collect();
    let ends = offsets.iter().skip(1).copied().chain([entries as i64]);
    let (w, g) = (wide(weight.values), wide(grad.values));
    let f = factors.map(|factors| wide(factors.values));
    let problem = Problem {
        weight: &w,
        width,
        indices: &indices,
        bags: offsets.iter().zip(ends).map(|(&from, to)| from as usize..to as usize).collect(),
        factors: f.as_deref(),
        options,
    };
    let index_tensor = Tensor::new(&device, &[entries], indices.clone()).map_err(text)?;
    let want = problem.forward();
    let (want_weight, want_factors) = problem.backward(&g);
    for with_end in [false, true] {
        options.include_last_offset = with_end;
        let mut bounds = offsets.to_vec();
        bounds.extend(with_end.then_some(entries as i64));
        let bounds = Tensor::new(&device, &[bounds.len()], bounds).map_err(text)?;
        let bags = Bags {
            indices: &index_tensor,
            offsets: &bounds,
            per_sample_weights: factors.map(|factors| factors.tensor),
        };
        let bound = |depth: usize| if f16 { Tolerance::OfLargest(5e-4) } else { Tolerance::Sum { depth } };
        let got = embedding_bag(weight.tensor, &bags, &options).map_err(text)?;
        check_equal(got.shape(), &[offsets.len(), width])?;
        check_equal(&[got.dtype()], &[weight.tensor.dtype()])?;
        check_close(&floats(&got)?, &want, bound(entries)).map_err(|e| format!("{options:?}: {e}"))?;
        let got = embedding_bag_backward(grad.tensor, weight.tensor, &bags, &options).map_err(text)?;
        check_equal(got.weight.shape(), &[rows, width])?;
        check_close(&floats(&got.weight)?, &want_weight, bound(entries))
            .map_err(|e| format!("gradient, {options:?}: {e}"))?;
        check_equal(&[got.per_sample_weights.is_some()], &[factors.is_some()])?;
        if let Some(got) = got.per_sample_weights {
            check_close(&floats(&got)?, &want_factors, bound(width)).map_err(|e| format!("factors: {e}"))?;
        }
    }
    Ok(())
}

fn all_modes(device: &Device, [rows, width]: [usize; 2], offsets: &[i64], entries: usize) -> Verdict {
    let values = [
        normal("embedding_bag/weight", rows * width),
        normal("embedding_bag/factors", entries),
        normal("embedding_bag/grad", offsets.len() * width),
    ];
    let tensor = |k: usize, shape: &[usize]| Tensor::new(device, shape, values[k].clone()).map_err(text);
    let tensors = [tensor(0, &[rows, width])?, tensor(1, &[entries])?, tensor(2, &[offsets.len(), width])?];
    let held = |k: usize| Held { tensor: &tensors[k], values: &values[k] };
    run_modes(&held(0), &held(1), &held(2), (offsets, entries), false)
}

fn run_modes(
    weight: &Held<'_>,
    factors: &Held<'_>,
    grad: &Held<'_>,
    bags: (&[i64], usize),
    f16: bool,
) -> Verdict {
    for mode in [BagMode::Sum, BagMode::Mean, BagMode::Max] {
        for padding_idx in [None, Some(0)] {
            let options = EmbeddingBagOptions { mode, padding_idx, include_last_offset: false };
            check(weight, None, grad, bags, options, f16)?;
            if mode == BagMode::Sum {
                check(weight, Some(factors), grad, bags, options, f16)?;
            }
        }
    }
    Ok(())
}

fn f16_modes(device: &Device) -> Verdict {
    let (offsets, entries) = ([0, 3, 4, 9, 20], 33);
    let values = [
        ("embedding_bag/weight", vec![11, 7]),
        ("embedding_bag/factors", vec![33]),
        ("embedding_bag/grad", vec![5, 7]),
    ];
    let held = values.map(|(name, shape)| f16_tensor(device, &shape, &normal(name, shape.iter().product())));
    let [weight, factors, grad] = held.each_ref().map(|(tensor, values)| Held { tensor, values });
    run_modes(&weight, &factors, &grad, (&offsets, entries), true)
}

/// Rows 1, 2 and 4 in two bags, by hand.
fn last_bag(device: &Device) -> Verdict {
    let weight = Tensor::new(device, &[3, 1], vec![1f32, 2.0, 4.0]).map_err(text)?;
    let indices = Tensor::new(device, &[4], vec![0i64, 1, 2, 2]).map_err(text)?;
    for (bounds, include_last_offset) in [(vec![0i64, 2], false), (vec![0, 2, 4], true)] {
        let offsets = Tensor::new(device, &[bounds.len()], bounds).map_err(text)?;
        let bags = Bags { indices: &indices, offsets: &offsets, per_sample_weights: None };
        for (mode, want) in
            [(BagMode::Sum, [3.0, 8.0]), (BagMode::Mean, [1.5, 4.0]), (BagMode::Max, [2.0, 4.0])]
        {
            let options = EmbeddingBagOptions { mode, include_last_offset, padding_idx: None };
            check_equal(&floats(&embedding_bag(&weight, &bags, &options).map_err(text)?)?, &want)?;
        }
    }
    Ok(())
}

fn padding_only(device: &Device) -> Verdict {
    let weight = Tensor::new(device, &[2, 2], vec![-1f32, -2.0, -3.0, -4.0]).map_err(text)?;
    let indices = Tensor::new(device, &[3], vec![1i64, 1, 0]).map_err(text)?;
    let offsets = Tensor::new(device, &[2], vec![0i64, 2]).map_err(text)?;
    let bags = Bags { indices: &indices, offsets: &offsets, per_sample_weights: None };
    for mode in [BagMode::Sum, BagMode::Mean, BagMode::Max] {
        let options = EmbeddingBagOptions { mode, padding_idx: Some(1), include_last_offset: false };
        let got = floats(&embedding_bag(&weight, &bags, &options).map_err(text)?)?;
        check_equal(&got, &[0.0, 0.0, -1.0, -2.0])?;
    }
    Ok(())
}

fn equal_maxima(device: &Device) -> Verdict {
    let weight = Tensor::new(device, &[3, 2], vec![5f32, 1.0, 5.0, 7.0, 5.0, 7.0]).map_err(text)?;
    let indices = Tensor::new(device, &[3], vec![2i64, 0, 1]).map_err(text)?;
    let offsets = Tensor::new(device, &[1], vec![0i64]).map_err(text)?;
    let bags = Bags { indices: &indices, offsets: &offsets, per_sample_weights: None };
    let options = EmbeddingBagOptions { mode: BagMode::Max, ..Default::default() };
    let grad = Tensor::new(device, &[1, 2], vec![10f32, 20.0]).map_err(text)?;
    let got = embedding_bag_backward(&grad, &weight, &bags, &options).map_err(text)?;
    check_equal(&floats(&got.weight)?, &[0.0, 0.0, 0.0, 0.0, 10.0, 20.0])
}

fn index_types(device: &Device) -> Verdict {
    let weight = Tensor::new(device, &[3, 1], vec![1f32, 2.0, 4.0]).map_err(text)?;
    let options = EmbeddingBagOptions { mode: BagMode::Sum, ..Default::default() };
    let numbers = [
        (Tensor::new(device, &[3], vec![2i32, 1, 0]), Tensor::new(device, &[2], vec![0i32, 2])),
        (Tensor::new(device, &[3], vec![2u32, 1, 0]), Tensor::new(device, &[2], vec![0u32, 2])),
    ];
    for (indices, offsets) in numbers {
        let (indices, offsets) = (indices.map_err(text)?, offsets.map_err(text)?);
        let bags = Bags { indices: &indices, offsets: &offsets, per_sample_weights: None };
        check_equal(&floats(&embedding_bag(&weight, &bags, &options).map_err(text)?)?, &[6.0, 1.0])?;
    }
    Ok(())
}

/// No bags, no entries, no rows.
fn nothing(device: &Device) -> Verdict {
    let none = Tensor::zeros::<i64>(device, &[0]);
    let bags = Bags { indices: &none, offsets: &none, per_sample_weights: None };
    let options = EmbeddingBagOptions::default();
    let weight = Tensor::zeros::<f32>(device, &[3, 2]);
    check_equal(embedding_bag(&weight, &bags, &options).map_err(text)?.shape(), &[0, 2])?;
    let grad = Tensor::zeros::<f32>(device, &[0, 2]);
    let got = embedding_bag_backward(&grad, &weight, &bags, &options).map_err(text)?;
    check_equal(&floats(&got.weight)?, &[0.0; 6])?;
    let offsets = Tensor::zeros::<i64>(device, &[2]);
    let bags = Bags { offsets: &offsets, ..bags };
    let rows = Tensor::zeros::<f32>(device, &[0, 2]);
    check_equal(&floats(&embedding_bag(&rows, &bags, &options).map_err(text)?)?, &[0.0; 4])?;
    let grad = Tensor::new(device, &[2, 2], vec![1f32; 4]).map_err(text)?;
    let got = embedding_bag_backward(&grad, &weight, &bags, &options).map_err(text)?;
    check_equal(&floats(&got.weight)?, &[0.0; 6])
}

fn unknown_rows(device: &Device) -> Verdict {
    let weight = Tensor::new(device, &[2, 1], vec![1f32, 2.0]).map_err(text)?;
    let indices = Tensor::new(device, &[4], vec![0i64, 2, 1, -1]).map_err(text)?;
    let offsets = Tensor::new(device, &[3], vec![0i64, 1, 3]).map_err(text)?;
    let bags = Bags { indices: &indices, offsets: &offsets, per_sample_weights: None };
    let options = EmbeddingBagOptions { mode: BagMode::Sum, ..Default::default() };
    let got = floats(&embedding_bag(&weight, &bags, &options).map_err(text)?)?;
    check_equal(&[got[0] == 1.0, got[1].is_nan(), got[2].is_nan()], &[true; 3])?;
    let grad = Tensor::new(device, &[3, 1], vec![1f32, 10.0, 100.0]).map_err(text)?;
    let got = embedding_bag_backward(&grad, &weight, &bags, &options).map_err(text)?;
    check_equal(&floats(&got.weight)?, &[1.0, 10.0])
}

fn wild_offsets(device: &Device) -> Verdict {
    let weight = Tensor::new(device, &[2, 1], vec![1f32, 2.0]).map_err(text)?;
    let indices = Tensor::new(device, &[3], vec![0i64, 1, 1]).map_err(text)?;
    let offsets = Tensor::new(device, &[4], vec![0i64, 1 << 40, 2, -7]).map_err(text)?;
    let bags = Bags { indices: &indices, offsets: &offsets, per_sample_weights: None };
    let options = EmbeddingBagOptions { mode: BagMode::Sum, ..Default::default() };
    let got = floats(&embedding_bag(&weight, &bags, &options).map_err(text)?)?;
    check_equal(&got, &[5.0, 0.0, 2.0, 0.0])
}

fn wrong_numbers(device: &Device) -> Verdict {
    let weight = Tensor::zeros::<f32>(device, &[2, 1]);
    let options = EmbeddingBagOptions::default();
    let run = |indices: Vec<i64>, offsets: Vec<i64>| {
        let indices = Tensor::new(device, &[indices.len()], indices).expect("a shape that fits");
        let offsets = Tensor::new(device, &[offsets.len()], offsets).expect("a shape that fits");
        embedding_bag(
            &weight,
            &Bags { indices: &indices, offsets: &offsets, per_sample_weights: None },
            &options,
        )
    };
    expect_error(run(vec![0, 2], vec![0]), "`indices` must be numbers from 0 to below 2, got 2 at place 1")?;
    expect_error(
        run(vec![0, 1], vec![1]),
        "`offsets` must be 0 first, then ever larger ones up to 2, got 1 at place 0",
    )?;
    expect_error(run(vec![0, 1], vec![0, 2, 1]), "got 1 at place 2")?;
    expect_error(run(vec![0, 1], vec![0, 3]), "got 3 at place 1")
}

fn shapes(device: &Device) -> Verdict {
    let weight = Tensor::zeros::<f32>(device, &[2, 3]);
    let (indices, offsets) = (Tensor::zeros::<i64>(device, &[4]), Tensor::zeros::<i64>(device, &[2]));
    let bags = Bags { indices: &indices, offsets: &offsets, per_sample_weights: None };
    let sum = EmbeddingBagOptions { mode: BagMode::Sum, ..Default::default() };
    let flat = Tensor::zeros::<f32>(device, &[6]);
    let square = Tensor::zeros::<i64>(device, &[2, 2]);
    let run = |bags: &Bags<'_>, options: &EmbeddingBagOptions| embedding_bag(&weight, bags, options);
    expect_error(embedding_bag(&flat, &bags, &sum), "`weight` must be [rows, width], got [6]")?;
    expect_error(run(&Bags { indices: &square, ..bags }, &sum), "`indices` must be [entries], got [2, 2]")?;
    expect_error(run(&Bags { offsets: &square, ..bags }, &sum), "`offsets` must be [bags], got [2, 2]")?;
    let none = Tensor::zeros::<i64>(device, &[0]);
    let with_end = EmbeddingBagOptions { include_last_offset: true, ..sum };
    expect_error(run(&Bags { offsets: &none, ..bags }, &with_end), "`offsets` must be [bags + 1], got [0]")?;
    let factors = Some(&flat);
    expect_error(
        run(&Bags { per_sample_weights: factors, ..bags }, &sum),
        "`per_sample_weights` must be [4], got [6]",
    )?;
    expect_error(
        embedding_bag_backward(&flat, &weight, &bags, &sum),
        "`grad` must be [2, 3] as the result, got [6]",
    )
}

fn wrong_options(device: &Device) -> Verdict {
    let weight = Tensor::zeros::<f32>(device, &[2, 3]);
    let (indices, offsets) = (Tensor::zeros::<i64>(device, &[4]), Tensor::zeros::<i64>(device, &[2]));
    let factors = Tensor::zeros::<f32>(device, &[4]);
    let bags = Bags { indices: &indices, offsets: &offsets, per_sample_weights: Some(&factors) };
    let mean = EmbeddingBagOptions::default();
    expect_error(
        embedding_bag(&weight, &bags, &mean),
        "`mode` must be a sum with per_sample_weights, got Mean",
    )?;
    let padded = EmbeddingBagOptions { padding_idx: Some(2), mode: BagMode::Sum, ..mean };
    expect_error(embedding_bag(&weight, &bags, &padded), "`padding_idx` must be below 2, got 2")
}

fn dtypes(device: &Device) -> Verdict {
    let weight = Tensor::zeros::<f32>(device, &[2, 3]);
    let (indices, offsets) = (Tensor::zeros::<i64>(device, &[4]), Tensor::zeros::<i32>(device, &[2]));
    let options = EmbeddingBagOptions::default();
    let bags = Bags { indices: &indices, offsets: &offsets, per_sample_weights: None };
    expect_error(
        embedding_bag(&weight, &bags, &options),
        "`offsets` must hold the dtype of `indices`, got i32",
    )?;
    let wrong = Tensor::zeros::<u8>(device, &[4]);
    let bags = Bags { indices: &wrong, offsets: &wrong, per_sample_weights: None };
    expect_error(embedding_bag(&weight, &bags, &options), "`indices` must hold i32, u32 or i64, got u8")?;
    let offsets = Tensor::zeros::<i64>(device, &[2]);
    let bags = Bags { indices: &indices, offsets: &offsets, per_sample_weights: None };
    expect_error(
        embedding_bag(&Tensor::zeros::<i32>(device, &[2, 3]), &bags, &options),
        "`weight` must hold f32",
    )
}
