use super::{add, reference};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, cpu_case, expect_error, f16_case, f16_tensor,
    floats, gpu_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("add/oracle/one_value", |d| against_oracle(d, &[1])),
        case("add/oracle/no_axes", |d| against_oracle(d, &[])),
        case("add/oracle/odd_sizes", |d| against_oracle(d, &[3, 5, 7])),
        case("add/oracle/several_tasks", |d| against_oracle(d, &[97, 1013])),
        case("add/oracle/full_workgroups", |d| against_oracle(d, &[3, 8192])),
        case("add/oracle/mast3r_encoder", |d| against_oracle(d, &[1, 768, 1024])),
        f16_case("add/f16/odd_sizes", |d| f16_against_oracle(d, &[3, 5, 7])),
        f16_case("add/f16/full_workgroups", |d| f16_against_oracle(d, &[3, 8192])),
        f16_case("add/f16/tiny_encoder", |d| f16_against_oracle(d, &[432, 256])),
        cpu_case("add/f64/several_tasks", f64_is_added_in_f64),
        gpu_case("add/error/dtypes_differ", |d| {
            let (x, y) = (random(d, "add/x", &[3]), Tensor::zeros::<half::f16>(d, &[3]));
            expect_error(add(x, &y), "`y` must hold f32")
        }),
        gpu_case("add/error/devices_differ", |d| {
            let (x, y) = (random(d, "add/x", &[3]), random(&Device::Cpu, "add/y", &[3]));
            expect_error(add(x, &y), "`y` must be on")
        }),
        case("add/property/order_is_free", order_is_free),
        case("add/property/shared_memory_is_not_changed", shared_memory_is_not_changed),
        case("add/property/unshared_memory_is_reused", unshared_memory_is_reused),
        case("add/property/nothing", nothing),
        case("add/error/shape", shape),
        case("add/error/x_dtype", x_dtype),
        case("add/error/y_dtype", y_dtype),
    ]
}

fn random(device: &Device, name: &str, shape: &[usize]) -> Tensor {
    Tensor::new(device, shape, normal(name, shape.iter().product())).expect("a test's shape fits its values")
}

fn values(x: Tensor, y: &Tensor) -> Result<Vec<f32>, String> {
    let shape = x.shape().to_vec();
    let sum = add(x, y).map_err(|e| e.to_string())?;
    check_equal(sum.shape(), &shape)?;
    sum.read::<f32>().map_err(|e| e.to_string())
}

fn against_oracle(device: &Device, shape: &[usize]) -> Verdict {
    let (x, y) = (random(device, "add/x", shape), random(device, "add/y", shape));
    let want = reference::add(&x.read::<f32>().unwrap(), &y.read::<f32>().unwrap());
    let apart = values(x.clone(), &y)?;
    check_close(&apart, &want, Tolerance::Exact)?;
    check_equal(&values(x, &y)?, &apart)
}

fn f16_against_oracle(device: &Device, shape: &[usize]) -> Verdict {
    let len = shape.iter().product();
    let (x, xs) = f16_tensor(device, shape, &normal("add/x", len));
    let (y, ys) = f16_tensor(device, shape, &normal("add/y", len));
    let want = reference::add(&xs, &ys);
    let apart = floats(&add(x.clone(), &y).map_err(|e| e.to_string())?)?;
    check_close(&apart, &want, Tolerance::OfLargest(5e-4))?;
    check_equal(&floats(&add(x, &y).map_err(|e| e.to_string())?)?, &apart)
}

fn f64_is_added_in_f64(device: &Device) -> Verdict {
    let [x, y] = ["add/x", "add/y"].map(|name| normal(name, 40_000).into_iter().map(|v| f64::from(v) / 3.0));
    let want: Vec<f64> = x.clone().zip(y.clone()).map(|(x, y)| x + y).collect();
    let [x, y] = [x, y].map(|v| Tensor::new(device, &[40_000], v.collect::<Vec<f64>>()).expect("as many"));
    let sum = add(x, &y).map_err(|e| e.to_string())?;
    check_equal(&sum.read::<f64>().map_err(|e| e.to_string())?, &want)
}

fn order_is_free(device: &Device) -> Verdict {
    let (x, y) = (random(device, "add/x", &[5, 9]), random(device, "add/y", &[5, 9]));
    check_equal(&values(x.clone(), &y)?, &values(y, &x)?)
}

fn shared_memory_is_not_changed(device: &Device) -> Verdict {
    let x = random(device, "add/x", &[5, 9]);
    let before = x.read::<f32>().unwrap();
    values(x.clone(), &x)?;
    check_equal(&x.read::<f32>().unwrap(), &before)
}

fn unshared_memory_is_reused(device: &Device) -> Verdict {
    let (x, y) = (random(device, "add/x", &[5, 9]), random(device, "add/y", &[5, 9]));
    let Some(address) = x.cpu_slice::<f32>().map(<[f32]>::as_ptr) else {
        return Ok(()); // Not host memory: the address is the device's own affair.
    };
    let sum = add(x, &y).map_err(|e| e.to_string())?;
    check_equal(&[sum.cpu_slice::<f32>().map(<[f32]>::as_ptr)], &[Some(address)])
}

fn nothing(device: &Device) -> Verdict {
    let empty = Tensor::zeros::<f32>(device, &[2, 0]);
    check_equal(&values(empty.clone(), &empty)?, &[])
}

fn shape(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[2, 3]);
    expect_error(add(x, &Tensor::zeros::<f32>(device, &[3, 2])), "`y` must be [2, 3], got [3, 2]")
}

fn x_dtype(device: &Device) -> Verdict {
    let x = Tensor::zeros::<u32>(device, &[2]);
    expect_error(add(x, &Tensor::zeros::<f32>(device, &[2])), "`x` must hold f32")
}

fn y_dtype(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[2]);
    expect_error(add(x, &Tensor::zeros::<u8>(device, &[2])), "`y` must hold f32")
}
