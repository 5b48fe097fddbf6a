use super::{RopePairs, RopeScaling, rope, rope_tables};
use half::f16;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, Launch, bench, f16_bench};

/// Queries of Llama 2 7B and Llama 3 8B: 4096 tokens, 32 heads of 128.
const SHAPE: [usize; 4] = [1, 4096, 32, 128];
const VALUES: f64 = (4096 * 32 * 128) as f64;
/// Sines and cosines of a token.
const TABLES: f64 = (2 * 4 * 4096 * 64) as f64;

/// Three operations for each value, which is read and written once; the tables are read once.
pub(crate) fn benches() -> Vec<Bench> {
    let f32_bytes = 8.0 * VALUES + TABLES;
    let f16_bytes = 4.0 * VALUES + TABLES;
    vec![
        bench("rope/halves_1x4096x32x128", 3.0 * VALUES, f32_bytes, |device| {
            launch(device, Tensor::new(device, &SHAPE, uniform("x", VALUES as usize)), RopePairs::Halves)
        }),
        bench("rope/neighbours_1x4096x32x128", 3.0 * VALUES, f32_bytes, |device| {
            launch(device, Tensor::new(device, &SHAPE, uniform("x", VALUES as usize)), RopePairs::Neighbours)
        }),
        f16_bench("rope/f16/halves_1x4096x32x128", 3.0 * VALUES, f16_bytes, |device| {
            launch(device, Tensor::new(device, &SHAPE, halves()), RopePairs::Halves)
        }),
        f16_bench("rope/f16/neighbours_1x4096x32x128", 3.0 * VALUES, f16_bytes, |device| {
            launch(device, Tensor::new(device, &SHAPE, halves()), RopePairs::Neighbours)
        }),
    ]
}

fn halves() -> Vec<f16> {
    uniform("x", VALUES as usize).into_iter().map(f16::from_f32).collect()
}

fn launch<E: std::fmt::Debug>(device: &Device, x: Result<Tensor, E>, pairs: RopePairs) -> Launch {
    let tables = rope_tables(device, 0..SHAPE[1] as i64, SHAPE[3], 1e4, RopeScaling::None);
    let (cos, sin) = tables.expect("valid arguments");
    let mut x = Some(x.expect("as many values as the shape has"));
    Box::new(move || {
        let before = x.take().expect("put back by the last launch");
        x = Some(rope(before, &cos, &sin, None, pairs).expect("valid arguments"));
    })
}
