use super::gpu::{self, Form, Matrix};
use super::{Extents, sdpa};
use steropes_tensor::{DType, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench, f16_bench, f16_tensor};

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
        f16_heads("sdpa/f16/2048", [8, 2048, 2048, 16, 64], None),
        f16_heads("sdpa/f16/768", [2, 768, 768, 16, 64], None),
        f16_heads("sdpa/f16/mast3r_decoder", [2, 768, 768, 12, 64], None),
        f16_heads("sdpa/f16/2048/w4_r1_k64_s64", LONG, Some(cut(4, 1, 64, 64, true))),
        f16_heads("sdpa/f16/2048/w4_r1_k64_s64_scalars", LONG, Some(cut(4, 1, 64, 64, false))),
        f16_heads("sdpa/f16/2048/w4_r2_k64_s32", LONG, Some(cut(4, 2, 64, 32, true))),
        f16_heads("sdpa/f16/2048/w4_r2_k64_s32_scalars", LONG, Some(cut(4, 2, 64, 32, false))),
        f16_heads("sdpa/f16/2048/w4_r2_k32_s32", LONG, Some(cut(4, 2, 32, 32, true))),
        f16_heads("sdpa/f16/2048/w4_r1_k32_s32", LONG, Some(cut(4, 1, 32, 32, true))),
        f16_heads("sdpa/f16/2048/w2_r2_k64_s32", LONG, Some(cut(2, 2, 64, 32, true))),
        f16_heads("sdpa/f16/768/w4_r1_k64_s64", SHORT, Some(cut(4, 1, 64, 64, true))),
        f16_heads("sdpa/f16/768/w4_r1_k32_s32", SHORT, Some(cut(4, 1, 32, 32, true))),
        f16_heads("sdpa/f16/768/w2_r1_k32_s32", SHORT, Some(cut(2, 1, 32, 32, true))),
        f16_heads("sdpa/f16/768/w2_r2_k64_s32", SHORT, Some(cut(2, 2, 64, 32, true))),
    ]
}

const LONG: [usize; 5] = [8, 2048, 2048, 16, 64];
const SHORT: [usize; 5] = [2, 768, 768, 16, 64];

fn cut(subgroups: usize, row_groups: usize, keys: usize, staged: usize, vectors: bool) -> Matrix {
    Matrix { tile: 16, subgroups, row_groups, keys, staged, vectors, emulated: false }
}

/// As [`heads`] with two bytes a value; in the given cut where the device has such matrices.
fn f16_heads(
    name: &'static str,
    [batch, queries, keys, heads, head_dim]: [usize; 5],
    matrix: Option<Matrix>,
) -> Bench {
    let flops = 4.0 * (batch * heads * queries * keys * head_dim) as f64;
    let bytes = 4.0 * (batch * heads * (queries + keys) * head_dim) as f64;
    f16_bench(name, flops, bytes, move |device| {
        let tensor = |name: &str, tokens: usize| {
            let shape = [batch, tokens, heads, head_dim];
            f16_tensor(device, &shape, &uniform(name, shape.iter().product())).0
        };
        let (q, k, v) = (tensor("q", queries), tensor("k", keys), tensor("v", keys));
        let scale = 1.0 / (head_dim as f32).sqrt();
        let gpu = device.gpu().expect("f16 needs a GPU").clone();
        let form = matrix
            .filter(|m| gpu.capabilities().matrix_tile(DType::F16) == Some(m.tile as u32))
            .map(Form::Matrix);
        let extents = Extents { batch, queries, keys, heads, head_dim };
        Box::new(move || {
            let out = match form {
                Some(form) => {
                    let arguments = gpu::Arguments { q: &q, k: &k, v: &v, scale, extents };
                    gpu::sdpa_as(&gpu, form, arguments, gpu.capabilities().max_binding_bytes)
                }
                None => sdpa(&q, &k, &v, scale),
            };
            std::hint::black_box(out.expect("valid arguments"));
        })
    })
}

/// Two products of `queries x keys x head_dim` for every head; every operand once, four bytes a value.
fn heads(name: &'static str, [batch, queries, keys, heads, head_dim]: [usize; 5]) -> Bench {
    let flops = 4.0 * (batch * heads * queries * keys * head_dim) as f64;
    let bytes = 8.0 * (batch * heads * (queries + keys) * head_dim) as f64;
    bench(name, flops, bytes, move |device| {
        let tensor = |name: &str, tokens: usize| {
            let shape = [batch, tokens, heads, head_dim];
            Tensor::new(device, &shape, uniform(name, shape.iter().product()))
                .expect("as many values as the shape has")
        };
        let (q, k, v) = (tensor("q", queries), tensor("k", keys), tensor("v", keys));
        let scale = 1.0 / (head_dim as f32).sqrt();
        Box::new(move || {
            std::hint::black_box(sdpa(&q, &k, &v, scale).expect("valid arguments"));
        })
    })
}
