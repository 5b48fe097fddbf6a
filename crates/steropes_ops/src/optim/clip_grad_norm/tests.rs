use super::{clip_grad_norm, reference};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{
    Case, Tolerance, Verdict, bf16_tensor, case, check_close, check_equal, cpu_case, expect_error, f16_case,
    f16_tensor, floats, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("clip_grad_norm/oracle/one_element", |d| against_oracle(d, &[1], 0.1)),
        case("clip_grad_norm/oracle/odd_sizes", |d| against_oracle(d, &[7, 1, 0, 1025, 33, 16390], 0.5)),
        case("clip_grad_norm/oracle/many", |d| against_oracle(d, &[97; 60], 1.0)),
        case("clip_grad_norm/oracle/long", |d| against_oracle(d, &[300_007, 5], 2.0)),
        case("clip_grad_norm/oracle/zero", |d| against_oracle(d, &[5, 9], 0.0)),
        case("clip_grad_norm/property/small_norms_change_nothing", unchanged),
        case("clip_grad_norm/property/zeros_stay", zeros_stay),
        case("clip_grad_norm/property/no_gradients", no_gradients),
        case("clip_grad_norm/property/shared_memory_is_not_changed", shared_memory),
        case("clip_grad_norm/property/nan_shows_in_the_norm", nan_shows),
        cpu_case("clip_grad_norm/property/same_bits_for_any_threads", same_bits),
        cpu_case("clip_grad_norm/property/no_overflow_on_the_cpu", no_overflow),
        cpu_case("clip_grad_norm/bf16/odd_sizes", bf16_gradients),
        f16_case("clip_grad_norm/f16/odd_sizes", f16_gradients),
        small_bindings_case("clip_grad_norm/property/in_ranges", 4096, |d| {
            against_oracle(d, &[5003, 1024, 1025], 0.5)
        }),
        case("clip_grad_norm/error/max_norm", max_norm),
        case("clip_grad_norm/error/dtype", dtype),
    ]
}

fn tensor(device: &Device, values: Vec<f32>) -> Tensor {
    Tensor::new(device, &[values.len()], values).expect("a test's shape fits its values")
}

fn inputs(lengths: &[usize]) -> Vec<Vec<f32>> {
    let all = normal("clip_grad_norm/gradient", lengths.iter().sum());
    let mut rest = &all[..];
    let take = |&len: &usize| {
        let (head, tail) = rest.split_at(len);
        rest = tail;
        head.to_vec()
    };
    lengths.iter().map(take).collect()
}

fn clip(gradients: &mut [Tensor], max_norm: f32) -> Result<f32, String> {
    let norm = clip_grad_norm(gradients, max_norm).map_err(|e| e.to_string())?;
    check_equal(norm.shape(), &[])?;
    Ok(floats(&norm)?[0])
}

/// Clipped to `share` of their norm.
fn against_oracle(device: &Device, lengths: &[usize], share: f64) -> Verdict {
    let values = inputs(lengths);
    let (norm, _) = reference::clip_grad_norm(&values, 1.0);
    let max_norm = (norm * share) as f32;
    let (norm, want) = reference::clip_grad_norm(&values, max_norm.into());
    let mut gradients: Vec<Tensor> = values.into_iter().map(|v| tensor(device, v)).collect();
    check_close(&[clip(&mut gradients, max_norm)?], &[norm], Tolerance::OfLargest(2e-6))?;
    for (i, (got, want)) in gradients.iter().zip(&want).enumerate() {
        check_close(&floats(got)?, want, Tolerance::OfLargest(3e-6))
            .map_err(|e| format!("tensor {i}: {e}"))?;
    }
    Ok(())
}

fn unchanged(device: &Device) -> Verdict {
    let values = normal("clip_grad_norm/gradient", 777);
    let mut gradients = [tensor(device, values.clone())];
    clip(&mut gradients, 1e3)?;
    check_equal(&floats(&gradients[0])?, &values)
}

fn zeros_stay(device: &Device) -> Verdict {
    let mut gradients = [tensor(device, vec![0.0; 9])];
    check_equal(&[clip(&mut gradients, 1.0)?], &[0.0])?;
    check_equal(&floats(&gradients[0])?, &[0.0; 9])
}

fn no_gradients(device: &Device) -> Verdict {
    check_equal(&[clip(&mut [], 1.0)?], &[0.0])?;
    let mut empty = [tensor(device, Vec::new())];
    check_equal(&[clip(&mut empty, 1.0)?], &[0.0])
}

fn shared_memory(device: &Device) -> Verdict {
    let values = normal("clip_grad_norm/gradient", 300);
    let x = tensor(device, values.clone());
    let mut gradients = [x.clone()];
    clip(&mut gradients, 0.5)?;
    check_equal(&floats(&x)?, &values)?;
    let norm = floats(&gradients[0])?.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
    check_close(&[norm as f32], &[0.5], Tolerance::OfLargest(4e-6))
}

fn nan_shows(device: &Device) -> Verdict {
    for position in [0, 299] {
        let mut values = normal("clip_grad_norm/gradient", 300);
        values[position] = f32::NAN;
        let norm = clip(&mut [tensor(device, vec![1.0]), tensor(device, values)], 1.0)?;
        if !norm.is_nan() {
            return Err(format!("the norm with a NaN at {position} is {norm}"));
        }
    }
    Ok(())
}

fn same_bits(device: &Device) -> Verdict {
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| clip(&mut [tensor(device, inputs(&[100_003]).remove(0))], 1.0))
    };
    check_equal(&[with(1)?.to_bits()], &[with(3)?.to_bits()])
}

fn no_overflow(device: &Device) -> Verdict {
    let mut gradients = [tensor(device, vec![3e30, 4e30])];
    check_close(&[clip(&mut gradients, 5.0)?], &[5e30], Tolerance::OfLargest(1e-6))?;
    check_close(&floats(&gradients[0])?, &[3.0, 4.0], Tolerance::OfLargest(1e-6))
}

fn bf16_gradients(device: &Device) -> Verdict {
    let (x, rounded) = bf16_tensor(device, &[333], &normal("clip_grad_norm/gradient", 333));
    let (norm, want) = reference::clip_grad_norm(&[rounded], 2.0);
    let mut gradients = [x];
    check_close(&[clip(&mut gradients, 2.0)?], &[norm], Tolerance::OfLargest(1e-6))?;
    let got = gradients[0].read::<half::bf16>().map_err(|e| e.to_string())?;
    let got: Vec<f32> = got.into_iter().map(half::bf16::to_f32).collect();
    check_close(&got, &want[0], Tolerance::OfLargest(4e-3))
}

fn f16_gradients(device: &Device) -> Verdict {
    for len in [1, 9, 333, 4096 * 4 + 2] {
        let (x, rounded) = f16_tensor(device, &[len], &normal("clip_grad_norm/gradient", len));
        let (norm, want) = reference::clip_grad_norm(&[rounded, vec![1.5]], 0.5);
        let mut gradients = [x, tensor(device, vec![1.5])];
        check_close(&[clip(&mut gradients, 0.5)?], &[norm], Tolerance::OfLargest(2e-6))?;
        check_close(&floats(&gradients[0])?, &want[0], Tolerance::OfLargest(5e-4))?;
        check_close(&floats(&gradients[1])?, &want[1], Tolerance::OfLargest(3e-6))?;
    }
    Ok(())
}

fn max_norm(device: &Device) -> Verdict {
    for max_norm in [-1.0, f32::NAN, f32::INFINITY] {
        let mut gradients = [tensor(device, vec![1.0])];
        expect_error(
            clip_grad_norm(&mut gradients, max_norm),
            "`max_norm` must be a finite number from 0 on, got",
        )?;
    }
    Ok(())
}

fn dtype(device: &Device) -> Verdict {
    let mut gradients = [tensor(device, vec![1.0]), Tensor::zeros::<i32>(device, &[3])];
    expect_error(clip_grad_norm(&mut gradients, 1.0), "`gradients` must hold f32")
}
