use super::{CanonicalSums, CanonicalView, OpError, RelativeDepth, reference};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, f16_case, f16_tensor, gpu_case,
    inputs,
};

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
    compare(&got, &want, extents[0])
}

fn compare(got: &CanonicalView, want: &(Vec<f64>, Vec<f64>, Vec<f64>), pairs: usize) -> Verdict {
    let depth = 4 * pairs;
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
    check_equal(&[sums.pairs()], &[0])?;
    for (points, confidence, part) in [
        (f32::NAN, 2.0, "`pointmap` must be finite"),
        (f32::NEG_INFINITY, 2.0, "`pointmap` must be finite"),
        (1.0, 0.5, "`confidence` must be finite and above 0.999"),
        (1.0, 0.999, "`confidence` must be finite and above 0.999"),
        (1.0, -2.0, "`confidence` must be finite and above 0.999"),
        (1.0, f32::INFINITY, "`confidence` must be finite and above 0.999"),
        (1.0, f32::NAN, "`confidence` must be finite and above 0.999"),
    ] {
        wrong_number(device, points, confidence, part)?;
    }
    Ok(())
}

/// A single wrong number, before a pair without: the CPU refuses it, a GPU says it in the end.
fn wrong_number(device: &Device, point: f32, confidence: f32, part: &str) -> Verdict {
    let (mut points, mut weights) = (vec![1.0; 8 * 16 * 3], vec![2.0; 8 * 16]);
    (points[3 * 77 + 1], weights[77]) = (point, confidence);
    let tensor = |shape: &[usize], v: &[f32]| Tensor::new(device, shape, v.to_vec()).expect("shape fits");
    let mut sums = CanonicalSums::new(16, 8, 8, RelativeDepth::AverageAngle).map_err(|e| e.to_string())?;
    let wrong = sums.add(&tensor(&[8, 16, 3], &points), &tensor(&[8, 16], &weights));
    if device.gpu().is_none() {
        expect_error(wrong, part)?;
        return check_equal(&[sums.pairs()], &[0]);
    }
    wrong.map_err(|e| e.to_string())?;
    sums.add(&tensor(&[8, 16, 3], &[1.0; 8 * 16 * 3]), &tensor(&[8, 16], &[2.0; 8 * 16]))
        .map_err(|e| e.to_string())?;
    expect_error(sums.finish(), &format!("{part}, got 1 pixels"))
}

fn devices_of_arguments(device: &Device) -> Verdict {
    let on = |device: &Device, shape: &[usize]| {
        Tensor::new(device, shape, vec![2.0f32; shape.iter().product()]).expect("shape fits")
    };
    let mut sums = CanonicalSums::new(8, 8, 8, RelativeDepth::AverageRatio).map_err(|e| e.to_string())?;
    let there = on(&Device::Cpu, &[8, 8]);
    expect_error(sums.add(&on(device, &[8, 8, 3]), &there), "`confidence` must be on")?;
    sums.add(&on(device, &[8, 8, 3]), &on(device, &[8, 8])).map_err(|e| e.to_string())?;
    expect_error(sums.add(&on(&Device::Cpu, &[8, 8, 3]), &there), "`pointmap` must be on")?;
    check_equal(&[sums.pairs()], &[1])
}

fn f16_oracle(device: &Device, extents: [usize; 3], subsample: usize, mode: RelativeDepth) -> Verdict {
    let [pairs, height, width] = extents;
    let (points, confidence) = scene("canonical", extents);
    let mut sums = CanonicalSums::new(width, height, subsample, mode).map_err(|e| e.to_string())?;
    let (mut all_points, mut all_confidences) = (Vec::new(), Vec::new());
    for (p, c) in points.chunks(3 * height * width).zip(confidence.chunks(height * width)) {
        let (p, rounded_points) = f16_tensor(device, &[height, width, 3], p);
        let (c, rounded_confidences) = f16_tensor(device, &[height, width], c);
        sums.add(&p, &c).map_err(|e| e.to_string())?;
        all_points.extend(rounded_points);
        all_confidences.extend(rounded_confidences);
    }
    let got = sums.finish().map_err(|e| e.to_string())?;
    let want = reference::canonical_view(&all_points, &all_confidences, extents, subsample, mode);
    compare(&got, &want, pairs)
}

/// Confidences of almost 1, where most digits of `confidence - 0.999` cancel.
fn small_weights(device: &Device) -> Verdict {
    let extents = [3, 8, 16];
    let (points, confidence) = scene("canonical", extents);
    let confidence: Vec<f32> = confidence.iter().map(|c| 1.0 + 1e-5 * (c - 3.0)).collect();
    let mode = RelativeDepth::AverageAngle;
    let got = run(device, &points, &confidence, extents, (4, mode)).map_err(|e| e.to_string())?;
    let want = reference::canonical_view(&points, &confidence, extents, 4, mode);
    compare(&got, &want, 3)
}

/// Sums of more bytes than a binding may have, where there is memory for it: points that are the same in every block.
fn more_than_a_binding(device: &Device) -> Verdict {
    let most = device.gpu().expect("a case for GPUs").capabilities().max_binding_bytes;
    if most > 1 << 28 {
        return Ok(());
    }
    // The second range begins where no binding can, and is shorter.
    let (width, subsample) = (999, 3);
    let height = (most as usize / (32 * width) + 7).next_multiple_of(subsample);
    let small = [1, subsample, width];
    let (points, confidence) = scene("canonical", small);
    let blocks = height / subsample;
    let mode = RelativeDepth::AverageAngle;
    let got = run(
        device,
        &points.repeat(blocks),
        &confidence.repeat(blocks),
        [1, height, width],
        (subsample, mode),
    )
    .map_err(|e| e.to_string())?;
    let want = reference::canonical_view(&points, &confidence, small, subsample, mode);
    for block in 0..blocks {
        let pixels = block * subsample * width..(block + 1) * subsample * width;
        let depth = 4;
        let points = &got.points[3 * pixels.start..3 * pixels.end];
        check_close(points, &want.0, Tolerance::Sum { depth })?;
        check_close(&got.relative_depth[pixels.clone()], &want.1, Tolerance::Sum { depth })?;
        check_close(&got.confidence[pixels], &want.2, Tolerance::Sum { depth })?;
    }
    Ok(())
}

/// One slope for each block, of both signs; points are up to 5 `unit` from their anchor.
fn slopes(device: &Device, unit: f32, slope_of: impl Fn(f32) -> f32) -> Verdict {
    let (height, width) = (3, 81);
    let (mut points, mut confidence) = (Vec::new(), Vec::new());
    for i in 0..height * width {
        let (x, y, block) = (i % width % 3, i / width, i % width / 3);
        let across = [3.0 * unit * (x as f32 - 1.0), 4.0 * unit * (y as f32 - 1.0)];
        let slope = slope_of(block as f32) * [1.0, -1.0][(x + block) % 2];
        points.extend([across[0], across[1], 5.0 + slope * across[0].hypot(across[1])]);
        confidence.push(2.0 + 0.01 * block as f32);
    }
    let mut sums =
        CanonicalSums::new(width, height, 3, RelativeDepth::AverageAngle).map_err(|e| e.to_string())?;
    let tensor = |shape: &[usize], v: &[f32]| Tensor::new(device, shape, v.to_vec()).expect("shape fits");
    sums.add(&tensor(&[height, width, 3], &points), &tensor(&[height, width], &confidence))
        .map_err(|e| e.to_string())?;
    let got = sums.finish().map_err(|e| e.to_string())?;
    let extents = [1, height, width];
    let want = reference::canonical_view(&points, &confidence, extents, 3, RelativeDepth::AverageAngle);
    compare(&got, &want, 1)
}

pub(crate) fn cases() -> Vec<Case> {
    use RelativeDepth::{AverageAngle, AverageRatio};
    vec![
        case("canonical_view/oracle/odd_sizes", |d| oracle(d, [5, 21, 35], 7, AverageAngle)),
        case("canonical_view/oracle/smallest", |d| oracle(d, [1, 1, 1], 1, AverageAngle)),
        case("canonical_view/oracle/mast3r_block", |d| oracle(d, [3, 64, 96], 8, AverageAngle)),
        case("canonical_view/oracle/ratio", |d| oracle(d, [4, 12, 20], 4, AverageRatio)),
        case("canonical_view/oracle/small_weights", small_weights),
        case("canonical_view/oracle/up_to_88_degrees", |d| {
            slopes(d, 0.001, |block| (0.43 * block - 6.0).exp2())
        }),
        case("canonical_view/oracle/around_70_degrees", |d| slopes(d, 0.1, |block| 2.2 + 0.045 * block)),
        f16_case("canonical_view/oracle/f16", |d| f16_oracle(d, [3, 20, 28], 4, AverageAngle)),
        f16_case("canonical_view/oracle/f16_ratio", |d| f16_oracle(d, [2, 9, 15], 3, AverageRatio)),
        gpu_case("canonical_view/oracle/more_than_a_binding", more_than_a_binding),
        case("canonical_view/property/anchors_are_one", anchors_are_one),
        case("canonical_view/property/repeated_pairs_change_nothing", repeated_pairs_change_nothing),
        case("canonical_view/error/arguments", refusals),
        gpu_case("canonical_view/error/devices", devices_of_arguments),
    ]
}
