use super::super::normal;
use super::{Conv2dWeights, ConvOptions, conv2d, resized_conv2d};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::{Bench, Launch, bench, f16_bench, f16_tensor, inputs as named};

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
    const HALF_SHAPES: [(&str, Shape); 14] = [
        ("conv2d/f16/mast3r_patch_embedding", ([384, 512], [3, 1024, 16, 16, 0])),
        ("conv2d/f16/mast3r_1x1", ([24, 32], [1024, 96, 1, 1, 0])),
        ("conv2d/f16/mast3r_strided", ([24, 32], [768, 768, 3, 2, 1])),
        ("conv2d/f16/mast3r_layer1_rn", ([96, 128], [96, 256, 3, 1, 1])),
        ("conv2d/f16/mast3r_layer4_rn", ([12, 16], [768, 256, 3, 1, 1])),
        ("conv2d/f16/mast3r_unit_24x32", ([24, 32], [256, 256, 3, 1, 1])),
        ("conv2d/f16/mast3r_unit_48x64", ([48, 64], [256, 256, 3, 1, 1])),
        ("conv2d/f16/mast3r_unit_96x128", ([96, 128], [256, 256, 3, 1, 1])),
        ("conv2d/f16/mast3r_out_192x256", ([192, 256], [256, 256, 1, 1, 0])),
        ("conv2d/f16/mast3r_head_0", ([192, 256], [256, 128, 3, 1, 1])),
        ("conv2d/f16/mast3r_head_2", ([384, 512], [128, 128, 3, 1, 1])),
        ("conv2d/f16/mast3r_head_4", ([384, 512], [128, 4, 1, 1, 0])),
        ("conv2d/f16/small_unit_144x192", ([144, 192], [64, 64, 3, 1, 1])),
        ("conv2d/f16/small_head_2", ([288, 384], [32, 32, 3, 1, 1])),
    ];
    let whole = SHAPES.into_iter().map(|(name, shape)| benched(name, shape));
    let half = HALF_SHAPES.into_iter().map(|(name, shape)| half_benched(name, shape));
    whole.chain(half).chain(resized_benches()).collect()
}

/// Ends of heads: the published network's and the small one's.
fn resized_benches() -> [Bench; 3] {
    [
        ("conv2d/resized/mast3r_head_0", [96, 128], [256, 128], None),
        ("conv2d/resized/mast3r_head_2_4", [192, 256], [128, 128], Some(4)),
        ("conv2d/resized/small_head_2_4", [144, 192], [32, 32], Some(4)),
    ]
    .map(|(name, extents, channels, last)| resized_bench(name, extents, channels, last))
}

/// An image resized to twice its sides. Operations of the direct form without those of the resizing; each operand is read once.
fn resized_bench(
    name: &'static str,
    [height, width]: [usize; 2],
    [inputs, between]: [usize; 2],
    last: Option<usize>,
) -> Bench {
    let size = [2 * height, 2 * width];
    let [flops, _] = work((size, [inputs, between, 3, 1, 1]));
    let [last_flops, _] = last.map_or([0.0; 2], |last| work((size, [between, last, 1, 1, 0])));
    let outputs = last.unwrap_or(between);
    let values = height * width * inputs + 9 * inputs * between + 4 * height * width * outputs;
    bench(name, flops + last_flops, 4.0 * values as f64, move |device| {
        let packed = |shape: &[usize], padding| {
            let bias = normal(device, "bias", &shape[..1]);
            Conv2dWeights::pack(&normal(device, "weight", shape), Some(&bias), 1, padding)
                .expect("the shapes fit")
        };
        let convolution = packed(&[between, inputs, 3, 3], 1);
        let pointwise = last.map(|last| packed(&[last, between, 1, 1], 0));
        let x = normal(device, "x", &[1, height, width, inputs]);
        Box::new(move || {
            let y = resized_conv2d(&x, size, &convolution, pointwise.as_ref()).expect("the shapes fit");
            drop(std::hint::black_box(y));
        })
    })
}

/// What a convolution multiplies and moves: operations, and values that are read or written.
fn work(([height, width], g): Shape) -> [f64; 2] {
    let [inputs, outputs, kernel, stride, padding] = g;
    let out = |n: usize| (n + 2 * padding - kernel) / stride + 1;
    let pixels = (out(height) * out(width)) as f64;
    let weights = (inputs * outputs * kernel * kernel) as f64;
    [2.0 * pixels * weights, (height * width * inputs) as f64 + weights + pixels * outputs as f64]
}

/// Operations of the direct form, so that Winograd may exceed the peak; each operand is read once.
fn benched(name: &'static str, shape: Shape) -> Bench {
    let [flops, values] = work(shape);
    bench(name, flops, 4.0 * values, move |device| launch(device, shape, normal))
}

fn half_benched(name: &'static str, shape: Shape) -> Bench {
    let [flops, values] = work(shape);
    f16_bench(name, flops, 2.0 * values, move |device| {
        launch(device, shape, |device, name, shape| {
            f16_tensor(device, shape, &named::normal(name, shape.iter().product())).0
        })
    })
}

fn launch(device: &Device, shape: Shape, make: fn(&Device, &str, &[usize]) -> Tensor) -> Launch {
    let ([height, width], [inputs, outputs, kernel, stride, padding]) = shape;
    let weight = make(device, "weight", &[outputs, inputs, kernel, kernel]);
    let bias = normal(device, "bias", &[outputs]);
    let weights = Conv2dWeights::pack(&weight, Some(&bias), stride, padding).expect("the shapes fit");
    let x = make(device, "x", &[1, height, width, inputs]);
    Box::new(move || {
        let y = conv2d(&x, &weights, ConvOptions::default()).expect("the shapes fit");
        drop(std::hint::black_box(y));
    })
}
