//! Every case of every op, one libtest trial per case and device. The CPU counts as one device for each instruction set that
//! it has, so that the forms for lesser machines are tested too.

use libtest_mimic::{Arguments, Trial};
use steropes_ops::cpu::{Isa, with_isa};
use steropes_tensor::Device;

fn main() {
    let trials = Isa::available()
        .iter()
        .flat_map(|&isa| steropes_ops::cases().into_iter().map(move |case| (isa, case)))
        .map(|(isa, case)| {
            let device = Device::cpu();
            Trial::test(format!("{}/{}/{}", device.name(), isa.name(), case.name), move || {
                with_isa(isa, || (case.run)(&device)).map_err(Into::into)
            })
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
