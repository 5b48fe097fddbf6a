use super::{Activation, LinearWeights, Weight, linear, linear_add};
use crate::linalg::quantize::{BlockFormat, GroupedMatrix, QuantizedMatrix};
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench, bf16_tensor, cpu_bench, f16_bench, f16_tensor};

pub(crate) fn benches() -> Vec<Bench> {
    use Activation::{Gelu, Identity};
    vec![
        // MASt3R ViT-L at 512 x 384: 768 tokens of 1024 in the encoder, of 768 in the decoder.
        layer("linear/mast3r_encoder_q", [768, 1024, 1024], Identity),
        layer("linear/mast3r_encoder_fc1", [768, 1024, 4096], Gelu),
        layer("linear/mast3r_encoder_fc2", [768, 4096, 1024], Identity),
        layer("linear/mast3r_decoder_fc1", [768, 768, 3072], Gelu),
        layer("linear/mast3r_head_fc2", [768, 7168, 6400], Identity),
        sum("linear/mast3r_encoder_add_proj", [768, 1024, 1024]),
        // The embedded network: 432 tokens of 256 in the encoder, of 192 in the decoder.
        layer("linear/tiny_encoder_q", [432, 256, 256], Identity),
        layer("linear/tiny_encoder_fc1", [432, 256, 1024], Gelu),
        sum("linear/tiny_encoder_add_fc2", [432, 1024, 256]),
        layer("linear/tiny_decoder_q", [432, 192, 192], Identity),
        layer("linear/tiny_decoder_fc1", [432, 192, 768], Gelu),
        sum("linear/tiny_decoder_add_fc2", [432, 768, 192]),
        layer("linear/f32/4096", [4096, 4096, 4096], Identity),
    ]
    .into_iter()
    .chain(f16_benches())
    .chain(narrow_benches())
    .chain(int4_benches())
    .collect()
}

/// The layers of MASt3R that take the most time, one of the small network, and one row, which takes as long as reading the weights.
macro_rules! layers {
    ($form:literal) => {
        [
            (concat!("linear/", $form, "/mast3r_qkv/encoder"), [768, 1024, 3072], Activation::Identity),
            (concat!("linear/", $form, "/mast3r_fc1/encoder"), [768, 1024, 4096], Activation::Gelu),
            (concat!("linear/", $form, "/mast3r_fc2/encoder"), [768, 4096, 1024], Activation::Identity),
            (concat!("linear/", $form, "/mast3r_fc1/decoder"), [768, 768, 3072], Activation::Gelu),
            (concat!("linear/", $form, "/mast3r_features_fc2"), [768, 7168, 6400], Activation::Identity),
            (concat!("linear/", $form, "/tiny_encoder_fc1"), [432, 256, 1024], Activation::Gelu),
            (concat!("linear/", $form, "/one_row"), [1, 4096, 16384], Activation::Identity),
        ]
    };
}

/// How weights are held that take less than f32.
#[derive(Clone, Copy)]
enum Narrow {
    Bf16,
    Int8,
    Blocks(BlockFormat),
}

fn narrow_benches() -> Vec<Bench> {
    [
        (Narrow::Bf16, layers!("bf16")),
        (Narrow::Int8, layers!("int8")),
        (Narrow::Blocks(BlockFormat::Q8), layers!("q8")),
        (Narrow::Blocks(BlockFormat::Q4), layers!("q4")),
    ]
    .into_iter()
    .flat_map(|(held, layers)| layers.map(|(name, extents, then)| narrow_layer(held, name, extents, then)))
    .collect()
}

fn narrow_layer(held: Narrow, name: &'static str, extents: [usize; 3], activation: Activation) -> Bench {
    let [rows, inputs, outputs] = extents;
    let row_bytes = match held {
        Narrow::Bf16 => 2 * inputs,
        Narrow::Int8 => inputs,
        Narrow::Blocks(format) => format.row_bytes(inputs),
    };
    let saved = outputs * (4 * inputs - row_bytes);
    cpu_bench(name, flops(extents), bytes(extents) - saved as f64, move |device| {
        let x = tensor(device, "x", &[rows, inputs]);
        let bias = tensor(device, "bias", &[outputs]);
        let (shape, values) = ([outputs, inputs], uniform("weight", inputs * outputs));
        let weights = match held {
            Narrow::Bf16 => LinearWeights::pack(&bf16_tensor(device, &shape, &values).0, Some(&bias)),
            Narrow::Int8 => LinearWeights::pack(Weight::Int8(&tensor(device, "weight", &shape)), Some(&bias)),
            Narrow::Blocks(format) => {
                let blocks = QuantizedMatrix::quantize(format, shape, &values).expect("small values");
                LinearWeights::pack(&blocks, Some(&bias))
            }
        };
        let weights = weights.expect("a valid layer");
        Box::new(move || {
            std::hint::black_box(linear(&x, &weights, activation).expect("valid arguments"));
        })
    })
}

/// Four-bit weights on every device: one row, which takes as long as reading them, and many rows.
fn int4_benches() -> Vec<Bench> {
    let q4 = |name, rows| int4_layer(name, rows, None);
    vec![
        q4("linear/q4_0/4096x4096/1_row", 1),
        q4("linear/q4_0/4096x4096/8_rows", 8),
        q4("linear/q4_0/4096x4096/256_rows", 256),
        int4_layer("linear/int4_groups_128/4096x4096/1_row", 1, Some(128)),
        int4_layer("linear/int4_groups_128/4096x4096/256_rows", 256, Some(128)),
    ]
}

/// In groups of so many inputs, or in blocks; the bytes of the weights are those of blocks, 18 for 32, and groups of 128 have as many.
fn int4_layer(name: &'static str, rows: usize, group: Option<usize>) -> Bench {
    let [inputs, outputs] = [4096, 4096];
    let weight_bytes = (outputs * BlockFormat::Q4.row_bytes(inputs)) as f64;
    let bytes = weight_bytes + 4.0 * (rows * (inputs + outputs) + outputs) as f64;
    bench(name, flops([rows, inputs, outputs]), bytes, move |device| {
        let x = tensor(device, "x", &[rows, inputs]);
        let bias = tensor(device, "bias", &[outputs]);
        let (shape, values) = ([outputs, inputs], uniform("weight", inputs * outputs));
        let weights = match group {
            None => {
                let blocks =
                    QuantizedMatrix::quantize(BlockFormat::Q4, shape, &values).expect("small values");
                LinearWeights::pack(&blocks, Some(&bias))
            }
            Some(group) => {
                let groups = GroupedMatrix::quantize(group, shape, &values).expect("small values");
                LinearWeights::pack(&groups, Some(&bias))
            }
        };
        let weights = weights.expect("a valid layer");
        Box::new(move || {
            drop(std::hint::black_box(linear(&x, &weights, Activation::Identity).expect("valid arguments")));
        })
    })
}

/// The layers of MASt3R for one and two images of 512 x 384: width 1024 in the encoder, 768 in the decoder.
fn f16_benches() -> Vec<Bench> {
    use Activation::{Gelu, Identity};
    [
        ("linear/f16/4096", [4096, 4096, 4096], Identity),
        ("linear/f16/mast3r_qkv/encoder_768", [768, 1024, 3072], Identity),
        ("linear/f16/mast3r_qkv/encoder_1536", [1536, 1024, 3072], Identity),
        ("linear/f16/mast3r_qkv/decoder_768", [768, 768, 2304], Identity),
        ("linear/f16/mast3r_qkv/decoder_1536", [1536, 768, 2304], Identity),
        ("linear/f16/mast3r_proj/encoder_768", [768, 1024, 1024], Identity),
        ("linear/f16/mast3r_proj/encoder_1536", [1536, 1024, 1024], Identity),
        ("linear/f16/mast3r_proj/decoder_768", [768, 768, 768], Identity),
        ("linear/f16/mast3r_proj/decoder_1536", [1536, 768, 768], Identity),
        ("linear/f16/mast3r_fc1/encoder_768", [768, 1024, 4096], Gelu),
        ("linear/f16/mast3r_fc1/encoder_1536", [1536, 1024, 4096], Gelu),
        ("linear/f16/mast3r_fc1/decoder_768", [768, 768, 3072], Gelu),
        ("linear/f16/mast3r_fc1/decoder_1536", [1536, 768, 3072], Gelu),
        ("linear/f16/mast3r_fc2/encoder_768", [768, 4096, 1024], Identity),
        ("linear/f16/mast3r_fc2/encoder_1536", [1536, 4096, 1024], Identity),
        ("linear/f16/mast3r_fc2/decoder_768", [768, 3072, 768], Identity),
        ("linear/f16/mast3r_fc2/decoder_1536", [1536, 3072, 768], Identity),
        ("linear/f16/tiny_encoder_fc1", [432, 256, 1024], Gelu),
    ]
    .into_iter()
    .map(|(name, extents, activation)| f16_layer(name, extents, activation))
    .collect()
}

fn f16_layer(name: &'static str, extents: [usize; 3], activation: Activation) -> Bench {
    let [rows, inputs, outputs] = extents;
    f16_bench(name, flops(extents), bytes(extents) / 2.0, move |device| {
        let half =
            |name: &str, shape: &[usize]| f16_tensor(device, shape, &uniform(name, shape.iter().product())).0;
        let (x, weight) = (half("x", &[rows, inputs]), half("weight", &[outputs, inputs]));
        let bias = tensor(device, "bias", &[outputs]);
        let weights = LinearWeights::pack(&weight, Some(&bias)).expect("the shapes fit");
        Box::new(move || {
            drop(std::hint::black_box(linear(&x, &weights, activation).expect("the shapes fit")));
        })
    })
}

/// A multiply-add for every row, input and output.
fn flops([rows, inputs, outputs]: [usize; 3]) -> f64 {
    2.0 * (rows * inputs * outputs) as f64
}

/// Every operand once, four bytes a value.
fn bytes([rows, inputs, outputs]: [usize; 3]) -> f64 {
    4.0 * (rows * inputs + inputs * outputs + outputs + rows * outputs) as f64
}

fn tensor(device: &steropes_tensor::Device, name: &str, shape: &[usize]) -> Tensor {
    Tensor::new(device, shape, uniform(name, shape.iter().product()))
        .expect("as many values as the shape has")
}

fn layer(name: &'static str, extents: [usize; 3], activation: Activation) -> Bench {
    let [rows, inputs, outputs] = extents;
    bench(name, flops(extents), bytes(extents), move |device| {
        let x = tensor(device, "x", &[rows, inputs]);
        let bias = tensor(device, "bias", &[outputs]);
        let weights = LinearWeights::pack(&tensor(device, "weight", &[outputs, inputs]), Some(&bias))
            .expect("a valid layer");
        Box::new(move || {
            std::hint::black_box(linear(&x, &weights, activation).expect("valid arguments"));
        })
    })
}

fn sum(name: &'static str, extents: [usize; 3]) -> Bench {
    let [rows, inputs, outputs] = extents;
    let bytes = bytes(extents) + 4.0 * (rows * outputs) as f64;
    bench(name, flops(extents), bytes, move |device| {
        let x = tensor(device, "x", &[rows, inputs]);
        let bias = tensor(device, "bias", &[outputs]);
        let weights = LinearWeights::pack(&tensor(device, "weight", &[outputs, inputs]), Some(&bias))
            .expect("a valid layer");
        let mut residual = Some(Tensor::zeros::<f32>(device, &[rows, outputs]));
        Box::new(move || {
            let before = residual.take().expect("put back by the last launch");
            residual = Some(linear_add(before, &x, &weights).expect("valid arguments"));
        })
    })
}
