use super::{sdpa, sdpa_bf16};
use crate::error::OpError;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench, cpu_bench, f16_bench, f16_tensor};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        // MASt3R ViT-L at 512 x 384: 768 tokens, 16 heads in the encoder, 12 in the decoder.
        heads("sdpa/mast3r_encoder", [1, 768, 768, 16, 64]),
        heads("sdpa/mast3r_decoder", [1, 768, 768, 12, 64]),
        // The embedded network: 432 tokens, 4 heads in the encoder, 3 in the decoder.
        heads("sdpa/tiny_encoder", [1, 432, 432, 4, 64]),
        heads("sdpa/tiny_decoder", [1, 432, 432, 3, 64]),
        // Batches that fill a large GPU.
        heads("sdpa/f32/768", [2, 768, 768, 16, 64]),
        bf16_heads("sdpa/bf16/mast3r_encoder", [1, 768, 768, 16, 64]),
        bf16_heads("sdpa/bf16/mast3r_decoder", [1, 768, 768, 12, 64]),
        f16_heads("sdpa/f16/2048", [8, 2048, 2048, 16, 64]),
        f16_heads("sdpa/f16/768", [2, 768, 768, 16, 64]),
        f16_heads("sdpa/f16/mast3r_decoder", [2, 768, 768, 12, 64]),
    ]
}

/// As [`heads`] with two bytes a value.
fn f16_heads(name: &'static str, [batch, queries, keys, heads, head_dim]: [usize; 5]) -> Bench {
    let flops = 4.0 * (batch * heads * queries * keys * head_dim) as f64;
    let bytes = 4.0 * (batch * heads * (queries + keys) * head_dim) as f64;
    f16_bench(name, flops, bytes, move |device| {
        let tensor = |name: &str, tokens: usize| {
            let shape = [batch, tokens, heads, head_dim];
            f16_tensor(device, &shape, &uniform(name, shape.iter().product())).0
        };
        let (q, k, v) = (tensor("q", queries), tensor("k", keys), tensor("v", keys));
        let scale = 1.0 / (head_dim as f32).sqrt();
        Box::new(move || {
            std::hint::black_box(sdpa(&q, &k, &v, scale).expect("valid arguments"));
        })
    })
}

/// Two products of `queries x keys x head_dim` for every head; every operand once, four bytes a value.
fn heads(name: &'static str, extents: [usize; 5]) -> Bench {
    let (flops, bytes) = work(extents);
    bench(name, flops, bytes, move |device| run(device, extents, |q, k, v, scale| sdpa(q, k, v, scale)))
}

/// As [`heads`] with products of bf16.
fn bf16_heads(name: &'static str, extents: [usize; 5]) -> Bench {
    let (flops, bytes) = work(extents);
    cpu_bench(name, flops, bytes, move |device| {
        run(device, extents, |q, k, v, scale| sdpa_bf16(q, k, v, scale))
    })
}

fn work([batch, queries, keys, heads, head_dim]: [usize; 5]) -> (f64, f64) {
    let flops = 4.0 * (batch * heads * queries * keys * head_dim) as f64;
    (flops, 8.0 * (batch * heads * (queries + keys) * head_dim) as f64)
}

fn run(
    device: &Device,
    [batch, queries, keys, heads, head_dim]: [usize; 5],
    attention: impl Fn(&Tensor, &Tensor, &Tensor, f32) -> Result<Tensor, OpError> + 'static,
) -> Box<dyn FnMut()> {
    let tensor = |name: &str, tokens: usize| {
        let shape = [batch, tokens, heads, head_dim];
        Tensor::new(device, &shape, uniform(name, shape.iter().product()))
            .expect("as many values as the shape has")
    };
    let (q, k, v) = (tensor("q", queries), tensor("k", keys), tensor("v", keys));
    let scale = 1.0 / (head_dim as f32).sqrt();
    Box::new(move || {
        std::hint::black_box(attention(&q, &k, &v, scale).expect("valid arguments"));
    })
}
