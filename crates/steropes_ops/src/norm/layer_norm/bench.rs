use super::layer_norm;
use half::f16;
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench, f16_bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        // MASt3R ViT-L at 512 x 384: 768 tokens of 1024 in the encoder, of 768 in the decoder.
        rows("layer_norm/mast3r_encoder", 768, 1024),
        rows("layer_norm/mast3r_decoder", 768, 768),
        // The embedded network: 432 tokens of 256 in the encoder.
        rows("layer_norm/tiny_encoder", 432, 256),
        f16_rows("layer_norm/f16/mast3r_encoder", 768, 1024),
        f16_rows("layer_norm/f16/mast3r_decoder", 768, 768),
        f16_rows("layer_norm/f16/tiny_encoder", 432, 256),
        f16_rows("layer_norm/f16/65536x1024", 65536, 1024),
    ]
}

/// One operation for the mean, three for the variance and four for the result; one read and one write.
fn rows(name: &'static str, rows: usize, width: usize) -> Bench {
    let values = (rows * width) as f64;
    bench(name, 8.0 * values, 8.0 * values, move |device| {
        let tensor = |name: &str, shape: &[usize]| {
            Tensor::new(device, shape, uniform(name, shape.iter().product()))
                .expect("as many values as the shape has")
        };
        let (x, weight, bias) =
            (tensor("x", &[rows, width]), tensor("weight", &[width]), tensor("bias", &[width]));
        Box::new(move || {
            std::hint::black_box(layer_norm(&x, &weight, &bias, 1e-6).expect("valid arguments"));
        })
    })
}

/// As [`rows`], with half the bytes.
fn f16_rows(name: &'static str, rows: usize, width: usize) -> Bench {
    let values = (rows * width) as f64;
    f16_bench(name, 8.0 * values, 4.0 * values, move |device| {
        let row: Vec<f16> = uniform("x", width).into_iter().map(f16::from_f32).collect();
        let x = Tensor::new(device, &[rows, width], row.repeat(rows)).expect("a value for each place");
        let parameter =
            |name: &str| Tensor::new(device, &[width], uniform(name, width)).expect("a value for each place");
        let (weight, bias) = (parameter("weight"), parameter("bias"));
        Box::new(move || {
            std::hint::black_box(layer_norm(&x, &weight, &bias, 1e-6).expect("valid arguments"));
        })
    })
}
