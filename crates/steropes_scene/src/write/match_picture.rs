//! Two photos side by side with their matches.

use image::imageops::{FilterType, replace, resize};
use image::{Rgb, RgbImage};

/// Most lines drawn; more cannot be told apart.
const MOST_LINES: usize = 400;

/// Longest side of either photo in the picture.
const LONGEST_SIDE_PX: f64 = 800.0;

/// Columns between the photos.
const GAP_PX: u32 = 8;

/// A match between two photos.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MatchLine {
    /// Point of the first picture; the centre of its top-left pixel is (0.5, 0.5).
    pub point_a_px: [f64; 2],
    /// Point of the second picture.
    pub point_b_px: [f64; 2],
    /// Larger is surer; only the order counts.
    pub confidence: f32,
}

/// Photo `a` left, photo `b` right, the matches as thin lines with a dot at either end; dark blue for the lowest
/// confidence, red for the highest (Turbo, by rank).
///
/// Of more than 400 matches, 400 that are spread evenly over the first photo get lines; the others are dots.
/// Points are in the pixels of the pictures given, which are scaled to fit.
pub fn match_picture(a: &RgbImage, b: &RgbImage, matches: &[MatchLine]) -> RgbImage {
    let (a_scale, a_shown) = fitted(a);
    let (b_scale, b_shown) = fitted(b);
    let b_origin = [f64::from(a_shown.width() + GAP_PX), 0.0];
    let (width, height) =
        (a_shown.width() + GAP_PX + b_shown.width(), a_shown.height().max(b_shown.height()));
    let mut picture = RgbImage::from_pixel(width, height, Rgb([255; 3]));
    replace(&mut picture, &a_shown, 0, 0);
    replace(&mut picture, &b_shown, i64::from(a_shown.width() + GAP_PX), 0);
    let ends: Vec<_> = matches
        .iter()
        .map(|m| (m.point_a_px.map(|v| v * a_scale), [0, 1].map(|i| m.point_b_px[i] * b_scale + b_origin[i])))
        .collect();
    let colors = rank_colors(matches);
    let mut chosen = evenly_spread(&ends);
    // The surest lie on top.
    chosen.sort_by(|&i, &j| matches[i].confidence.total_cmp(&matches[j].confidence).then(i.cmp(&j)));
    for (i, (from, to)) in ends.iter().enumerate() {
        draw_dot(&mut picture, *from, 1.0, colors[i]);
        draw_dot(&mut picture, *to, 1.0, colors[i]);
    }
    for i in chosen {
        draw_line(&mut picture, ends[i].0, ends[i].1, colors[i]);
        draw_dot(&mut picture, ends[i].0, 2.5, colors[i]);
        draw_dot(&mut picture, ends[i].1, 2.5, colors[i]);
    }
    picture
}

/// The picture at a size that fits, and the scale; small pictures are enlarged.
fn fitted(picture: &RgbImage) -> (f64, RgbImage) {
    let scale = LONGEST_SIDE_PX / f64::from(picture.width().max(picture.height()).max(1));
    let side = |s: u32| ((f64::from(s) * scale).round() as u32).max(1);
    (scale, resize(picture, side(picture.width()), side(picture.height()), FilterType::CatmullRom))
}

fn rank_colors(matches: &[MatchLine]) -> Vec<Rgb<u8>> {
    let mut order: Vec<usize> = (0..matches.len()).collect();
    order.sort_by(|&i, &j| matches[i].confidence.total_cmp(&matches[j].confidence).then(i.cmp(&j)));
    let mut colors = vec![Rgb([0; 3]); matches.len()];
    for (rank, &i) in order.iter().enumerate() {
        let share = (rank as f64 + 0.5) / matches.len() as f64;
        let color = colorous::TURBO.eval_continuous(0.05 + 0.9 * share);
        colors[i] = Rgb([color.r, color.g, color.b]);
    }
    colors
}

/// Indices of at most [`MOST_LINES`] matches, evenly spread over the first photo: every n-th along a Z-order curve.
fn evenly_spread(ends: &[([f64; 2], [f64; 2])]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..ends.len()).collect();
    if ends.len() <= MOST_LINES {
        return order;
    }
    order.sort_by_key(|&i| (z_order(ends[i].0), i));
    (0..MOST_LINES).map(|k| order[k * ends.len() / MOST_LINES]).collect()
}

/// The bits of both coordinates interleaved.
fn z_order([x, y]: [f64; 2]) -> u64 {
    let [x, y] = [x as u32, y as u32];
    (0..16).fold(0, |code, bit| {
        code | u64::from(x >> bit & 1) << (2 * bit) | u64::from(y >> bit & 1) << (2 * bit + 1)
    })
}

/// A line of one pixel with smooth edges: each step along the longer axis shares its ink between two pixels.
fn draw_line(picture: &mut RgbImage, from: [f64; 2], to: [f64; 2], color: Rgb<u8>) {
    const INK: f64 = 0.75;
    let along = usize::from((to[1] - from[1]).abs() > (to[0] - from[0]).abs());
    let across = 1 - along;
    let length = to[along] - from[along];
    let steps = length.abs().ceil().min(1e5) as usize;
    for step in 0..=steps {
        let t = step as f64 / steps.max(1) as f64;
        let mut at = [from[0] + t * (to[0] - from[0]), from[1] + t * (to[1] - from[1])];
        at[along] = at[along].floor();
        let first = (at[across] - 0.5).floor();
        let share = at[across] - 0.5 - first;
        for (offset, ink) in [(0.0, 1.0 - share), (1.0, share)] {
            at[across] = first + offset;
            blend(picture, at[0] as i64, at[1] as i64, color, INK * ink);
        }
    }
}

fn draw_dot(picture: &mut RgbImage, [x, y]: [f64; 2], radius: f64, color: Rgb<u8>) {
    let reach = radius.ceil() as i64;
    for dy in -reach..=reach {
        for dx in -reach..=reach {
            let [column, row] = [x.floor() as i64 + dx, y.floor() as i64 + dy];
            let distance = (column as f64 + 0.5 - x).hypot(row as f64 + 0.5 - y);
            blend(picture, column, row, color, (radius + 0.5 - distance).clamp(0.0, 1.0));
        }
    }
}

fn blend(picture: &mut RgbImage, x: i64, y: i64, color: Rgb<u8>, ink: f64) {
    let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
    if let Some(pixel) = picture.get_pixel_mut_checked(x, y) {
        for (old, new) in pixel.0.iter_mut().zip(color.0) {
            *old = (f64::from(*old) + ink * (f64::from(new) - f64::from(*old))).round() as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(width: u32, height: u32) -> RgbImage {
        RgbImage::from_pixel(width, height, Rgb([128; 3]))
    }

    fn line(a: [f64; 2], b: [f64; 2], confidence: f32) -> MatchLine {
        MatchLine { point_a_px: a, point_b_px: b, confidence }
    }

    #[test]
    fn a_match_joins_its_two_points() {
        // The first photo is drawn at twice its size, the second at 2.5 times and behind the first.
        let picture =
            match_picture(&grey(400, 300), &grey(200, 320), &[line([100.0, 50.0], [100.0, 100.0], 1.0)]);
        assert_eq!(picture.dimensions(), (800 + 8 + 500, 800));
        assert_ne!(picture.get_pixel(200, 100), &Rgb([128; 3]));
        assert_ne!(picture.get_pixel(808 + 250, 250), &Rgb([128; 3]));
        // Half way: (629, 175).
        assert_ne!(picture.get_pixel(629, 175), &Rgb([128; 3]));
        assert_eq!(picture.get_pixel(629, 185), &Rgb([128; 3]));
        assert_eq!(picture.get_pixel(10, 790), &Rgb([255; 3]), "below the first photo");
    }

    #[test]
    fn colours_follow_the_order_of_confidence() {
        let matches =
            [line([0.0; 2], [0.0; 2], 5.0), line([0.0; 2], [0.0; 2], 1.0), line([0.0; 2], [0.0; 2], 9.0)];
        let colors = rank_colors(&matches);
        let red_over_blue = |c: &Rgb<u8>| i32::from(c.0[0]) - i32::from(c.0[2]);
        assert!(red_over_blue(&colors[1]) < red_over_blue(&colors[0]));
        assert!(red_over_blue(&colors[0]) < red_over_blue(&colors[2]));
    }

    #[test]
    fn many_matches_are_thinned_out_evenly() {
        let ends: Vec<_> =
            (0..10_000).map(|i| ([f64::from(i % 100) * 8.0, f64::from(i / 100) * 6.0], [0.0; 2])).collect();
        let chosen = evenly_spread(&ends);
        assert_eq!(chosen.len(), 400);
        for quarter in 0..4 {
            let [x0, y0] = [400.0 * f64::from(quarter % 2), 300.0 * f64::from(quarter / 2)];
            let inside = |&&i: &&usize| {
                let [x, y] = ends[i].0;
                (x0..x0 + 400.0).contains(&x) && (y0..y0 + 300.0).contains(&y)
            };
            let share = chosen.iter().filter(inside).count();
            assert!((60..140).contains(&share), "quarter {quarter}: {share}");
        }
    }

    #[test]
    fn points_outside_the_photos_and_no_matches_are_fine() {
        let wild = [line([-1e9, 5.0], [f64::MAX, f64::NAN], f32::NAN)];
        assert_eq!(match_picture(&grey(20, 20), &grey(20, 20), &wild).width(), 1608);
        assert_eq!(match_picture(&grey(20, 20), &grey(20, 20), &[]).width(), 1608);
    }
}
