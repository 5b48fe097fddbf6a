use super::super::normal;
use super::{ConvTranspose2dWeights, conv_transpose2d};
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        benched("conv_transpose2d/mast3r_layer1", [24, 32, 96], 4),
        benched("conv_transpose2d/mast3r_layer2", [24, 32, 192], 2),
        benched("conv_transpose2d/small_layer1", [18, 24, 32], 4),
        benched("conv_transpose2d/small_layer2", [18, 24, 64], 2),
    ]
}

/// As many outputs as inputs.
fn benched(name: &'static str, [height, width, channels]: [usize; 3], k: usize) -> Bench {
    let values = (height * width * channels) as f64;
    let products = values * (channels * k * k) as f64;
    let weights = (channels * channels * k * k) as f64;
    bench(name, 2.0 * products, 4.0 * (values + weights + values * (k * k) as f64), move |device| {
        let weight = normal(device, "weight", &[channels, channels, k, k]);
        let bias = normal(device, "bias", &[channels]);
        let weights = ConvTranspose2dWeights::pack(&weight, &bias).expect("the shapes fit");
        let x = normal(device, "x", &[1, height, width, channels]);
        Box::new(move || {
            drop(std::hint::black_box(conv_transpose2d(&x, &weights).expect("the shapes fit")));
        })
    })
}
