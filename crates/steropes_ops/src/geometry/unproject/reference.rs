//! f64 oracle, from the formula.

/// Points of maps of `height` x `width` pixels.
pub(super) fn unproject(depth: &[f32], intrinsics: &[f32], [height, width]: [usize; 2]) -> Vec<f64> {
    let mut points = Vec::new();
    for (i, &z) in depth.iter().enumerate() {
        let [fx, fy, cx, cy] = [0, 1, 2, 3].map(|c| f64::from(intrinsics[4 * (i / (height * width)) + c]));
        let (x, y, z) = ((i % width) as f64, (i / width % height) as f64, f64::from(z));
        points.extend([(x - cx) * z / fx, (y - cy) * z / fy, z]);
    }
    points
}
