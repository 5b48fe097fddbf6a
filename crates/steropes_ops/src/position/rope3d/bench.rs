use super::{Rope3dAngles, Rope3dRounding, rope3d_heads, rope3d_tables};
use half::f16;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, Launch, bench, f16_bench};

/// A clip: tubelets, rows, columns, and the heads of one part of q, k and v.
type Clip = ([usize; 3], usize, usize);

/// 16 frames of 256 x 256 through V-JEPA 2 ViT-L: 2048 tokens, 16 heads.
const LARGE: Clip = ([8, 16, 16], 16, 64);
/// The same through ViT-H.
const HUGE: Clip = ([8, 16, 16], 16, 80);
/// Its mask predictor.
const PREDICTOR: Clip = ([8, 16, 16], 12, 32);

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        clip("rope3d/vjepa2_large_16f_256", LARGE),
        clip("rope3d/vjepa2_huge_16f_256", HUGE),
        clip("rope3d/vjepa2_predictor_16f_256", PREDICTOR),
        f16_clip("rope3d/f16/vjepa2_large_16f_256", LARGE),
        f16_clip("rope3d/f16/vjepa2_huge_16f_256", HUGE),
        f16_clip("rope3d/f16/vjepa2_large_64f_384", ([32, 24, 24], 16, 64)),
    ]
}

/// Three operations for each value of queries and keys, which is read and written once, and the tables.
fn work(([t, h, w], heads, head_dim): Clip, value_bytes: usize) -> [f64; 2] {
    let tokens = t * h * w;
    let values = (tokens * 2 * heads * head_dim) as f64;
    let tables = (tokens * head_dim * 2 * 4) as f64;
    [3.0 * values, 2.0 * value_bytes as f64 * values + tables]
}

fn clip(name: &'static str, of: Clip) -> Bench {
    let [flops, bytes] = work(of, 4);
    bench(name, flops, bytes, move |device| {
        let shape = shape(of);
        launch(device, of, Tensor::new(device, &shape, uniform("x", shape.iter().product())))
    })
}

fn f16_clip(name: &'static str, of: Clip) -> Bench {
    let [flops, bytes] = work(of, 2);
    f16_bench(name, flops, bytes, move |device| {
        let shape = shape(of);
        let token: Vec<f16> = uniform("x", shape[2] * shape[3]).into_iter().map(f16::from_f32).collect();
        launch(device, of, Tensor::new(device, &shape, token.repeat(shape[1])))
    })
}

/// Queries, keys and values side by side.
fn shape(([t, h, w], heads, head_dim): Clip) -> [usize; 4] {
    [1, t * h * w, 3 * heads, head_dim]
}

fn launch<E: std::fmt::Debug>(
    device: &Device,
    ([t, h, w], heads, head_dim): Clip,
    x: Result<Tensor, E>,
) -> Launch {
    let places: Vec<[f64; 3]> =
        (0..t * h * w).map(|i| [i / (h * w), i / w % h, i % w].map(|p| p as f64)).collect();
    let tables = rope3d_tables(device, &places, 1, head_dim, 1e4, Rope3dAngles::Tiled, Rope3dRounding::Exact);
    let tables = tables.expect("valid arguments");
    let mut x = Some(x.expect("as many values as the shape has"));
    Box::new(move || {
        let before = x.take().expect("put back by the last launch");
        x = Some(rope3d_heads(before, 0..2 * heads, &tables).expect("valid arguments"));
    })
}
