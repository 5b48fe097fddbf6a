//! Every case of every op, one libtest trial per case and device.

use libtest_mimic::{Arguments, Trial};
use steropes_tensor::Device;

fn main() {
    let trials = steropes_ops::cases()
        .into_iter()
        .map(|case| {
            let device = Device::cpu();
            Trial::test(format!("{}/{}", device.name(), case.name), move || {
                (case.run)(&device).map_err(Into::into)
            })
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
