use super::{
    AlignmentLoop, IMAGE_PARAMETERS, LoopImage, LoopOptions, LoopParameters, LoopProblem, LoopStage,
    reference,
};
use crate::geometry::sparse_alignment::{FrameTargets, MatchedPixel, PairMatches};
use steropes_tensor::{Device, Gpu};
use steropes_testkit::{Case, Tolerance, Verdict, check_close, check_equal, expect_error, gpu_case, inputs};

const SIDES: [usize; 2] = [40, 24];
/// Side of the blocks of one anchor.
const BLOCK: usize = 8;
const ANCHORS: usize = (SIDES[0] / BLOCK) * (SIDES[1] / BLOCK);

/// Owned lists of one pair.
#[derive(Clone)]
struct Pair {
    views: [usize; 2],
    pixels: [Vec<[f32; 2]>; 2],
    anchors: [Vec<u32>; 2],
    offsets: [Vec<f32>; 2],
    weights: Vec<f32>,
}

/// A problem with its owned lists, and parameters that f32 holds exactly.
#[derive(Clone)]
struct Scene {
    images: Vec<LoopImage>,
    root: usize,
    tree: Vec<[usize; 2]>,
    pairs: Vec<Pair>,
    matched: Vec<Vec<MatchedPixel>>,
    targets: Vec<FrameTargets>,
    parameters: LoopParameters,
}

/// Random numbers from -1 to 1, without an end.
fn source(name: &str) -> impl FnMut() -> f64 {
    let values = inputs::uniform(name, 8192);
    let mut i = 0;
    move || {
        i += 1;
        f64::from(values[i % values.len()])
    }
}

fn random_pair(views: [usize; 2], n: usize, u: &mut dyn FnMut() -> f64) -> Pair {
    let mut side = || {
        let pixel = |u: &mut dyn FnMut() -> f64| SIDES.map(|s| ((u() * 0.5 + 0.5) * s as f64) as f32);
        let pixels: Vec<[f32; 2]> = (0..n).map(|_| pixel(u)).collect();
        let cell = |v: f32, side: usize| (v as usize / BLOCK).min(side / BLOCK - 1);
        let anchor = |p: &[f32; 2]| (cell(p[1], SIDES[1]) * (SIDES[0] / BLOCK) + cell(p[0], SIDES[0])) as u32;
        let anchors = pixels.iter().map(anchor).collect();
        let offsets = (0..n).map(|_| (1.0 + 0.2 * u()) as f32).collect();
        (pixels, anchors, offsets)
    };
    let (a, b): ((_, _, Vec<f32>), (_, _, Vec<f32>)) = (side(), side());
    let weights = (0..n).map(|i| 1.0 + 0.5 * a.2[i] * b.2[n - 1 - i]).collect();
    Pair { views, pixels: [a.0, b.0], anchors: [a.1, b.1], offsets: [a.2, b.2], weights }
}

/// Random clouds that overlap, cameras side by side, along a tree; unrelated pixels are matched.
fn scene(name: &str, tree: (usize, Vec<[usize; 2]>), pairs: &[([usize; 2], usize)]) -> Scene {
    let (root, tree) = tree;
    let mut random = source(name);
    let mut u = || f64::from(random() as f32);
    let images = (0..tree.len() + 1)
        .map(|_| LoopImage {
            size: SIDES.map(|s| s as f64),
            base_focal_px: 40.0 + 4.0 * u(),
            median_depth: 3.0 + 0.5 * u(),
            pivot_px: [20.0 + u(), 12.0 + u()],
            anchors: ANCHORS,
            prior_focal_px: 40.0,
            prior_center: [0.5, 0.5],
        })
        .collect::<Vec<_>>();
    let pairs: Vec<_> = pairs.iter().map(|&(views, n)| random_pair(views, n, &mut u)).collect();
    let exact = |v: f64| f64::from(v as f32);
    let parameters = LoopParameters {
        images: images
            .iter()
            .map(|c| {
                let mut v: [f64; IMAGE_PARAMETERS] = std::array::from_fn(|_| exact(0.1 * u()));
                v[3] = exact(1.2 + 0.1 * u());
                v[4] = exact(0.4 * u());
                v[8] = c.prior_focal_px.ln() + exact(0.1 * u());
                v[9] = exact(0.5 + 0.03 * u());
                v[10] = exact(0.5 + 0.03 * u());
                v
            })
            .collect(),
        depths: (0..images.len() * ANCHORS).map(|_| exact(1.0 + 0.2 * u())).collect(),
    };
    let (matched, targets) = (vec![Vec::new(); images.len()], Vec::new());
    Scene { images, root, tree, pairs, matched, targets, parameters }
}

/// Four images, the last without matches.
fn four(name: &str, matches: [usize; 3]) -> Scene {
    let views = [[0, 1], [2, 0], [1, 2]];
    let pairs = [0, 1, 2].map(|i| (views[i], matches[i]));
    scene(name, (1, vec![[1, 0], [1, 2], [2, 3]]), &pairs)
}

/// Four images that all have matches, so that no derivative but those by the root's pose is 0.
fn connected(name: &str) -> Scene {
    let mut s = four(name, [37, 16, 5]);
    s.pairs.push(random_pair([3, 1], 20, &mut source("connected")));
    s
}

impl Scene {
    fn with_targets(mut self) -> Self {
        let mut u = source("targets");
        for pair in &self.pairs {
            for side in 0..2 {
                for (m, &pixel) in pair.pixels[side].iter().enumerate() {
                    let (anchor, offset) = (pair.anchors[side][m], pair.offsets[side][m]);
                    self.matched[pair.views[side]].push(MatchedPixel { pixel, anchor, offset });
                }
            }
        }
        let target = |(view, frame)| FrameTargets {
            view,
            frame,
            points: (0..ANCHORS).map(|_| [u() as f32, u() as f32, 3.0 + u() as f32]).collect(),
            weights: (0..ANCHORS).map(|_| 2.0 + u() as f32).collect(),
        };
        self.targets = [(0, 2), (1, 0), (0, 3)].map(target).to_vec();
        self
    }

    fn pairs(&self) -> Vec<PairMatches<'_>> {
        self.pairs
            .iter()
            .map(|p| PairMatches {
                views: p.views,
                pixels: p.pixels.each_ref().map(Vec::as_slice),
                anchors: p.anchors.each_ref().map(Vec::as_slice),
                offsets: p.offsets.each_ref().map(Vec::as_slice),
                weights: &p.weights,
            })
            .collect()
    }

    /// Calls `f` with the borrowed problem.
    fn with<T>(&self, f: impl FnOnce(&LoopProblem<'_>) -> T) -> T {
        f(&LoopProblem {
            images: &self.images,
            root: self.root,
            tree: &self.tree,
            pairs: &self.pairs(),
            matched: &self.matched,
            targets: &self.targets,
            target_weight: 0.25,
        })
    }
}

fn options(stage: LoopStage) -> LoopOptions {
    let moves = std::array::from_fn(|k| stage == LoopStage::Fine || k < 8);
    LoopOptions {
        stage,
        moves,
        move_depths: stage == LoopStage::Fine,
        shared_intrinsics: false,
        focal_prior: 0.0,
        principal_prior: 0.0,
    }
}

fn gpu(device: &Device) -> &Gpu {
    device.gpu().expect("these cases need a GPU")
}

fn new(device: &Device, scene: &Scene) -> Result<AlignmentLoop, String> {
    scene.with(|p| AlignmentLoop::new(gpu(device), p)).map_err(|e| e.to_string())
}

/// One list per kind of derivative, whose largest entries are the measure: rotations, translations, sizes, focal lengths,
/// principal points.
fn kinds(g: &LoopParameters, asked: &dyn Fn(usize) -> bool, count: usize) -> Vec<Vec<f64>> {
    [0..4, 4..7, 7..8, 8..9, 9..11]
        .into_iter()
        .filter(|k| k.end <= count)
        .map(|k| {
            (0..g.images.len()).filter(|&i| asked(i)).flat_map(|i| g.images[i][k.clone()].to_vec()).collect()
        })
        .collect()
}

/// Loss, scene and derivatives at the scene's parameters, at the images and anchors that `asked` says.
fn against_differences(
    device: &Device,
    scene: &Scene,
    options: &LoopOptions,
    (asked, tolerance): (&dyn Fn(usize) -> bool, f64),
) -> Verdict {
    let tolerance = Tolerance::OfLargest(tolerance);
    let mut device = new(device, scene)?;
    let (loss, gradient, got) = device.evaluate(options, &scene.parameters).map_err(|e| e.to_string())?;
    scene.with(|problem| {
        let p = &scene.parameters;
        let want = reference::loss(problem, options, p, p);
        check_close(&[loss as f32], &[want], Tolerance::OfLargest(2e-6)).map_err(|e| format!("loss: {e}"))?;
        check_scene(&got, &reference::scene(problem, p))?;
        let want = reference::gradient(problem, options, p, asked);
        // The coarse stage moves neither intrinsics nor depths.
        let fine = options.stage == LoopStage::Fine;
        let count = if fine { IMAGE_PARAMETERS } else { 8 };
        let names = ["rotations", "translations", "sizes", "focal lengths", "principal points"];
        for ((name, got), want) in
            names.iter().zip(kinds(&gradient, asked, count)).zip(kinds(&want, asked, count))
        {
            let got: Vec<f32> = got.iter().map(|&v| v as f32).collect();
            check_close(&got, &want, tolerance).map_err(|e| format!("{name}: {e}"))?;
        }
        if fine {
            let some = |g: &LoopParameters| -> Vec<f64> {
                (0..g.depths.len()).filter(|&i| asked(i)).map(|i| g.depths[i]).collect()
            };
            let got: Vec<f32> = some(&gradient).iter().map(|&v| v as f32).collect();
            check_close(&got, &some(&want), tolerance).map_err(|e| format!("depths: {e}"))?;
        }
        Ok(())
    })
}

fn check_scene(got: &super::LoopScene, want: &reference::Scene) -> Verdict {
    let flat = |views: &[crate::geometry::sparse_alignment::PinholeView]| -> [Vec<f64>; 3] {
        let pose = |v: &crate::geometry::sparse_alignment::PinholeView| {
            [v.rotation.as_flattened(), &v.center].concat()
        };
        [
            views.iter().flat_map(pose).collect(),
            views.iter().flat_map(|v| [v.focal_px, v.principal_px[0], v.principal_px[1]]).collect(),
            views.iter().map(|v| v.relief).collect(),
        ]
    };
    for (name, (got, want)) in
        ["poses", "intrinsics", "reliefs"].iter().zip(flat(&got.views).iter().zip(flat(&want.views)))
    {
        let got: Vec<f32> = got.iter().map(|&v| v as f32).collect();
        check_close(&got, &want, Tolerance::OfLargest(2e-6)).map_err(|e| format!("{name}: {e}"))?;
    }
    check_close(&got.depths, &want.depths, Tolerance::OfLargest(2e-6)).map_err(|e| format!("depths: {e}"))
}

fn gradient(device: &Device, scene: &Scene, stage: LoopStage) -> Verdict {
    against_differences(device, scene, &options(stage), (&|_| true, 4e-5))
}

/// Derivatives by thousands of unrelated matches nearly cancel, so that their rounding stands out.
fn gradient_of_many(device: &Device, stage: LoopStage) -> Verdict {
    let scene = four("chunks", [2049, 1, 4111]);
    against_differences(device, &scene, &options(stage), (&|_| true, 1e-4))
}

/// More matches that are drawn to targets than a workgroup has invocations.
fn gradient_of_many_targets(device: &Device) -> Verdict {
    let scene = four("many targets", [700, 1, 900]).with_targets();
    against_differences(device, &scene, &options(LoopStage::Fine), (&|_| true, 1e-4))
}

/// The first image is the smallest; in other cases it is a later one.
fn smallest_first(device: &Device) -> Verdict {
    let mut s = four("smallest first", [37, 16, 5]);
    s.parameters.images[0][7] = -0.5;
    gradient(device, &s, LoopStage::Coarse)
}

/// The smallest size is shared by all images, as it is at the start of an alignment.
fn equal_sizes(device: &Device, stage: LoopStage) -> Verdict {
    let mut s = four("ties", [37, 16, 5]);
    for p in &mut s.parameters.images {
        p[7] = 0.0;
    }
    let mut device = new(device, &s)?;
    let (_, gradient, _) = device.evaluate(&options(stage), &s.parameters).map_err(|e| e.to_string())?;
    // All sizes by one factor change nothing but the unit.
    s.with(|problem| {
        let at = |h: f64| {
            let mut p = s.parameters.clone();
            p.images.iter_mut().for_each(|p| p[7] += h);
            reference::loss(problem, &options(stage), &p, &s.parameters)
        };
        let want = (at(1e-6) - at(-1e-6)) / 2e-6;
        let sizes: Vec<f64> = gradient.images.iter().map(|g| g[7]).collect();
        let largest = sizes.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        check_close(&[sizes.iter().sum::<f64>() as f32], &[want], Tolerance::Absolute(4e-5 * largest))?;
        // The smallest one counts once per image that has it.
        let one = |i: usize, h: f64| {
            let mut p = s.parameters.clone();
            p.images[i][7] += h;
            reference::loss(problem, &options(stage), &p, &s.parameters)
        };
        // A larger size leaves the minimum to the others.
        let own: Vec<f64> = (0..4).map(|i| (one(i, 1e-7) - one(i, 0.0)) / 1e-7).collect();
        let share: Vec<f64> = sizes.iter().zip(&own).map(|(g, o)| g - o).collect();
        let equal: Vec<f64> = vec![share.iter().sum::<f64>() / 4.0; 4];
        let share: Vec<f32> = share.iter().map(|&v| v as f32).collect();
        check_close(&share, &equal, Tolerance::Absolute(1e-4 * largest))
    })
}

fn priors_and_shared_intrinsics(device: &Device) -> Verdict {
    let options = LoopOptions {
        shared_intrinsics: true,
        focal_prior: 30.0,
        principal_prior: 200.0,
        ..options(LoopStage::Fine)
    };
    against_differences(device, &four("priors", [37, 16, 5]), &options, (&|_| true, 4e-5))
}

/// A focal length at its bound has no derivative.
fn bounded_focal(device: &Device) -> Verdict {
    let mut s = four("bound", [37, 16, 5]);
    s.parameters.images[0][8] = (0.2f64 * 40.0f64.hypot(24.0)).ln();
    let mut device = new(device, &s)?;
    let (_, gradient, got) =
        device.evaluate(&options(LoopStage::Fine), &s.parameters).map_err(|e| e.to_string())?;
    check_close(&[got.views[0].focal_px as f32], &[0.25 * 40.0f64.hypot(24.0)], Tolerance::OfLargest(1e-6))?;
    check_equal(&[gradient.images[0][8]], &[0.0])
}

/// More images, children and edges than invocations, behind a long chain of parents; parents and children are met by different
/// invocations.
fn many_images(device: &Device, stage: LoopStage) -> Verdict {
    let n = 600;
    let mut tree: Vec<[usize; 2]> = (1..40).map(|i| [i - 1, i]).collect();
    tree.extend((40..340).map(|i| [20, i]));
    tree.extend((340..n).map(|i| [40 + (n - 1 - i), i]));
    let pairs: Vec<_> = (0..150).map(|i| ([i, (7 * i + 41) % n], 3 + i % 5)).collect();
    let mut s = scene("many", (0, tree), &pairs);
    // Chains add up: small turns keep all clouds near each other.
    for p in &mut s.parameters.images {
        for v in &mut p[..3] {
            *v = f64::from((0.05 * *v) as f32);
        }
        for v in &mut p[4..7] {
            *v = f64::from((0.05 * *v) as f32);
        }
    }
    against_differences(device, &s, &options(stage), (&|i| i % 90 == 3, 4e-5))
}

/// Images with more edges than invocations that add them up at once.
fn many_pairs(device: &Device, stage: LoopStage) -> Verdict {
    let pairs: Vec<_> = (0..10usize).flat_map(|a| (0..a).map(move |b| ([a, b], 2 + (a + b) % 3))).collect();
    let s = scene(
        "pairs",
        (4, vec![[4, 0], [4, 1], [0, 2], [2, 3], [3, 5], [4, 6], [6, 7], [7, 8], [7, 9]]),
        &pairs,
    );
    against_differences(device, &s, &options(stage), (&|_| true, 4e-5))
}

/// Matches in several arrays give the same bits as in one.
fn parts(device: &Device) -> Verdict {
    let s = four("parts", [2500, 300, 2049]);
    for stage in [LoopStage::Coarse, LoopStage::Fine] {
        let run = |bytes: u64| {
            let mut device = s.with(|p| AlignmentLoop::with_part_bytes(gpu(device), p, bytes))?;
            device.evaluate(&options(stage), &s.parameters)
        };
        let whole = run(u64::MAX).map_err(|e| e.to_string())?;
        let cut = run(2 * 16 * 2600).map_err(|e| e.to_string())?;
        if whole != cut {
            return Err(format!("{stage:?}: the losses are {} and {}", whole.0, cut.0));
        }
    }
    Ok(())
}

/// Parameters after a few steps, and what does not move. The pose of the root is left out: the loss does not depend on it, and
/// Adam makes whole steps of its rounding.
fn steps(device: &Device, options: &LoopOptions, scene: &Scene) -> Verdict {
    let schedule = (4, 0.01);
    let mut got = scene.parameters.clone();
    let (losses, _) = new(device, scene)?.run(options, schedule, &mut got).map_err(|e| e.to_string())?;
    check_equal(&[losses.len()], &[4])?;
    let want = scene.with(|p| reference::run(p, options, schedule, &scene.parameters));
    let flat = |p: &LoopParameters| {
        let mut images = p.images.clone();
        images[scene.root][..7].fill(0.0);
        [images.as_flattened(), &p.depths].concat()
    };
    let got: Vec<f32> = flat(&got).iter().map(|&v| v as f32).collect();
    check_close(&got, &flat(&want), Tolerance::Absolute(1e-4))
}

fn shared_steps(device: &Device) -> Verdict {
    let options = LoopOptions { shared_intrinsics: true, ..options(LoopStage::Fine) };
    steps(device, &options, &connected("steps").with_targets())
}

/// Cameras and depths belong to the last loss, as the losses of shorter runs with the same first steps say.
fn scene_before_last_step(device: &Device) -> Verdict {
    let s = four("scene", [37, 16, 5]);
    let mut device = new(device, &s)?;
    let mut p = s.parameters.clone();
    let fine = options(LoopStage::Fine);
    let (losses, one) = device.run(&fine, (1, 0.01), &mut p).map_err(|e| e.to_string())?;
    let (loss, _, start) = device.evaluate(&fine, &s.parameters).map_err(|e| e.to_string())?;
    check_equal(&[losses[0]], &[loss])?;
    let (losses, none) =
        device.run(&fine, (0, 0.01), &mut s.parameters.clone()).map_err(|e| e.to_string())?;
    check_equal(&losses, &[])?;
    if one == start && none == start { Ok(()) } else { Err("three different scenes".to_owned()) }
}

fn repeats(device: &Device) -> Verdict {
    let s = four("repeats", [2500, 300, 49]).with_targets();
    let run = |aligner: &mut AlignmentLoop| {
        let mut p = s.parameters.clone();
        let coarse = aligner.run(&options(LoopStage::Coarse), (5, 0.05), &mut p)?;
        let fine = aligner.run(&options(LoopStage::Fine), (5, 0.01), &mut p)?;
        Ok::<_, crate::OpError>((coarse, fine, p))
    };
    let mut first = new(device, &s)?;
    let a = run(&mut first).map_err(|e| e.to_string())?;
    let b = run(&mut first).map_err(|e| e.to_string())?;
    let c = run(&mut new(device, &s)?).map_err(|e| e.to_string())?;
    if a == b && a == c { Ok(()) } else { Err("three runs differ".to_owned()) }
}

/// Without any match the loss and all derivatives are 0, and nothing moves but the length of quaternions.
fn no_matches(device: &Device) -> Verdict {
    for stage in [LoopStage::Coarse, LoopStage::Fine] {
        let s = four("empty", [0; 3]);
        let mut p = s.parameters.clone();
        let (losses, _) =
            new(device, &s)?.run(&options(stage), (2, 0.1), &mut p).map_err(|e| e.to_string())?;
        check_equal(&losses, &[0.0, 0.0])?;
        check_equal(&p.depths, &s.parameters.depths)?;
        for (got, want) in p.images.iter().zip(&s.parameters.images) {
            let got: Vec<f32> = got[4..].iter().map(|&v| v as f32).collect();
            check_close(&got, &want[4..], Tolerance::OfLargest(1e-7))?;
        }
    }
    Ok(())
}

fn problem_refusals(device: &Device) -> Verdict {
    let s = four("refusals", [3, 4, 5]).with_targets();
    let try_with = |change: &dyn Fn(&mut Scene)| {
        let mut s = s.clone();
        change(&mut s);
        s.with(|p| AlignmentLoop::new(gpu(device), p).map(|_| ()))
    };
    expect_error(
        try_with(&|s| s.root = 4),
        "`tree` must be a tree over 4 images, parents first, got root 4",
    )?;
    expect_error(try_with(&|s| s.tree.swap(1, 2)), "parents first, got edge 2-3")?;
    expect_error(try_with(&|s| s.tree.truncate(2)), "parents first, got none with image 3")?;
    expect_error(try_with(&|s| s.tree[2] = [2, 1]), "parents first, got edge 2-1")?;
    expect_error(try_with(&|s| s.tree[2] = [2, 9]), "parents first, got edge 2-9")?;
    expect_error(try_with(&|s| s.pairs[0].views = [0, 0]), "geometry::alignment_loop: `views` must be two")?;
    expect_error(try_with(&|s| s.pairs[1].anchors[0][2] = 15), "`anchors` must be below 15, got 15")?;
    expect_error(try_with(&|s| s.pairs[1].weights[0] = f32::NAN), "`weights` must be finite")?;
    expect_error(try_with(&|s| s.matched.truncate(3)), "`matched` must be [4], got [3]")?;
    expect_error(try_with(&|s| s.targets[0].frame = 7), "`targets` must be two different images")?;
    expect_error(try_with(&|s| s.images[0].base_focal_px = 0.0), "`images` must be images with positive")?;
    let narrow = s.with(|p| {
        let p = LoopProblem { target_weight: f64::NAN, ..*p };
        AlignmentLoop::new(gpu(device), &p).map(|_| ())
    });
    expect_error(narrow, "`target_weight` must be finite and at least 0, got NaN")?;
    let none = LoopProblem {
        images: &[],
        root: 0,
        tree: &[],
        pairs: &[],
        matched: &[],
        targets: &[],
        target_weight: 0.0,
    };
    expect_error(AlignmentLoop::new(gpu(device), &none).map(|_| ()), "`images` must be at least 1, got 0")
}

fn call_refusals(device: &Device) -> Verdict {
    let s = four("refusals", [3, 4, 5]);
    let mut aligner = new(device, &s)?;
    let fine = options(LoopStage::Fine);
    let mut short = s.parameters.clone();
    short.depths.pop();
    expect_error(
        aligner.evaluate(&fine, &short),
        "`parameters` must be 4 images with 60 anchors, got 4 and 59",
    )?;
    short.images.pop();
    expect_error(aligner.run(&fine, (3, 0.1), &mut short), "`parameters` must be 4 images")?;
    let mut p = s.parameters.clone();
    expect_error(aligner.run(&fine, (3, f64::NAN), &mut p), "`learning_rate` must be finite, got NaN")?;
    let bad = LoopOptions { focal_prior: -1.0, ..fine };
    expect_error(aligner.evaluate(&bad, &p), "`focal_prior` must be finite and at least 0, got -1")
}

pub(crate) fn cases() -> Vec<Case> {
    use LoopStage::{Coarse, Fine};
    let odd = |targets: bool| {
        let s = four("odd", [37, 16, 5]);
        if targets { s.with_targets() } else { s }
    };
    vec![
        gpu_case("alignment_loop/gradient/coarse_odd_sizes", move |d| gradient(d, &odd(false), Coarse)),
        gpu_case("alignment_loop/gradient/fine_odd_sizes", move |d| gradient(d, &odd(false), Fine)),
        gpu_case("alignment_loop/gradient/coarse_one_match", |d| {
            gradient(d, &four("one", [1, 0, 0]), Coarse)
        }),
        gpu_case("alignment_loop/gradient/fine_one_match", |d| gradient(d, &four("one", [1, 0, 0]), Fine)),
        gpu_case("alignment_loop/gradient/fine_empty_pair", |d| {
            gradient(d, &four("empty", [17, 0, 0]), Fine)
        }),
        gpu_case("alignment_loop/gradient/coarse_many_chunks", |d| gradient_of_many(d, Coarse)),
        gpu_case("alignment_loop/gradient/fine_many_chunks", |d| gradient_of_many(d, Fine)),
        gpu_case("alignment_loop/gradient/coarse_targets", move |d| gradient(d, &odd(true), Coarse)),
        gpu_case("alignment_loop/gradient/fine_targets", move |d| gradient(d, &odd(true), Fine)),
        gpu_case("alignment_loop/gradient/fine_many_targets", gradient_of_many_targets),
        gpu_case("alignment_loop/gradient/coarse_smallest_first", smallest_first),
        gpu_case("alignment_loop/gradient/coarse_equal_sizes", |d| equal_sizes(d, Coarse)),
        gpu_case("alignment_loop/gradient/fine_equal_sizes", |d| equal_sizes(d, Fine)),
        gpu_case("alignment_loop/gradient/priors_and_shared", priors_and_shared_intrinsics),
        gpu_case("alignment_loop/gradient/bounded_focal", bounded_focal),
        gpu_case("alignment_loop/gradient/coarse_many_images", |d| many_images(d, Coarse)),
        gpu_case("alignment_loop/gradient/fine_many_images", |d| many_images(d, Fine)),
        gpu_case("alignment_loop/gradient/coarse_many_pairs", |d| many_pairs(d, Coarse)),
        gpu_case("alignment_loop/gradient/fine_many_pairs", |d| many_pairs(d, Fine)),
        gpu_case("alignment_loop/steps/coarse", |d| steps(d, &options(Coarse), &connected("steps"))),
        gpu_case("alignment_loop/steps/fine", |d| steps(d, &options(Fine), &connected("steps"))),
        gpu_case("alignment_loop/steps/shared_and_targets", shared_steps),
        gpu_case("alignment_loop/property/parts", parts),
        gpu_case("alignment_loop/property/scene_before_last_step", scene_before_last_step),
        gpu_case("alignment_loop/property/repeats", repeats),
        gpu_case("alignment_loop/property/no_matches", no_matches),
        gpu_case("alignment_loop/error/problem", problem_refusals),
        gpu_case("alignment_loop/error/calls", call_refusals),
    ]
}
