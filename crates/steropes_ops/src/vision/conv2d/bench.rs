use super::super::normal;
use super::{Conv2dWeights, ConvOptions, conv2d};
use steropes_testkit::{Bench, bench};

/// Height and width, then inputs, outputs, kernel, stride and padding.
type Shape = ([usize; 2], [usize; 5]);

pub(crate) fn benches() -> Vec<Bench> {
    const SHAPES: [(&str, Shape); 16] = [
        ("conv2d/mast3r_patch_embedding", ([384, 512], [3, 1024, 16, 16, 0])),
        ("conv2d/mast3r_1x1", ([24, 32], [1024, 96, 1, 1, 0])),
        ("conv2d/mast3r_strided", ([24, 32], [768, 768, 3, 2, 1])),
        ("conv2d/mast3r_unit_24x32", ([24, 32], [256, 256, 3, 1, 1])),
        ("conv2d/mast3r_unit_96x128", ([96, 128], [256, 256, 3, 1, 1])),
        ("conv2d/mast3r_head_0", ([192, 256], [256, 128, 3, 1, 1])),
        ("conv2d/mast3r_head_2", ([384, 512], [128, 128, 3, 1, 1])),
        ("conv2d/mast3r_head_4", ([384, 512], [128, 4, 1, 1, 0])),
        ("conv2d/small_patch_embedding", ([288, 384], [3, 256, 16, 16, 0])),
        ("conv2d/small_strided", ([18, 24], [128, 128, 3, 2, 1])),
        ("conv2d/small_layer1_rn", ([72, 96], [32, 64, 3, 1, 1])),
        ("conv2d/small_unit_72x96", ([72, 96], [64, 64, 3, 1, 1])),
        ("conv2d/small_unit_144x192", ([144, 192], [64, 64, 3, 1, 1])),
        ("conv2d/small_head_0", ([144, 192], [64, 32, 3, 1, 1])),
        ("conv2d/small_head_2", ([288, 384], [32, 32, 3, 1, 1])),
        ("conv2d/small_head_4", ([288, 384], [32, 4, 1, 1, 0])),
    ];
    SHAPES.into_iter().map(|(name, shape)| benched(name, shape)).collect()
}

/// Operations of the direct form, so that Winograd may exceed the peak; each operand is read once.
fn benched(name: &'static str, ([height, width], g): Shape) -> Bench {
    let [inputs, outputs, kernel, stride, padding] = g;
    let out = |n: usize| (n + 2 * padding - kernel) / stride + 1;
    let pixels = (out(height) * out(width)) as f64;
    let weights = (inputs * outputs * kernel * kernel) as f64;
    let bytes = 4.0 * ((height * width * inputs) as f64 + weights + pixels * outputs as f64);
    bench(name, 2.0 * pixels * weights, bytes, move |device| {
        let weight = normal(device, "weight", &[outputs, inputs, kernel, kernel]);
        let bias = normal(device, "bias", &[outputs]);
        let weights = Conv2dWeights::pack(&weight, Some(&bias), stride, padding).expect("the shapes fit");
        let x = normal(device, "x", &[1, height, width, inputs]);
        Box::new(move || {
            let y = conv2d(&x, &weights, ConvOptions::default()).expect("the shapes fit");
            drop(std::hint::black_box(y));
        })
    })
}
