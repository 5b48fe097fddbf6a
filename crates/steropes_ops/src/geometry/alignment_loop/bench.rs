use super::{AlignmentLoop, LoopImage, LoopOptions, LoopParameters, LoopProblem, LoopStage};
use crate::geometry::sparse_alignment::PairMatches;
use steropes_tensor::Gpu;
use steropes_testkit::{Bench, Needs, bench, inputs};

/// Anchors of a 512 x 384 image.
const ANCHORS: usize = 64 * 48;
/// Matches of a pair of such images.
const MATCHES: usize = 6000;

/// Pixels, their anchors, and depths relative to them.
struct End {
    pixels: Vec<[f32; 2]>,
    anchors: Vec<u32>,
    offsets: Vec<f32>,
}

fn end(name: &str) -> End {
    let u = inputs::uniform(name, 3 * MATCHES);
    let pixel = |i: usize| [(u[i] * 0.5 + 0.5) * 511.0, (u[i + MATCHES] * 0.5 + 0.5) * 383.0];
    let pixels: Vec<[f32; 2]> = (0..MATCHES).map(pixel).collect();
    let anchors = pixels.iter().map(|p| (p[1] as usize / 8 * 64 + p[0] as usize / 8) as u32).collect();
    End { pixels, anchors, offsets: u[2 * MATCHES..].iter().map(|v| 1.0 + 0.05 * v).collect() }
}

/// Images in a circle, each matched with the `neighbours` that follow, ready to take steps.
fn prepared(gpu: &Gpu, images: usize, neighbours: usize) -> AlignmentLoop {
    let ends = [end("bench/first"), end("bench/second")];
    let weights: Vec<f32> =
        inputs::uniform("bench/weights", MATCHES).iter().map(|v| 10.0 + 5.0 * v).collect();
    let pair = |i: usize, step: usize| PairMatches {
        views: [i, (i + step) % images],
        pixels: ends.each_ref().map(|e| e.pixels.as_slice()),
        anchors: ends.each_ref().map(|e| e.anchors.as_slice()),
        offsets: ends.each_ref().map(|e| e.offsets.as_slice()),
        weights: &weights,
    };
    let pairs: Vec<_> = (0..images)
        .flat_map(|i| (1..=neighbours).map(move |step| (i, step)))
        .map(|(i, s)| pair(i, s))
        .collect();
    let constants = LoopImage {
        size: [512.0, 384.0],
        base_focal_px: 450.0,
        median_depth: 3.0,
        pivot_px: [256.0, 192.0],
        anchors: ANCHORS,
        prior_focal_px: 450.0,
        prior_center: [0.5, 0.5],
    };
    // A tree as deep as one of clusters.
    let tree: Vec<[usize; 2]> = (1..images).map(|i| [(i - 1) / 2, i]).collect();
    let problem = LoopProblem {
        images: &vec![constants; images],
        root: 0,
        tree: &tree,
        pairs: &pairs,
        matched: &[],
        targets: &[],
        target_weight: 0.0,
    };
    let mut aligner = AlignmentLoop::new(gpu, &problem).expect("the lists fit");
    let focal = 450.0f64.ln();
    let image = |i: usize| [0.0, 0.0, 0.0, 1.0, 0.01 * i as f64, 0.0, 0.0, 0.0, focal, 0.5, 0.5];
    let parameters =
        LoopParameters { images: (0..images).map(image).collect(), depths: vec![1.0; images * ANCHORS] };
    aligner.device.start(&parameters, 1).expect("the parameters fit");
    aligner
}

/// One step: cameras, losses and derivatives, and Adam.
fn step(name: &'static str, stage: LoopStage, images: usize, neighbours: usize) -> Bench {
    let matches = (images * neighbours * MATCHES) as f64;
    let (flops, bytes) = match stage {
        LoopStage::Coarse => (80.0, 40.0),
        LoopStage::Fine => (240.0, 64.0),
    };
    let options = LoopOptions {
        stage,
        moves: std::array::from_fn(|k| stage == LoopStage::Fine || k < 8),
        move_depths: stage == LoopStage::Fine,
        shared_intrinsics: false,
        focal_prior: 0.0,
        principal_prior: 0.0,
    };
    let new = move |device: &steropes_tensor::Device| {
        let aligner = prepared(device.gpu().expect("the bench needs a GPU"), images, neighbours);
        let launch: Box<dyn FnMut()> = Box::new(move || {
            aligner.device.forward().expect("the device works");
            let step = super::gpu::Step::new(0, 1, 1e-5);
            aligner.device.iteration(&options, Some(step), 0).expect("the device works");
        });
        launch
    };
    Bench { needs: Needs::Gpu, ..bench(name, flops * matches, bytes * matches, new) }
}

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        step("alignment/100x1000x6m/coarse", LoopStage::Coarse, 100, 10),
        step("alignment/100x1000x6m/fine", LoopStage::Fine, 100, 10),
        step("alignment/10x20x120k/coarse", LoopStage::Coarse, 10, 2),
        step("alignment/10x20x120k/fine", LoopStage::Fine, 10, 2),
    ]
}
