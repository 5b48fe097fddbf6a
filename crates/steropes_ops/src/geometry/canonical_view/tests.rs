use super::{CanonicalSums, CanonicalView, OpError, RelativeDepth, reference};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::{Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, inputs};

/// Slanted, noisy pointmaps with positive depths and confidences above 1.
fn scene(name: &str, [pairs, height, width]: [usize; 3]) -> (Vec<f32>, Vec<f32>) {
    let noise = inputs::uniform(name, pairs * height * width * 4);
    let (mut points, mut confidence) = (Vec::new(), Vec::new());
    for (i, n) in noise.chunks_exact(4).enumerate() {
        let (x, y) = ((i % width) as f32, (i / width % height) as f32);
        let z = 2.0 + 0.03 * x - 0.01 * y + 0.1 * n[2];
        points.extend([z * (x - 8.0) / 30.0 + 0.02 * n[0], z * (y - 6.0) / 30.0 + 0.02 * n[1], z]);
        confidence.push(3.0 + 2.0 * n[3]);
    }
    (points, confidence)
}

fn run(
    device: &Device,
    points: &[f32],
    confidence: &[f32],
    [_, height, width]: [usize; 3],
    (subsample, mode): (usize, RelativeDepth),
) -> Result<CanonicalView, OpError> {
    let mut sums = CanonicalSums::new(width, height, subsample, mode)?;
    for (p, c) in points.chunks(3 * height * width).zip(confidence.chunks(height * width)) {
        let tensor = |shape: &[usize], v: &[f32]| Tensor::new(device, shape, v.to_vec()).expect("shape fits");
        sums.add(&tensor(&[height, width, 3], p), &tensor(&[1, height, width], c))?;
    }
    sums.finish()
}

fn oracle(device: &Device, extents: [usize; 3], subsample: usize, mode: RelativeDepth) -> Verdict {
    let (points, confidence) = scene("canonical", extents);
    let got = run(device, &points, &confidence, extents, (subsample, mode)).map_err(|e| e.to_string())?;
    let want = reference::canonical_view(&points, &confidence, extents, subsample, mode);
    let depth = 4 * extents[0];
    check_close(&got.points, &want.0, Tolerance::Sum { depth })?;
    check_close(&got.relative_depth, &want.1, Tolerance::Sum { depth })?;
    check_close(&got.confidence, &want.2, Tolerance::Sum { depth })
}

fn anchors_are_one(device: &Device) -> Verdict {
    let extents = [3, 24, 40];
    let (points, confidence) = scene("canonical", extents);
    let view = run(device, &points, &confidence, extents, (8, RelativeDepth::AverageAngle))
        .map_err(|e| e.to_string())?;
    let at_anchors: Vec<f32> = (0..15).map(|k| view.relative_depth[view.anchor_pixel(k)]).collect();
    check_equal(&at_anchors, &[1.0; 15])
}

fn repeated_pairs_change_nothing(device: &Device) -> Verdict {
    let extents = [2, 16, 24];
    let (points, confidence) = scene("canonical", extents);
    let once = run(device, &points, &confidence, extents, (8, RelativeDepth::AverageAngle));
    let (points, confidence) = (points.repeat(2), confidence.repeat(2));
    let twice = run(device, &points, &confidence, extents, (8, RelativeDepth::AverageAngle));
    let (once, twice) = (once.map_err(|e| e.to_string())?, twice.map_err(|e| e.to_string())?);
    let want: Vec<f64> = once.relative_depth.iter().map(|&v| f64::from(v)).collect();
    check_close(&twice.relative_depth, &want, Tolerance::Sum { depth: 8 })
}

fn refusals(device: &Device) -> Verdict {
    let mode = RelativeDepth::AverageAngle;
    expect_error(CanonicalSums::new(16, 16, 0, mode), "`subsample` must be at least 1")?;
    expect_error(CanonicalSums::new(12, 16, 8, mode), "`width` must be a positive multiple of 8, got 12")?;
    expect_error(CanonicalSums::new(16, 0, 8, mode), "`height` must be a positive multiple of 8, got 0")?;
    let mut sums = CanonicalSums::new(16, 8, 8, mode).map_err(|e| e.to_string())?;
    expect_error(sums.finish(), "`pairs` must be at least 1")?;
    let filled = |shape: &[usize], v: f32| {
        Tensor::new(device, shape, vec![v; shape.iter().product()]).expect("filled")
    };
    let (points, confidence) = (filled(&[8, 16, 3], 1.0), filled(&[8, 16], 2.0));
    expect_error(sums.add(&filled(&[16, 8, 3], 1.0), &confidence), "`pointmap` must be [8, 16, 3]")?;
    expect_error(sums.add(&points, &filled(&[8, 17], 1.0)), "`confidence` must be [8, 16]")?;
    let integers = Tensor::new(device, &[8, 16], vec![2u32; 128]).expect("filled");
    expect_error(sums.add(&points, &integers), "`confidence` must hold")?;
    expect_error(sums.add(&filled(&[8, 16, 3], f32::NAN), &confidence), "`pointmap` must be finite")?;
    expect_error(sums.add(&points, &filled(&[8, 16], 0.5)), "`confidence` must be finite and above 0.999")?;
    check_equal(&[sums.pairs()], &[0])
}

pub(crate) fn cases() -> Vec<Case> {
    use RelativeDepth::{AverageAngle, AverageRatio};
    vec![
        case("canonical_view/oracle/odd_sizes", |d| oracle(d, [5, 21, 35], 7, AverageAngle)),
        case("canonical_view/oracle/smallest", |d| oracle(d, [1, 1, 1], 1, AverageAngle)),
        case("canonical_view/oracle/mast3r_block", |d| oracle(d, [3, 64, 96], 8, AverageAngle)),
        case("canonical_view/oracle/ratio", |d| oracle(d, [4, 12, 20], 4, AverageRatio)),
        case("canonical_view/property/anchors_are_one", anchors_are_one),
        case("canonical_view/property/repeated_pairs_change_nothing", repeated_pairs_change_nothing),
        case("canonical_view/error/arguments", refusals),
    ]
}
