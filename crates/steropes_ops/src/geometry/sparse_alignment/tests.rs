use super::reference::{self, Depths};
use super::{
    FrameTargets, MatchedPixel, OpError, PairMatches, PinholeGradient, PinholeView, Precision, RigidGradient,
    RigidView, SparseAlignment, ViewShape,
};
use steropes_testkit::{Case, Tolerance, Verdict, case, check_close, expect_error, inputs};

const WIDTH: usize = 40;
const HEIGHT: usize = 24;
/// Side of the blocks of one anchor.
const BLOCK: usize = 8;
const ANCHORS: usize = (WIDTH / BLOCK) * (HEIGHT / BLOCK);

/// Owned lists of one pair.
#[derive(Clone)]
struct Pair {
    views: [usize; 2],
    pixels: [Vec<[f32; 2]>; 2],
    anchors: [Vec<u32>; 2],
    offsets: [Vec<f32>; 2],
    weights: Vec<f32>,
}

#[derive(Clone)]
struct Scene {
    shapes: Vec<ViewShape>,
    pairs: Vec<Pair>,
    views: Vec<PinholeView>,
    scales: Vec<f64>,
    /// Values that f32 holds exactly.
    depths: Vec<f64>,
    matched: Vec<Vec<MatchedPixel>>,
    targets: Vec<FrameTargets>,
}

/// Rotation by the vector `w` (Rodrigues).
fn rotation(w: [f64; 3]) -> [[f64; 3]; 3] {
    let angle = w.iter().map(|v| v * v).sum::<f64>().sqrt();
    let k = if angle > 0.0 { w.map(|v| v / angle) } else { [0.0; 3] };
    let cross = [[0.0, -k[2], k[1]], [k[2], 0.0, -k[0]], [-k[1], k[0], 0.0]];
    std::array::from_fn(|r| {
        std::array::from_fn(|c| {
            let square: f64 = (0..3).map(|i| cross[r][i] * cross[i][c]).sum();
            f64::from(r == c) + angle.sin() * cross[r][c] + (1.0 - angle.cos()) * square
        })
    })
}

/// Cameras side by side before a wall, with random pixels matched to random pixels.
fn scene(name: &str, matches: &[usize], depth_shift: f64) -> Scene {
    let count = 3;
    let value = inputs::uniform(name, 4096);
    let mut next = value.iter().cycle().map(|&v| f64::from(v));
    let mut u = || next.next().expect("a cycle has no end");
    let views: Vec<_> = (0..count)
        .map(|i| PinholeView {
            rotation: rotation([0.2 * u(), 0.2 * u(), 0.2 * u()]),
            center: [0.4 * i as f64 + 0.1 * u(), 0.1 * u(), 0.2 * u() + depth_shift * f64::from(i == 1)],
            focal_px: 35.0 + 4.0 * u(),
            principal_px: [20.0 + u(), 12.0 + u()],
            relief: 1.0 + 0.1 * u(),
        })
        .collect();
    let pairs = matches
        .iter()
        .zip([[0, 1], [2, 0], [1, 2]])
        .map(|(&n, views)| {
            let mut side = || {
                let pixel = |u: &mut dyn FnMut() -> f64| {
                    [((u() * 0.5 + 0.5) * WIDTH as f64) as f32, ((u() * 0.5 + 0.5) * HEIGHT as f64) as f32]
                };
                let pixels: Vec<[f32; 2]> = (0..n).map(|_| pixel(&mut u)).collect();
                let anchor =
                    |p: &[f32; 2]| (p[1] as usize / BLOCK * (WIDTH / BLOCK) + p[0] as usize / BLOCK) as u32;
                let anchors = pixels.iter().map(anchor).collect();
                let offsets = (0..n).map(|_| (1.0 + 0.2 * u()) as f32).collect();
                (pixels, anchors, offsets)
            };
            let (a, b): ((_, _, Vec<f32>), (_, _, Vec<f32>)) = (side(), side());
            let weights = (0..n).map(|i| 1.0 + 0.5 * a.2[i] * b.2[n - 1 - i]).collect();
            Pair { views, pixels: [a.0, b.0], anchors: [a.1, b.1], offsets: [a.2, b.2], weights }
        })
        .collect();
    let depths = (0..count * ANCHORS).map(|_| f64::from((3.0 + u()) as f32)).collect();
    let targets = [(0, 2), (1, 0)]
        .map(|(view, frame)| FrameTargets {
            view,
            frame,
            points: (0..ANCHORS).map(|_| [u() as f32, u() as f32, 3.0 + u() as f32]).collect(),
            weights: (0..ANCHORS).map(|_| 2.0 + u() as f32).collect(),
        })
        .to_vec();
    let shapes = (0..count).map(|i| ViewShape { anchors: ANCHORS, observes: i != 2 }).collect();
    let scales = vec![1.0, 1.3, 0.8];
    let mut scene = Scene { shapes, pairs, views, scales, depths, matched: vec![Vec::new(); count], targets };
    for pair in &scene.pairs {
        for side in 0..2 {
            for (m, &pixel) in pair.pixels[side].iter().enumerate() {
                let (anchor, offset) = (pair.anchors[side][m], pair.offsets[side][m]);
                scene.matched[pair.views[side]].push(MatchedPixel { pixel, anchor, offset });
            }
        }
    }
    scene
}

impl Scene {
    fn pairs(&self) -> Vec<PairMatches<'_>> {
        self.pairs.iter().map(Pair::borrow).collect()
    }

    fn op(&self, precision: Precision) -> Result<SparseAlignment, String> {
        SparseAlignment::new(&self.shapes, &self.pairs(), precision).map_err(|e| e.to_string())
    }

    fn rigid(&self) -> Vec<RigidView> {
        let view =
            |(v, &scale): (&PinholeView, &f64)| RigidView { rotation: v.rotation, center: v.center, scale };
        self.views.iter().zip(&self.scales).map(view).collect()
    }

    /// The loss of the oracle.
    fn loss(&self, kind: Kind, frozen: &[PinholeView]) -> f64 {
        let depths = Depths { shapes: &self.shapes, values: &self.depths };
        match kind {
            Kind::Coarse => reference::coarse(&self.pairs(), frozen, &depths, &self.rigid()),
            Kind::Fine => reference::fine(&self.pairs(), &depths, &self.views),
            Kind::Fallback => reference::fallback((&self.matched, &self.targets), &depths, &self.views),
        }
    }

    /// Derivative of the oracle's loss by central differences; `change` moves one parameter by a step.
    fn slope(&self, kind: Kind, step: f64, change: impl Fn(&mut Scene, f64)) -> f64 {
        let at = |h: f64| {
            let mut moved = self.clone();
            change(&mut moved, h);
            moved.loss(kind, &self.views)
        };
        (at(step) - at(-step)) / (2.0 * step)
    }
}

impl Pair {
    fn borrow(&self) -> PairMatches<'_> {
        PairMatches {
            views: self.views,
            pixels: self.pixels.each_ref().map(Vec::as_slice),
            anchors: self.anchors.each_ref().map(Vec::as_slice),
            offsets: self.offsets.each_ref().map(Vec::as_slice),
            weights: &self.weights,
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Coarse,
    Fine,
    Fallback,
}

/// Part of a derivative by a matrix `R` along turning `R` about axis `k`.
fn along_turn(by_rotation: &[[f64; 3]; 3], r: &[[f64; 3]; 3], k: usize) -> f64 {
    let (i, j) = ((k + 1) % 3, (k + 2) % 3);
    // d/dh R exp(h [e_k]) has column i equal to column j of R, and column j equal to minus column i.
    (0..3).map(|row| by_rotation[row][i] * r[row][j] - by_rotation[row][j] * r[row][i]).sum()
}

fn turn(view: &mut PinholeView, k: usize, h: f64) {
    let mut w = [0.0; 3];
    w[k] = h;
    let (r, small) = (view.rotation, rotation(w));
    view.rotation =
        std::array::from_fn(|a| std::array::from_fn(|b| (0..3).map(|c| r[a][c] * small[c][b]).sum()));
}

/// All derivatives in one list: per view rotation (3), centre (3), then the rest of its fields.
fn flat_pinhole(scene: &Scene, g: &[PinholeGradient]) -> Vec<f32> {
    let mut out = Vec::new();
    for (g, v) in g.iter().zip(&scene.views) {
        out.extend((0..3).map(|k| along_turn(&g.rotation, &v.rotation, k) as f32));
        out.extend(g.center.map(|v| v as f32));
        out.extend([g.focal_px, g.principal_px[0], g.principal_px[1], g.relief].map(|v| v as f32));
    }
    out
}

/// f32 kernels have their own bound; f64 ones are as exact as the differences.
fn gradient_tolerance(precision: Precision, single: f64) -> Tolerance {
    Tolerance::OfLargest(if precision == Precision::Double { single.min(1e-6) } else { single })
}

fn check_loss(got: f64, want: f64) -> Verdict {
    let error = (got - want).abs() / want.abs();
    if error < 1e-6 { Ok(()) } else { Err(format!("loss {got}, want {want}, relative error {error:.1e}")) }
}

fn coarse(matches: &[usize], precision: Precision) -> Verdict {
    let s = scene("coarse", matches, 0.0);
    let mut op = s.op(precision)?;
    op.freeze(&s.views, &s.depths).map_err(|e| e.to_string())?;
    let mut gradient = vec![RigidGradient::default(); s.views.len()];
    let loss = op.coarse(&s.rigid(), &mut gradient).map_err(|e| e.to_string())?;
    check_loss(loss, s.loss(Kind::Coarse, &s.views))?;
    let (mut got, mut want) = (Vec::new(), Vec::new());
    for (i, g) in gradient.iter().enumerate() {
        for k in 0..3 {
            got.push(along_turn(&g.rotation, &s.views[i].rotation, k) as f32);
            // The frozen points keep the cameras from before the change.
            want.push(s.slope(Kind::Coarse, 1e-5, |s, h| turn(&mut s.views[i], k, h)));
            got.push(g.center[k] as f32);
            want.push(s.slope(Kind::Coarse, 1e-5, |s, h| s.views[i].center[k] += h));
        }
        got.push(g.scale as f32);
        want.push(s.slope(Kind::Coarse, 1e-5, |s, h| s.scales[i] += h));
    }
    check_close(&got, &want, gradient_tolerance(precision, 2e-6))
}

fn pinhole_slopes(s: &Scene, kind: Kind, step: f64) -> Vec<f64> {
    let mut want = Vec::new();
    for i in 0..s.views.len() {
        want.extend((0..3).map(|k| s.slope(kind, step, |s, h| turn(&mut s.views[i], k, h))));
        want.extend((0..3).map(|k| s.slope(kind, step, |s, h| s.views[i].center[k] += h)));
        want.push(s.slope(kind, step, |s, h| s.views[i].focal_px += h));
        want.push(s.slope(kind, step, |s, h| s.views[i].principal_px[0] += h));
        want.push(s.slope(kind, step, |s, h| s.views[i].principal_px[1] += h));
        want.push(s.slope(kind, step, |s, h| s.views[i].relief += h));
    }
    want
}

fn depth_slopes(s: &Scene, kind: Kind, step: f64) -> Vec<f64> {
    (0..s.depths.len()).map(|k| s.slope(kind, step, |s, h| s.depths[k] += h)).collect()
}

fn fine(matches: &[usize], depth_shift: f64, precision: Precision) -> Verdict {
    let s = scene("fine", matches, depth_shift);
    let mut gradient = vec![PinholeGradient::default(); s.views.len()];
    let mut by_depth = vec![0.0; s.depths.len()];
    let loss = s
        .op(precision)?
        .fine(&s.views, &s.depths, &mut gradient, &mut by_depth)
        .map_err(|e| e.to_string())?;
    check_loss(loss, s.loss(Kind::Fine, &s.views))?;
    // Points near the plane of a camera bend the loss within small steps.
    let (slopes, by_depths) = (pinhole_slopes(&s, Kind::Fine, 1e-7), depth_slopes(&s, Kind::Fine, 1e-7));
    check_close(&flat_pinhole(&s, &gradient), &slopes, gradient_tolerance(precision, 2e-5))?;
    let got: Vec<f32> = by_depth.iter().map(|&v| v as f32).collect();
    check_close(&got, &by_depths, gradient_tolerance(precision, 1e-4))
}

fn fallback() -> Verdict {
    let s = scene("fallback", &[13, 7, 29], 0.0);
    let mut gradient = vec![PinholeGradient::default(); s.views.len()];
    let mut by_depth = vec![0.0; s.depths.len()];
    let lists = (s.matched.as_slice(), s.targets.as_slice());
    let loss =
        s.op(Precision::Single)?.fallback(lists, (&s.views, &s.depths), 0.25, &mut gradient, &mut by_depth);
    check_loss(loss.map_err(|e| e.to_string())?, s.loss(Kind::Fallback, &s.views))?;
    let quarter = |v: Vec<f64>| -> Vec<f64> { v.into_iter().map(|x| 0.25 * x).collect() };
    let want = quarter(pinhole_slopes(&s, Kind::Fallback, 1e-5));
    check_close(&flat_pinhole(&s, &gradient), &want, Tolerance::OfLargest(1e-6))?;
    let got: Vec<f32> = by_depth.iter().map(|&v| v as f32).collect();
    check_close(&got, &quarter(depth_slopes(&s, Kind::Fallback, 1e-5)), Tolerance::OfLargest(1e-5))
}

/// Equal points have no direction: the loss and all derivatives are exactly 0, not NaN.
fn zero_distance() -> Verdict {
    let mut s = scene("zero", &[20, 0, 0], 0.0);
    s.views = vec![s.views[0]; 3];
    s.scales = vec![1.0; 3];
    let pair = &mut s.pairs[0];
    pair.pixels[1] = pair.pixels[0].clone();
    pair.anchors[1] = pair.anchors[0].clone();
    pair.offsets[1] = pair.offsets[0].clone();
    for v in &mut s.views {
        v.rotation = rotation([0.0; 3]);
    }
    let depths = s.depths[..ANCHORS].to_vec();
    s.depths[ANCHORS..2 * ANCHORS].copy_from_slice(&depths);
    let mut op = s.op(Precision::Single)?;
    op.freeze(&s.views, &s.depths).map_err(|e| e.to_string())?;
    let mut gradient = vec![RigidGradient::default(); 3];
    let loss = op.coarse(&s.rigid(), &mut gradient).map_err(|e| e.to_string())?;
    if loss == 0.0 && gradient == vec![RigidGradient::default(); 3] {
        Ok(())
    } else {
        Err(format!("loss {loss}, gradient {gradient:?}"))
    }
}

/// The order of the images of a pair, and pairs without matches, change nothing.
fn symmetry() -> Verdict {
    let s = scene("symmetry", &[33, 20, 5], 0.0);
    let mut turned = s.clone();
    for p in &mut turned.pairs {
        p.views.reverse();
        p.pixels.reverse();
        p.anchors.reverse();
        p.offsets.reverse();
    }
    let mut empty = turned.pairs[0].borrow();
    empty.pixels = [&[]; 2];
    empty.anchors = [&[]; 2];
    empty.offsets = [&[]; 2];
    empty.weights = &[];
    let mut pairs = turned.pairs();
    pairs.insert(1, empty);
    let run = |op: Result<SparseAlignment, OpError>| -> Result<(f64, Vec<f32>), String> {
        let mut op = op.map_err(|e| e.to_string())?;
        let mut gradient = vec![PinholeGradient::default(); s.views.len()];
        let mut by_depth = vec![0.0; s.depths.len()];
        let loss = op.fine(&s.views, &s.depths, &mut gradient, &mut by_depth).map_err(|e| e.to_string())?;
        Ok((loss, flat_pinhole(&s, &gradient)))
    };
    let a = run(SparseAlignment::new(&s.shapes, &s.pairs(), Precision::Single))?;
    let b = run(SparseAlignment::new(&s.shapes, &pairs, Precision::Single))?;
    check_loss(b.0, a.0)?;
    let want: Vec<f64> = a.1.iter().map(|&v| f64::from(v)).collect();
    check_close(&b.1, &want, Tolerance::OfLargest(1e-6))
}

fn pair_refusals() -> Verdict {
    let s = scene("refusals", &[3, 4, 5], 0.0);
    let new = |change: &dyn Fn(&mut Pair)| {
        let mut s = s.clone();
        change(&mut s.pairs[1]);
        SparseAlignment::new(&s.shapes, &s.pairs(), Precision::Single)
    };
    expect_error(new(&|p| p.views = [1, 1]), "`views` must be two different images below 3, got 1 and 1")?;
    expect_error(new(&|p| p.views = [0, 3]), "`views` must be two different images below 3, got 0 and 3")?;
    expect_error(new(&|p| p.pixels[1].truncate(2)), "`pixels` must be [4], got [2]")?;
    expect_error(new(&|p| p.anchors[0].push(0)), "`anchors` must be [4], got [5]")?;
    expect_error(new(&|p| p.offsets[0].clear()), "`offsets` must be [4], got [0]")?;
    expect_error(new(&|p| p.anchors[0][2] = 15), "`anchors` must be below 15, got 15")?;
    expect_error(new(&|p| p.pixels[0][1][1] = f32::INFINITY), "`pixels` must be finite, got inf")?;
    expect_error(new(&|p| p.offsets[1][3] = f32::NAN), "`offsets` must be finite, got NaN")?;
    expect_error(new(&|p| p.weights[0] = -1.0), "`weights` must be finite and at least 0, got -1")
}

fn call_refusals() -> Verdict {
    let s = scene("refusals", &[3, 4, 5], 0.0);
    let mut op = s.op(Precision::Single)?;
    let (mut rigid, mut pinhole) = (vec![RigidGradient::default(); 3], vec![PinholeGradient::default(); 3]);
    let mut by_depth = vec![0.0; s.depths.len()];
    expect_error(op.coarse(&s.rigid(), &mut rigid), "`views` must be frozen before `coarse`")?;
    expect_error(op.freeze(&s.views[1..], &s.depths), "`views` must be [3], got [2]")?;
    expect_error(op.freeze(&s.views, &s.depths[1..]), "`depths` must be [45], got [44]")?;
    op.freeze(&s.views, &s.depths).map_err(|e| e.to_string())?;
    expect_error(op.coarse(&s.rigid()[1..], &mut rigid), "`views` must be [3], got [2]")?;
    expect_error(op.coarse(&s.rigid(), &mut rigid[1..]), "`gradient` must be [3], got [2]")?;
    expect_error(op.fine(&s.views, &s.depths, &mut pinhole[1..], &mut by_depth), "`gradient` must be [3]")?;
    expect_error(
        op.fine(&s.views, &s.depths, &mut pinhole, &mut by_depth[1..]),
        "`depth_gradient` must be [45], got [44]",
    )?;
    let mut lists = |matched: &[Vec<MatchedPixel>], change: &dyn Fn(&mut FrameTargets)| {
        let mut targets = s.targets.clone();
        change(&mut targets[0]);
        op.fallback((matched, &targets), (&s.views, &s.depths), 1.0, &mut pinhole, &mut by_depth)
    };
    expect_error(lists(&s.matched[1..], &|_| {}), "`matched` must be [3], got [2]")?;
    let mut wild = s.matched.clone();
    wild[0][0].anchor = 99;
    expect_error(lists(&wild, &|_| {}), "`matched` must be anchors below 15, got 99")?;
    expect_error(lists(&s.matched, &|t| t.frame = 7), "`targets` must be two different images below 3")?;
    expect_error(lists(&s.matched, &|t| t.points.truncate(3)), "`targets` must be 15 points and weights")
}

pub(crate) fn cases() -> Vec<Case> {
    use Precision::{Double, Single};
    vec![
        case("sparse_alignment/gradient/coarse_odd_sizes", |_| coarse(&[37, 16, 5], Single)),
        case("sparse_alignment/gradient/coarse_one_match", |_| coarse(&[1], Single)),
        case("sparse_alignment/gradient/coarse_many_chunks", |_| coarse(&[2049, 1, 4111], Single)),
        case("sparse_alignment/gradient/fine_odd_sizes", |_| fine(&[37, 16, 5], 0.0, Single)),
        case("sparse_alignment/gradient/fine_one_match", |_| fine(&[1], 0.0, Single)),
        case("sparse_alignment/gradient/fine_many_chunks", |_| fine(&[2049, 1, 4111], 0.0, Single)),
        case("sparse_alignment/gradient/fine_behind_cameras", |_| fine(&[300, 40, 50], 2.7, Single)),
        case("sparse_alignment/gradient/coarse_double", |_| coarse(&[37, 16, 2100], Double)),
        case("sparse_alignment/gradient/fine_double", |_| fine(&[37, 16, 2100], 0.0, Double)),
        case("sparse_alignment/gradient/fine_double_behind", |_| fine(&[300, 40, 50], 2.7, Double)),
        case("sparse_alignment/gradient/fallback", |_| fallback()),
        case("sparse_alignment/property/zero_distance", |_| zero_distance()),
        case("sparse_alignment/property/symmetry", |_| symmetry()),
        case("sparse_alignment/error/pairs", |_| pair_refusals()),
        case("sparse_alignment/error/calls", |_| call_refusals()),
    ]
}
