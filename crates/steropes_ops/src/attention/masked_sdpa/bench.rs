use super::{Attended, Mask, Segments, sdpa_backward, sdpa_masked};
use half::f16;
use steropes_tensor::{Device, Element, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, Launch, bench, f16_bench};

/// Batch, tokens, heads and heads of keys.
const SHAPE: [usize; 4] = [2, 2048, 16, 16];
/// As Llama 3 8B: 32 heads of 128 with 8 of keys.
const GROUPED: [usize; 4] = [1, 2048, 32, 8];

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        forward("sdpa_masked/causal_2x2048x16x64", SHAPE, 64),
        forward("sdpa_masked/causal_2x2048x16x128", SHAPE, 128),
        forward("sdpa_masked/causal_1x2048x32_8x128", GROUPED, 128),
        backward("sdpa_backward/causal_2x2048x16x64", SHAPE, 64),
        backward("sdpa_backward/causal_2x2048x16x128", SHAPE, 128),
        backward("sdpa_backward/causal_1x2048x32_8x128", GROUPED, 128),
        ragged("sdpa_masked/ragged_8192x16x64", false),
        ragged("sdpa_backward/ragged_8192x16x64", true),
        f16_forward("sdpa_masked/f16/causal_2x2048x16x64", SHAPE, 64),
        f16_forward("sdpa_masked/f16/causal_2x2048x16x128", SHAPE, 128),
        f16_backward("sdpa_backward/f16/causal_2x2048x16x64", SHAPE, 64),
        f16_backward("sdpa_backward/f16/causal_2x2048x16x128", SHAPE, 128),
    ]
}

/// Two products of half of all pairs.
fn forward_flops([batch, tokens, heads, _]: [usize; 4], head_dim: usize) -> f64 {
    4.0 * (batch * heads * tokens * (tokens + 1) / 2 * head_dim) as f64
}

/// Scores, gradients of weights, and three products with them: five where the forward pass has two.
fn backward_flops(shape: [usize; 4], head_dim: usize) -> f64 {
    2.5 * forward_flops(shape, head_dim)
}

/// Values of queries and of keys.
fn lengths([batch, tokens, heads, kv_heads]: [usize; 4], head_dim: usize) -> [f64; 2] {
    [heads, kv_heads].map(|heads| (batch * tokens * heads * head_dim) as f64)
}

/// Queries, keys and values are read, the result is written, in `size` bytes each.
fn forward_bytes(shape: [usize; 4], head_dim: usize, size: f64) -> f64 {
    let [q, k] = lengths(shape, head_dim);
    size * (2.0 * q + 2.0 * k)
}

/// Queries, the result and its gradient are read and that of the queries written; keys and values are read and their gradients
/// written.
fn backward_bytes(shape: [usize; 4], head_dim: usize, size: f64) -> f64 {
    let [q, k] = lengths(shape, head_dim);
    size * (4.0 * q + 4.0 * k)
}

fn forward(name: &'static str, shape: [usize; 4], d: usize) -> Bench {
    bench(name, forward_flops(shape, d), forward_bytes(shape, d, 4.0), move |device| {
        launch_forward(device, shape, d, |x| x)
    })
}

fn f16_forward(name: &'static str, shape: [usize; 4], d: usize) -> Bench {
    f16_bench(name, forward_flops(shape, d), forward_bytes(shape, d, 2.0), move |device| {
        launch_forward(device, shape, d, f16::from_f32)
    })
}

fn backward(name: &'static str, shape: [usize; 4], d: usize) -> Bench {
    bench(name, backward_flops(shape, d), backward_bytes(shape, d, 4.0), move |device| {
        launch_backward(device, shape, d, |x| x)
    })
}

fn f16_backward(name: &'static str, shape: [usize; 4], d: usize) -> Bench {
    f16_bench(name, backward_flops(shape, d), backward_bytes(shape, d, 2.0), move |device| {
        launch_backward(device, shape, d, f16::from_f32)
    })
}

/// Queries, keys, values and the gradient of the result.
fn inputs<T: Element>(device: &Device, shape: [usize; 4], d: usize, to: fn(f32) -> T) -> [Tensor; 4] {
    let [batch, tokens, heads, kv_heads] = shape;
    [("q", heads), ("k", kv_heads), ("v", kv_heads), ("gradient", heads)].map(|(name, heads)| {
        let shape = [batch, tokens, heads, d];
        let values = uniform(name, shape.iter().product()).into_iter().map(to).collect();
        Tensor::new(device, &shape, values).expect("a value for each place")
    })
}

fn launch_forward<T: Element>(device: &Device, shape: [usize; 4], d: usize, to: fn(f32) -> T) -> Launch {
    let [q, k, v, _] = inputs(device, shape, d, to);
    let scale = 1.0 / (d as f32).sqrt();
    Box::new(move || {
        std::hint::black_box(sdpa_masked(&q, &k, &v, Mask::Causal, scale).expect("valid arguments"));
    })
}

fn launch_backward<T: Element>(device: &Device, shape: [usize; 4], d: usize, to: fn(f32) -> T) -> Launch {
    let [q, k, v, gradient] = inputs(device, shape, d, to);
    let scale = 1.0 / (d as f32).sqrt();
    let attended: Attended = sdpa_masked(&q, &k, &v, Mask::Causal, scale).expect("valid arguments");
    Box::new(move || {
        let gradients = sdpa_backward([&q, &k, &v], &attended, &gradient, Mask::Causal, scale);
        std::hint::black_box(gradients.expect("valid arguments"));
    })
}

/// Sixteen sequences of 32 to 992 tokens, causal.
fn ragged(name: &'static str, back: bool) -> Bench {
    let (heads, d) = (16, 64);
    let lengths = (0..16).map(|i| 32 + 64 * i);
    let sums: Vec<usize> = std::iter::once(0)
        .chain(lengths.scan(0, |sum, n| {
            *sum += n;
            Some(*sum)
        }))
        .collect();
    let tokens = sums[16];
    let pairs: usize = sums.windows(2).map(|pair| (pair[1] - pair[0]) * (pair[1] - pair[0] + 1) / 2).sum();
    let (flops, values) = (4.0 * (heads * pairs * d) as f64, (tokens * heads * d) as f64);
    let (flops, bytes) = if back { (2.5 * flops, 32.0 * values) } else { (flops, 16.0 * values) };
    bench(name, flops, bytes, move |device| {
        let [q, k, v, gradient] = inputs(device, [1, tokens, heads, heads], d, |x| x);
        let sums = sums.clone();
        let attended = {
            let mask = Mask::Segments(Segments { queries: &sums, keys: &sums, causal: true });
            sdpa_masked(&q, &k, &v, mask, 0.125).expect("valid arguments")
        };
        Box::new(move || {
            let mask = Mask::Segments(Segments { queries: &sums, keys: &sums, causal: true });
            if back {
                let gradients = sdpa_backward([&q, &k, &v], &attended, &gradient, mask, 0.125);
                std::hint::black_box(gradients.expect("valid arguments"));
            } else {
                std::hint::black_box(sdpa_masked(&q, &k, &v, mask, 0.125).expect("valid arguments"));
            }
        })
    })
}
