use super::rope2d;
use half::f16;
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench, f16_bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        // MASt3R ViT-L at 512 x 384: 24 x 32 tokens, 16 heads in the encoder, 12 in the decoder.
        grid("rope2d/mast3r_encoder", [24, 32], 16, 64),
        grid("rope2d/mast3r_decoder", [24, 32], 12, 64),
        // The embedded network: 18 x 24 tokens, 4 heads in the encoder.
        grid("rope2d/tiny_encoder", [18, 24], 4, 64),
        f16_grid("rope2d/f16/mast3r_encoder", [24, 32], 16, 64),
        f16_grid("rope2d/f16/mast3r_decoder", [24, 32], 12, 64),
        f16_grid("rope2d/f16/65536x16x64", [256, 256], 16, 64),
    ]
}

/// Three operations for each value, which is read and written once.
fn grid(name: &'static str, [rows, columns]: [usize; 2], heads: usize, head_dim: usize) -> Bench {
    let tokens = rows * columns;
    let values = (tokens * heads * head_dim) as f64;
    bench(name, 3.0 * values, 8.0 * values, move |device| {
        let shape = [1, tokens, heads, head_dim];
        let x = Tensor::new(device, &shape, uniform("x", shape.iter().product()))
            .expect("as many values as the shape has");
        let positions = (0..tokens).flat_map(|t| [(t / columns) as u32, (t % columns) as u32]).collect();
        let positions = Tensor::new(device, &[1, tokens, 2], positions).expect("two values a token");
        let mut x = Some(x);
        Box::new(move || {
            let before = x.take().expect("put back by the last launch");
            x = Some(rope2d(before, &positions, 100.0).expect("valid arguments"));
        })
    })
}

/// As [`grid`], with half the bytes.
fn f16_grid(name: &'static str, [rows, columns]: [usize; 2], heads: usize, head_dim: usize) -> Bench {
    let tokens = rows * columns;
    let values = (tokens * heads * head_dim) as f64;
    f16_bench(name, 3.0 * values, 4.0 * values, move |device| {
        let token: Vec<f16> = uniform("x", heads * head_dim).into_iter().map(f16::from_f32).collect();
        let x = Tensor::new(device, &[1, tokens, heads, head_dim], token.repeat(tokens))
            .expect("as many values as the shape has");
        let positions = (0..tokens).flat_map(|t| [(t / columns) as u32, (t % columns) as u32]).collect();
        let positions = Tensor::new(device, &[1, tokens, 2], positions).expect("two values a token");
        let mut x = Some(x);
        Box::new(move || {
            let before = x.take().expect("put back by the last launch");
            x = Some(rope2d(before, &positions, 100.0).expect("valid arguments"));
        })
    })
}
