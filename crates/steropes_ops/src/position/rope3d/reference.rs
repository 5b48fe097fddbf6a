//! f64 oracle, from the formulas.

use super::Rope3dAngles;

/// Turns heads of `[tokens, heads, head_dim]` by the (time, height, width) of their token.
pub(crate) fn rope3d(
    x: &[f64],
    positions: &[[f64; 3]],
    [heads, head_dim]: [usize; 2],
    base: f64,
    angles: Rope3dAngles,
) -> Vec<f64> {
    let frequencies = head_dim / 3 / 2;
    let width = 2 * frequencies;
    let mut y = x.to_vec();
    for (token, place) in positions.iter().enumerate() {
        for head in 0..heads {
            for (axis, position) in place.iter().enumerate() {
                let slice = (token * heads + head) * head_dim + axis * width;
                for i in 0..width {
                    let k = match angles {
                        Rope3dAngles::Tiled if i < frequencies => i,
                        Rope3dAngles::Tiled => i - frequencies,
                        Rope3dAngles::Pairs => (i - i % 2) / 2,
                    };
                    let angle = position / base.powf(k as f64 / frequencies as f64);
                    let partner = if i % 2 == 0 { -x[slice + i + 1] } else { x[slice + i - 1] };
                    y[slice + i] = x[slice + i] * angle.cos() + partner * angle.sin();
                }
            }
        }
    }
    y
}
