//! The device layer on the GPU that `STEROPES_DEVICE` names, else on the first that the machine has; without one these tests
//! have nothing to run on and say so.

use steropes_tensor::{DType, Device, DeviceError, Gpu, Header, Kernel, Tensor, TensorError};

#[expect(clippy::print_stderr, reason = "whoever runs the tests should know what was not tested")]
fn gpu() -> Option<(Device, Gpu)> {
    let selector = std::env::var("STEROPES_DEVICE").ok();
    if selector.is_none() && Device::gpus().is_empty() {
        eprintln!("no GPU on this machine, not even a program");
        return None;
    }
    let device = Device::select(selector.as_deref().unwrap_or("gpu:0")).expect("the GPU opens");
    let gpu = device.gpu()?.clone();
    Some((device, gpu))
}

/// Adds a number to every element.
fn shift(gpu: &Gpu, tensor: &Tensor, by: u32) -> Result<(), DeviceError> {
    let body = "
struct Params { by: u32, count: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read_write> x: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x < params.count) { x[id.x] += params.by; }
}";
    let kernel = Kernel::new("shift", &Header::new(), body);
    let count = tensor.len() as u32;
    let memory = tensor.gpu_memory().expect("it is on the GPU");
    gpu.launch(&kernel, &[memory.into()], &[by, count], [count.div_ceil(64), 1, 1])
}

#[test]
fn elements_come_back_as_they_went_in() {
    let Some((device, _)) = gpu() else { return };
    for len in [1usize, 3, 4, 5, 1000] {
        let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
        assert_eq!(Tensor::new(&device, &[len], bytes.clone()).unwrap().read::<u8>().unwrap(), bytes);
        let words: Vec<i64> = (0..len).map(|i| i as i64 - 3).collect();
        assert_eq!(Tensor::new(&device, &[len], words.clone()).unwrap().into_vec::<i64>().unwrap(), words);
    }
    assert!(Tensor::zeros::<f32>(&device, &[3, 0]).read::<f32>().unwrap().is_empty());
}

#[test]
fn a_wrong_type_is_refused() {
    let Some((device, _)) = gpu() else { return };
    let t = Tensor::zeros::<f32>(&device, &[2]);
    assert_eq!(t.read::<u8>().unwrap_err().to_string(), "the tensor holds f32, it cannot be read as u8");
    assert!(t.cpu_slice::<f32>().is_none());
}

#[test]
fn work_runs_in_the_order_of_the_calls() {
    let Some((device, gpu)) = gpu() else { return };
    // Memory that is given back is given out again while launches that use it still wait.
    for round in 0..20u32 {
        let t = Tensor::new(&device, &[100], vec![round; 100]).unwrap();
        for _ in 0..20 {
            shift(&gpu, &t, 1).unwrap();
        }
        let copy = t.to_device(&Device::Cpu).unwrap();
        shift(&gpu, &t, 1000).unwrap();
        assert_eq!(copy.read::<u32>().unwrap(), [round + 20; 100]);
        assert_eq!(t.read::<u32>().unwrap(), [round + 1020; 100]);
    }
}

/// Threads that record and read at the same time each get what they asked for, while memory goes from one to another.
#[test]
fn threads_do_not_disturb_each_other() {
    let Some((device, gpu)) = gpu() else { return };
    std::thread::scope(|scope| {
        for thread in 0..6u32 {
            let (device, gpu) = (&device, &gpu);
            scope.spawn(move || {
                for round in 0..30u32 {
                    let len = 100 + 37 * thread as usize;
                    let first = 1000 * thread + round;
                    let t = Tensor::new(device, &[len], vec![first; len]).unwrap();
                    for _ in 0..round {
                        shift(gpu, &t, 3).unwrap();
                    }
                    assert_eq!(t.read::<u32>().unwrap(), vec![first + 3 * round; len]);
                    if round % 10 == thread {
                        gpu.sync().unwrap();
                    }
                }
            });
        }
    });
}

#[test]
fn checked_memory_starts_as_nan() {
    let Some((_, gpu)) = gpu() else { return };
    gpu.set_checked(true);
    let t = Tensor::on_gpu(&gpu, "test", DType::F32, &[77]).unwrap();
    assert!(t.read::<f32>().unwrap().iter().all(|v| v.is_nan()));
}

#[test]
fn running_over_the_budget_is_an_error_that_names_the_op() {
    let Some((device, gpu)) = gpu() else { return };
    gpu.set_memory_budget(Some(1 << 20));
    let small = Tensor::new(&device, &[1 << 17], vec![1f32; 1 << 17]).unwrap();
    let error = Tensor::on_gpu(&gpu, "family::op", DType::F32, &[1 << 18]).unwrap_err().to_string();
    assert!(error.starts_with("family::op: no 1048576 bytes left on"), "{error}");
    assert!(error.contains("limit 1048576") && error.contains("--memory"), "{error}");
    // What is given back can be used again, also in another size.
    drop(small);
    assert!(Tensor::on_gpu(&gpu, "family::op", DType::F32, &[1 << 18]).is_ok());
    let too_long = Tensor::new(&device, &[1 << 19], vec![1f32; 1 << 19]);
    assert!(matches!(too_long, Err(TensorError::Device(DeviceError::OutOfMemory { .. }))));
}

#[test]
fn a_kernel_that_does_not_compile_fails_every_later_read() {
    let Some((device, gpu)) = gpu() else { return };
    let t = Tensor::zeros::<u32>(&device, &[4]);
    let kernel = Kernel::new("broken", &Header::new(), "@compute @workgroup_size(1) fn main() { nonsense; }");
    gpu.launch(&kernel, &[t.gpu_memory().unwrap().into()], &[], [1; 3]).unwrap();
    let error = t.read::<u32>().unwrap_err().to_string();
    assert!(error.contains("kernel `broken` does not compile"), "{error}");
    assert!(matches!(t.read::<u32>(), Err(DeviceError::Lost { .. })));
}

#[test]
fn launches_are_timed() {
    let Some((device, gpu)) = gpu() else { return };
    if !gpu.capabilities().timestamps {
        return;
    }
    let t = Tensor::zeros::<u32>(&device, &[1000]);
    let ((), spans) = gpu.profile(|| (0..3).for_each(|_| shift(&gpu, &t, 1).unwrap())).unwrap();
    let names: Vec<_> = spans.iter().map(|s| s.name).collect();
    assert_eq!(names, ["shift"; 3]);
    assert!(spans.windows(2).all(|w| w[1].start >= w[0].start + w[0].seconds - 1e-9));
    let ((), seconds) = gpu.time(|| (0..200).for_each(|_| shift(&gpu, &t, 1).unwrap())).unwrap();
    assert!(seconds > 0.0 && seconds < 60.0, "{seconds}");
    assert_eq!(t.read::<u32>().unwrap(), [203; 1000]);
}

#[test]
fn a_text_filter_sees_every_kernel() {
    let Some((device, gpu)) = gpu() else { return };
    let t = Tensor::zeros::<u32>(&device, &[8]);
    gpu.set_text_filter(Some(std::sync::Arc::new(|name, text| {
        assert_eq!(name, "shift");
        text.replace("+= params.by", "-= params.by")
    })));
    shift(&gpu, &t, 1).unwrap();
    gpu.set_text_filter(None);
    shift(&gpu, &t, 3).unwrap();
    assert_eq!(t.read::<u32>().unwrap(), [2; 8]);
}
