//! Every case of every op, one libtest trial per case and device. The CPU counts as one device for each instruction set that
//! it has, so that the forms for lesser machines are tested too. GPU launches are checked: results start as NaN, and
//! kernels are compiled with bounds checks. They are narrow too, so that small tensors have a second row of workgroups.
//!
//! The GPU is the one that `STEROPES_DEVICE` names, which must then exist, else the first that the machine has, a program
//! such as llvmpipe included.

use libtest_mimic::{Arguments, Trial};
use steropes_ops::cpu::{Isa, with_isa};
use steropes_tensor::Device;
use steropes_testkit::{Case, set_narrow};

fn main() {
    let on_cpu = Isa::available()
        .iter()
        .flat_map(|&isa| cases_for(&Device::Cpu).into_iter().map(move |case| (isa, case)))
        .map(|(isa, case)| {
            Trial::test(format!("cpu/{}/{}", isa.name(), case.name), move || {
                with_isa(isa, || (case.run)(&Device::Cpu)).map_err(Into::into)
            })
        });
    let on_gpu = gpu().into_iter().flat_map(|device| {
        let gpu = device.gpu().expect("selected as a GPU");
        gpu.set_checked(true);
        set_narrow(gpu);
        cases_for(&device).into_iter().map(move |case| {
            let device = device.clone();
            Trial::test(format!("gpu/{}", case.name), move || (case.run)(&device).map_err(Into::into))
        })
    });
    libtest_mimic::run(&Arguments::from_args(), on_cpu.chain(on_gpu).collect()).exit();
}

fn cases_for(device: &Device) -> Vec<Case> {
    let mut cases = steropes_ops::cases();
    cases.retain(|case| case.needs.met_by(device));
    cases
}

#[expect(clippy::print_stderr, reason = "whoever runs the tests should know what was not tested")]
fn gpu() -> Option<Device> {
    let device = match std::env::var("STEROPES_DEVICE") {
        Ok(selector) => Device::select(&selector).expect("the device that STEROPES_DEVICE names"),
        Err(_) if Device::gpus().is_empty() => {
            eprintln!("no GPU on this machine, not even a program: GPU kernels are not tested");
            return None;
        }
        Err(_) => Device::select("gpu:0").expect("the first GPU opens"),
    };
    device.gpu().is_some().then_some(device)
}
