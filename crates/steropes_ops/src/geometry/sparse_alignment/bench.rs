use super::{
    PairMatches, PinholeGradient, PinholeView, Precision, RigidGradient, RigidView, SparseAlignment,
    ViewShape,
};
use steropes_testkit::{Bench, Launch, Needs, bench, inputs};

const ANCHORS: usize = 64 * 48;
/// Matches of a pair of 512x384 images.
const MATCHES: usize = 6000;

/// Images in a row, each matched with all others.
fn scene(count: usize) -> (SparseAlignment, Vec<PinholeView>, Vec<f64>) {
    let u = inputs::uniform("bench", 4 * MATCHES);
    let pixel = |i: usize| [(u[i] * 0.5 + 0.5) * 511.0, (u[i + MATCHES] * 0.5 + 0.5) * 383.0];
    let mut pixels: Vec<[f32; 2]> = (0..MATCHES).map(pixel).collect();
    pixels.sort_by_key(|p| (p[1] as usize / 8, p[0] as usize / 8));
    let anchors: Vec<u32> =
        pixels.iter().map(|p| (p[1] as usize / 8 * 64 + p[0] as usize / 8) as u32).collect();
    let offsets: Vec<f32> = u[2 * MATCHES..3 * MATCHES].iter().map(|v| 1.0 + 0.05 * v).collect();
    let weights: Vec<f32> = u[3 * MATCHES..].iter().map(|v| 10.0 + 5.0 * v).collect();
    let mut pairs = Vec::new();
    for b in 0..count {
        for a in 0..b {
            pairs.push(PairMatches {
                views: [a, b],
                pixels: [&pixels; 2],
                anchors: [&anchors; 2],
                offsets: [&offsets; 2],
                weights: &weights,
            });
        }
    }
    let shapes = vec![ViewShape { anchors: ANCHORS, observes: true }; count];
    let view = |i: usize| PinholeView {
        rotation: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        center: [0.1 * i as f64, 0.0, 0.0],
        focal_px: 450.0,
        principal_px: [256.0, 192.0],
        relief: 1.0,
    };
    let op = SparseAlignment::new(&shapes, &pairs, Precision::Single).expect("the lists fit");
    (op, (0..count).map(view).collect(), vec![3.0; count * ANCHORS])
}

fn pairs(count: usize) -> f64 {
    (count * (count - 1) / 2 * MATCHES) as f64
}

/// A GPU runs the loop around these losses as a whole, see the benches `alignment`.
fn on_cpu(name: &'static str, flops: f64, bytes: f64, prepare: impl Fn() -> Launch + 'static) -> Bench {
    Bench { needs: Needs::Cpu, ..bench(name, flops, bytes, move |_| prepare()) }
}

fn coarse(name: &'static str, count: usize) -> Bench {
    on_cpu(name, 80.0 * pairs(count), 28.0 * pairs(count), move || {
        let (mut op, views, depths) = scene(count);
        op.freeze(&views, &depths).expect("the lists fit");
        let rigid = |v: &PinholeView| RigidView { rotation: v.rotation, center: v.center, scale: 1.0 };
        let views: Vec<_> = views.iter().map(rigid).collect();
        let mut gradient = vec![RigidGradient::default(); count];
        Box::new(move || {
            std::hint::black_box(op.coarse(&views, &mut gradient).expect("the lists fit"));
        })
    })
}

fn fine(name: &'static str, count: usize) -> Bench {
    on_cpu(name, 240.0 * pairs(count), 56.0 * pairs(count), move || {
        let (mut op, views, depths) = scene(count);
        let mut gradient = vec![PinholeGradient::default(); count];
        let mut by_depth = vec![0.0; depths.len()];
        Box::new(move || {
            let loss = op.fine(&views, &depths, &mut gradient, &mut by_depth);
            std::hint::black_box(loss.expect("the lists fit"));
        })
    })
}

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        coarse("sparse_alignment/coarse_2_images_6k", 2),
        coarse("sparse_alignment/coarse_10_images_270k", 10),
        fine("sparse_alignment/fine_2_images_6k", 2),
        fine("sparse_alignment/fine_10_images_270k", 10),
    ]
}
