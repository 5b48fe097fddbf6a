use super::{AdamW, AdamWState, Parameter, adamw, reference};
use half::{bf16, f16};
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::inputs::{normal, uniform};
use steropes_testkit::{
    Case, Tolerance, Verdict, bf16_tensor, case, check_close, check_equal, cpu_case, expect_error, f16_case,
    f16_tensor, floats, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("adamw/oracle/one_element", |d| against_oracle(d, &[1], OPTIONS)),
        case("adamw/oracle/odd_sizes", |d| against_oracle(d, &[7, 1, 0, 1025, 33, 257], OPTIONS)),
        case("adamw/oracle/default_numbers", |d| against_oracle(d, &[301], AdamW::default())),
        case("adamw/oracle/many", |d| against_oracle(d, &[37; 40], OPTIONS)),
        case("adamw/oracle/long", |d| against_oracle(d, &[40_003, 5], OPTIONS)),
        case("adamw/oracle/amsgrad", |d| against_oracle(d, &[7, 259], AdamW { amsgrad: true, ..OPTIONS })),
        case("adamw/oracle/maximize", |d| against_oracle(d, &[7, 259], AdamW { maximize: true, ..OPTIONS })),
        case("adamw/oracle/no_decay", |d| against_oracle(d, &[259], AdamW { weight_decay: 0.0, ..OPTIONS })),
        case("adamw/oracle/large_eps", |d| against_oracle(d, &[259], AdamW { eps: 0.3, ..OPTIONS })),
        case("adamw/oracle/no_moments", |d| against_oracle(d, &[259], AdamW { betas: [0.0; 2], ..OPTIONS })),
        f16_case("adamw/f16/odd_sizes", |d| narrow(d, OPTIONS, f16_tensor)),
        f16_case("adamw/f16/amsgrad", |d| narrow(d, AdamW { amsgrad: true, ..OPTIONS }, f16_tensor)),
        cpu_case("adamw/bf16/odd_sizes", |d| narrow(d, OPTIONS, bf16_tensor)),
        cpu_case("adamw/bf16/amsgrad", |d| narrow(d, AdamW { amsgrad: true, ..OPTIONS }, bf16_tensor)),
        cpu_case("adamw/bf16/small_updates_are_not_lost", small_updates),
        cpu_case("adamw/bf16/stochastic_rounding_goes_to_a_neighbour", neighbours),
        cpu_case("adamw/bf16/seeds_differ", seeds_differ),
        small_bindings_case("adamw/property/in_ranges", 4096, |d| against_oracle(d, &[5003, 1024], OPTIONS)),
        small_bindings_case("adamw/property/amsgrad_in_ranges", 4096, |d| {
            against_oracle(d, &[2501], AdamW { amsgrad: true, ..OPTIONS })
        }),
        case("adamw/property/first_step_goes_by_the_learning_rate", first_step),
        case("adamw/property/resumed_runs_give_the_same_bits", |d| resumed(d, OPTIONS, &f32_tensor)),
        case("adamw/property/resumed_amsgrad", |d| {
            resumed(d, AdamW { amsgrad: true, ..OPTIONS }, &f32_tensor)
        }),
        f16_case("adamw/property/resumed_f16", |d| {
            resumed(d, OPTIONS, &|d, v| f16_tensor(d, &[v.len()], v).0)
        }),
        cpu_case("adamw/property/resumed_bf16", |d| {
            resumed(d, OPTIONS, &|d, v| bf16_tensor(d, &[v.len()], v).0)
        }),
        cpu_case("adamw/property/resumed_stochastic", |d| {
            let options = AdamW { stochastic_rounding: Some(7), ..OPTIONS };
            resumed(d, options, &|d, v| bf16_tensor(d, &[v.len()], v).0)
        }),
        cpu_case("adamw/property/same_bits_for_any_threads", same_bits),
        case("adamw/property/shared_memory_is_not_changed", shared_memory),
        case("adamw/property/nan_stays_in_its_element", nan_stays),
        case("adamw/property/no_parameters", no_parameters),
        case("adamw/error/numbers", numbers),
        case("adamw/error/count", count),
        case("adamw/error/shapes", shapes),
        case("adamw/error/dtypes", dtypes),
        case("adamw/error/states", states),
        cpu_case("adamw/error/bf16_without_master", bf16_without_master),
    ]
}

const OPTIONS: AdamW = AdamW {
    lr: 0.02,
    betas: [0.8, 0.95],
    eps: 1e-6,
    weight_decay: 0.1,
    amsgrad: false,
    maximize: false,
    stochastic_rounding: None,
};

fn f32_tensor(device: &Device, values: &[f32]) -> Tensor {
    Tensor::new(device, &[values.len()], values.to_vec()).expect("a test's shape fits its values")
}

/// The gradient of step `t`: of changing size, so that the largest second moment is not the last.
fn gradient(name: &str, t: usize, len: usize) -> Vec<f32> {
    let scale = if t % 7 == 3 { 5.0 } else { 0.3 };
    normal(&format!("adamw/{name}/{t}"), len).into_iter().map(|g| g * scale).collect()
}

fn step(options: &AdamW, parameters: &mut [Parameter], gradients: &[Tensor]) -> Verdict {
    adamw(options, parameters, &gradients.iter().collect::<Vec<_>>()).map_err(|e| e.to_string())
}

fn parameter(value: Tensor, options: &AdamW) -> Result<Parameter, String> {
    Parameter::new(value, options).map_err(|e| e.to_string())
}

/// Twenty steps.
fn against_oracle(device: &Device, lengths: &[usize], options: AdamW) -> Verdict {
    let values: Vec<Vec<f32>> =
        lengths.iter().enumerate().map(|(i, &len)| normal(&format!("adamw/value/{i}"), len)).collect();
    let mut want: Vec<reference::State> = values.iter().map(|v| reference::State::new(v)).collect();
    let mut parameters = Vec::new();
    for value in &values {
        parameters.push(parameter(f32_tensor(device, value), &options)?);
    }
    for t in 1..=20 {
        let gradients: Vec<Vec<f32>> =
            lengths.iter().enumerate().map(|(i, &len)| gradient(&format!("gradient/{i}"), t, len)).collect();
        for (want, gradient) in want.iter_mut().zip(&gradients) {
            want.step(&options, t as i32, gradient);
        }
        let gradients: Vec<Tensor> = gradients.iter().map(|g| f32_tensor(device, g)).collect();
        step(&options, &mut parameters, &gradients)?;
    }
    for (i, (got, want)) in parameters.iter().zip(&want).enumerate() {
        let close = |what: &str, got: &Tensor, want: &[f64]| {
            check_close(&floats(got)?, want, Tolerance::OfLargest(2e-6))
                .map_err(|e| format!("{what} of tensor {i}: {e}"))
        };
        close("first", &got.state.first, &want.first)?;
        close("second", &got.state.second, &want.second)?;
        close("value", &got.value, &want.value)?;
        if let Some(largest) = &got.state.largest {
            close("largest", largest, &want.largest)?;
        }
        check_equal(&[got.state.step], &[20])?;
    }
    Ok(())
}

/// The value as f32, whatever it is stored in.
fn wide(tensor: &Tensor) -> Result<Vec<f32>, String> {
    match tensor.dtype() {
        DType::BF16 => tensor
            .read::<bf16>()
            .map(|v| v.into_iter().map(bf16::to_f32).collect())
            .map_err(|e| e.to_string()),
        _ => floats(tensor),
    }
}

type Narrow = fn(&Device, &[usize], &[f32]) -> (Tensor, Vec<f32>);

/// Parameters in 16 bits: the master weights follow the oracle, and the values are their roundings.
fn narrow(device: &Device, options: AdamW, tensor: Narrow) -> Verdict {
    for len in [1, 2, 3, 5, 9, 1030] {
        let (value, rounded) = tensor(device, &[len], &normal("adamw/value", len));
        let mut want = reference::State::new(&rounded);
        let mut parameters = [parameter(value, &options)?];
        for t in 1..=20 {
            let (gradient, rounded) = tensor(device, &[len], &gradient("gradient", t, len));
            want.step(&options, t as i32, &rounded);
            step(&options, &mut parameters, &[gradient])?;
        }
        let [Parameter { value, state }] = &parameters;
        let master = floats(state.master.as_ref().ok_or("no master weights")?)?;
        check_close(&master, &want.value, Tolerance::OfLargest(2e-6))?;
        check_close(&floats(&state.second)?, &want.second, Tolerance::OfLargest(2e-6))?;
        let copies = match value.dtype() {
            DType::F16 => master.iter().map(|&x| f16::from_f32(x).to_f32()).collect::<Vec<_>>(),
            _ => master.iter().map(|&x| bf16::from_f32(x).to_f32()).collect(),
        };
        check_equal(&wide(value)?, &copies)?;
    }
    Ok(())
}

/// Steps of a hundredth of the distance between neighbours of bf16: master weights keep them, stochastic rounding keeps their mean,
/// and without either nothing would change.
fn small_updates(device: &Device) -> Verdict {
    let (len, steps) = (4096, 200);
    let plain = AdamW { lr: 2f64.powi(-7) / 100.0, weight_decay: 0.0, ..AdamW::default() };
    for options in [plain, AdamW { stochastic_rounding: Some(3), ..plain }] {
        let mut parameters = [parameter(bf16_tensor(device, &[len], &vec![1.5; len]).0, &options)?];
        let gradients = [bf16_tensor(device, &[len], &vec![1.0; len]).0];
        for _ in 0..steps {
            step(&options, &mut parameters, &gradients)?;
        }
        let mean = wide(&parameters[0].value)?.iter().map(|&v| f64::from(v)).sum::<f64>() / len as f64;
        // The mean of 4096 roundings is within 2% of the distance between neighbours.
        let want = 1.5 - plain.lr * f64::from(steps);
        check_close(&[mean as f32], &[want], Tolerance::Absolute(0.05 * 2f64.powi(-7)))?;
        if options.stochastic_rounding.is_some() && parameters[0].state.master.is_some() {
            return Err("master weights beside stochastic rounding".to_owned());
        }
    }
    Ok(())
}

/// One step from many values: each result is one of the two bf16 beside what f32 gives, in the share that the distances ask for.
fn neighbours(device: &Device) -> Verdict {
    let len = 20_000;
    let plain = AdamW { lr: 0.3, ..OPTIONS };
    let options = AdamW { stochastic_rounding: Some(11), ..plain };
    let (value, rounded) = bf16_tensor(device, &[len], &normal("adamw/value", len));
    let (gradient, wide_gradient) = bf16_tensor(device, &[len], &normal("adamw/gradient", len));
    let mut exact = [parameter(f32_tensor(device, &rounded), &plain)?];
    step(&plain, &mut exact, &[f32_tensor(device, &wide_gradient)])?;
    let mut parameters = [parameter(value, &options)?];
    step(&options, &mut parameters, &[gradient])?;
    let (got, exact) = (wide(&parameters[0].value)?, floats(&exact[0].value)?);
    let (mut shares, mut away) = (0.0, 0.0);
    for (&got, &exact) in got.iter().zip(&exact) {
        let towards_zero = f32::from_bits(exact.to_bits() & 0xffff_0000);
        let from_zero = f32::from_bits((exact.to_bits() & 0xffff_0000) + 0x1_0000);
        shares += f64::from(exact.to_bits() & 0xffff) / 65536.0;
        if got == from_zero {
            away += 1.0;
        } else if got != towards_zero {
            return Err(format!("{exact} became {got}"));
        }
    }
    // Four standard deviations of 20000 coins.
    check_close(&[away as f32], &[shares], Tolerance::Absolute(4.0 * 0.5 * 141.5))
}

fn seeds_differ(device: &Device) -> Verdict {
    let run = |seed, others: usize| -> Result<Vec<f32>, String> {
        let options = AdamW { stochastic_rounding: Some(seed), ..OPTIONS };
        let tensor = |name| bf16_tensor(device, &[500], &normal(name, 500)).0;
        let mut parameters = Vec::new();
        for _ in 0..=others {
            parameters.push(parameter(tensor("adamw/value"), &options)?);
        }
        let gradients = vec![tensor("adamw/gradient"); others + 1];
        step(&options, &mut parameters, &gradients)?;
        wide(&parameters[others].value)
    };
    check_equal(&run(1, 0)?, &run(1, 0)?)?;
    if run(1, 0)? == run(2, 0)? {
        return Err("another seed rounds alike".to_owned());
    }
    if run(1, 0)? == run(1, 1)? {
        return Err("two parameters round alike".to_owned());
    }
    Ok(())
}

/// With equal bias corrections the first step is `lr` against the sign of the gradient.
fn first_step(device: &Device) -> Verdict {
    let options = AdamW { weight_decay: 0.0, eps: 0.0, ..OPTIONS };
    let gradient = uniform("adamw/gradient", 99);
    let mut parameters = [parameter(f32_tensor(device, &[1.0; 99]), &options)?];
    step(&options, &mut parameters, &[f32_tensor(device, &gradient)])?;
    let want: Vec<f64> = gradient.iter().map(|&g| 1.0 - 0.02 * f64::from(g.signum())).collect();
    check_close(&floats(&parameters[0].value)?, &want, Tolerance::OfLargest(3e-7))
}

/// A parameter that was read and made again.
fn saved(device: &Device, Parameter { value, state }: &Parameter) -> Result<Parameter, String> {
    let again = |tensor: &Tensor| -> Result<Tensor, String> {
        let host = tensor.to_device(&Device::Cpu).map_err(|e| e.to_string())?;
        let shape = host.shape().to_vec();
        let made = match host.dtype() {
            DType::F16 => Tensor::new(device, &shape, host.into_vec::<f16>().expect("f16")),
            DType::BF16 => Tensor::new(device, &shape, host.into_vec::<bf16>().expect("bf16")),
            _ => Tensor::new(device, &shape, host.into_vec::<f32>().expect("f32")),
        };
        made.map_err(|e| e.to_string())
    };
    Ok(Parameter {
        value: again(value)?,
        state: AdamWState {
            step: state.step,
            first: again(&state.first)?,
            second: again(&state.second)?,
            largest: state.largest.as_ref().map(again).transpose()?,
            master: state.master.as_ref().map(again).transpose()?,
        },
    })
}

/// Twenty steps in one go, and with a stop after seven.
fn resumed(device: &Device, options: AdamW, tensor: &dyn Fn(&Device, &[f32]) -> Tensor) -> Verdict {
    let lengths = [301, 6];
    let start = || -> Result<Vec<Parameter>, String> {
        lengths.iter().map(|&len| parameter(tensor(device, &normal("adamw/value", len)), &options)).collect()
    };
    let run = |parameters: &mut Vec<Parameter>, steps: std::ops::RangeInclusive<usize>| {
        for t in steps {
            let gradients: Vec<Tensor> =
                lengths.iter().map(|&len| tensor(device, &gradient("gradient", t, len))).collect();
            step(&options, parameters, &gradients)?;
        }
        Ok::<(), String>(())
    };
    let mut whole = start()?;
    run(&mut whole, 1..=20)?;
    let mut first = start()?;
    run(&mut first, 1..=7)?;
    let mut again = Vec::new();
    for parameter in &first {
        again.push(saved(device, parameter)?);
    }
    drop(first);
    run(&mut again, 8..=20)?;
    let bits = |tensor: &Tensor| -> Result<Vec<u32>, String> {
        Ok(wide(tensor)?.into_iter().map(f32::to_bits).collect())
    };
    for (whole, again) in whole.iter().zip(&again) {
        check_equal(&bits(&again.value)?, &bits(&whole.value)?)?;
        check_equal(&bits(&again.state.first)?, &bits(&whole.state.first)?)?;
        check_equal(&bits(&again.state.second)?, &bits(&whole.state.second)?)?;
        check_equal(&[again.state.step], &[whole.state.step])?;
    }
    Ok(())
}

fn same_bits(device: &Device) -> Verdict {
    let with = |threads: usize| -> Result<Vec<f32>, String> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        let options = AdamW { stochastic_rounding: Some(5), ..OPTIONS };
        let mut parameters =
            [parameter(bf16_tensor(device, &[70_001], &normal("adamw/value", 70_001)).0, &options)?];
        let gradients = [bf16_tensor(device, &[70_001], &normal("adamw/gradient", 70_001)).0];
        pool.install(|| step(&options, &mut parameters, &gradients))?;
        wide(&parameters[0].value)
    };
    check_equal(&with(1)?, &with(3)?)
}

fn shared_memory(device: &Device) -> Verdict {
    let options = AdamW { amsgrad: true, ..OPTIONS };
    let value = f32_tensor(device, &normal("adamw/value", 77));
    let mut parameters = [parameter(value.clone(), &options)?];
    let gradients = [f32_tensor(device, &normal("adamw/gradient", 77))];
    step(&options, &mut parameters, &gradients)?;
    check_equal(&floats(&value)?, &normal("adamw/value", 77))?;
    let kept = parameters[0].clone();
    let all = |p: &Parameter| -> Result<Vec<Vec<f32>>, String> {
        let largest = p.state.largest.as_ref().ok_or("no largest second moment")?;
        [&p.value, &p.state.first, &p.state.second, largest].into_iter().map(floats).collect()
    };
    let before = all(&kept)?;
    step(&options, &mut parameters, &gradients)?;
    check_equal(&all(&kept)?, &before)?;
    let after = all(&parameters[0])?;
    if after.iter().zip(&before).any(|(after, before)| after == before) {
        return Err("a step that changes nothing".to_owned());
    }
    check_equal(&floats(&gradients[0])?, &normal("adamw/gradient", 77))
}

fn nan_stays(device: &Device) -> Verdict {
    let options = AdamW { amsgrad: true, ..OPTIONS };
    let mut gradient = normal("adamw/gradient", 21);
    gradient[6] = f32::NAN;
    let mut parameters = [parameter(f32_tensor(device, &normal("adamw/value", 21)), &options)?];
    step(&options, &mut parameters, &[f32_tensor(device, &gradient)])?;
    for tensor in [&parameters[0].value, &parameters[0].state.first, &parameters[0].state.second] {
        let values = floats(tensor)?;
        if let Some(i) = (0..21).find(|&i| values[i].is_nan() != (i == 6)) {
            return Err(format!("element {i} is {}", values[i]));
        }
    }
    Ok(())
}

fn no_parameters(device: &Device) -> Verdict {
    step(&OPTIONS, &mut [], &[])?;
    let mut parameters = [parameter(Tensor::zeros::<f32>(device, &[0, 3]), &OPTIONS)?];
    step(&OPTIONS, &mut parameters, &[Tensor::zeros::<f32>(device, &[0, 3])])?;
    check_equal(parameters[0].value.shape(), &[0, 3])
}

fn numbers(device: &Device) -> Verdict {
    let new = |options| Parameter::new(f32_tensor(device, &[1.0]), &options);
    for wrong in [-1.0, f64::NAN, f64::INFINITY] {
        expect_error(new(AdamW { lr: wrong, ..OPTIONS }), "`lr` must be a finite number from 0 on, got")?;
        expect_error(new(AdamW { eps: wrong, ..OPTIONS }), "`eps` must be a finite number from 0 on, got")?;
        let decay = new(AdamW { weight_decay: wrong, ..OPTIONS });
        expect_error(decay, "`weight_decay` must be a finite number from 0 on, got")?;
    }
    for betas in [[1.0, 0.9], [0.9, 1.0], [-0.1, 0.9], [0.9, f64::NAN]] {
        expect_error(new(AdamW { betas, ..OPTIONS }), "`betas` must be from 0 to below 1, got")?;
    }
    let mut parameters = [parameter(f32_tensor(device, &[1.0]), &OPTIONS)?];
    let gradient = f32_tensor(device, &[1.0]);
    let wrong = AdamW { lr: -1.0, ..OPTIONS };
    expect_error(adamw(&wrong, &mut parameters, &[&gradient]), "`lr` must be")?;
    check_equal(&[parameters[0].state.step], &[0])
}

fn count(device: &Device) -> Verdict {
    let mut parameters = [parameter(f32_tensor(device, &[1.0]), &OPTIONS)?];
    expect_error(
        adamw(&OPTIONS, &mut parameters, &[]),
        "`gradients` must be as many as the 1 parameters, got 0",
    )
}

fn shapes(device: &Device) -> Verdict {
    let zeros = |len| Tensor::zeros::<f32>(device, &[len]);
    let start = parameter(zeros(3), &AdamW { amsgrad: true, ..OPTIONS })?;
    let run = |change: fn(&mut AdamWState, Tensor), gradient: Tensor| {
        let mut parameters = [start.clone(), start.clone()];
        change(&mut parameters[1].state, zeros(4));
        adamw(&OPTIONS, &mut parameters, &[&zeros(3), &gradient])
    };
    expect_error(run(|_, _| {}, zeros(4)), "`gradient` must be [3] as parameter 1, got [4]")?;
    expect_error(run(|state, t| state.first = t, zeros(3)), "`first` must be [3] as parameter 1, got [4]")?;
    expect_error(run(|state, t| state.second = t, zeros(3)), "`second` must be [3] as parameter 1, got [4]")?;
    let largest = run(|state, t| state.largest = Some(t), zeros(3));
    expect_error(largest, "`largest` must be [3] as parameter 1, got [4]")
}

fn dtypes(device: &Device) -> Verdict {
    let whole = Tensor::zeros::<i32>(device, &[3]);
    let zeros = || Tensor::zeros::<f32>(device, &[3]);
    expect_error(Parameter::new(whole.clone(), &OPTIONS), "`value` must hold f32")?;
    let start = parameter(zeros(), &OPTIONS)?;
    let mut parameters = [start.clone()];
    expect_error(adamw(&OPTIONS, &mut parameters, &[&whole]), "`gradient` must hold f32")?;
    parameters[0].state.second = whole;
    expect_error(adamw(&OPTIONS, &mut parameters, &[&zeros()]), "`second` must hold f32, got i32")?;
    let narrow = match device.gpu() {
        None => bf16_tensor(device, &[3], &[0.0; 3]).0,
        Some(gpu) if gpu.capabilities().f16 => f16_tensor(device, &[3], &[0.0; 3]).0,
        Some(_) => return Ok(()),
    };
    expect_error(adamw(&OPTIONS, &mut [start], &[&narrow]), "`gradient` must hold the dtype of its parameter")
}

fn states(device: &Device) -> Verdict {
    let zeros = || Tensor::zeros::<f32>(device, &[3]);
    let amsgrad = AdamW { amsgrad: true, ..OPTIONS };
    let mut parameters = [parameter(zeros(), &OPTIONS)?];
    expect_error(
        adamw(&amsgrad, &mut parameters, &[&zeros()]),
        "`largest` must be a tensor for amsgrad, got none for parameter 0, f32",
    )?;
    parameters[0].state.master = Some(zeros());
    expect_error(
        adamw(&OPTIONS, &mut parameters, &[&zeros()]),
        "`master` must be none for an f32 parameter, got one for parameter 0",
    )
}

fn bf16_without_master(device: &Device) -> Verdict {
    let stochastic = AdamW { stochastic_rounding: Some(1), ..OPTIONS };
    let (value, _) = bf16_tensor(device, &[3], &[0.0; 3]);
    let mut parameters = [parameter(value.clone(), &stochastic)?];
    expect_error(
        adamw(&OPTIONS, &mut parameters, &[&value]),
        "`master` must be a tensor for 16 bits without stochastic rounding, got none for parameter 0, bf16",
    )
}
