//! Things that loom: where matches grow faster than the network's depth explains, they are nearer than it says.

use crate::{Eye, Kind, Match, Surfaces, expansion};
use nalgebra::Vector3;

/// Columns and rows of cells.
const CELLS: [usize; 2] = [8, 5];
/// Depths within this factor are one surface.
const ONE_SURFACE: f64 = 1.25;
/// An expansion counts from so many of its standard deviations on.
const SIGNIFICANT: f64 = 4.0;
/// Share of the ruler's distance below which the expansion's is believed instead. A wall beside the way grows as something at two thirds of its
/// distance does, because it is seen at a slant; so no more than that may count.
const NEARER: f64 = 0.6;

/// Brings surfaces nearer whose matches grew too much between the keyframe and now, if the robot drove `ahead` metres meanwhile; the
/// number of pixels that were moved.
///
/// What stands, or moves across, grows by the ratio of its distances then and now: `distance = ahead / (expansion - 1)`. What comes
/// towards the robot grows more and is put too near, which errs on the safe side. Nothing is moved away.
pub fn bring_near(eye: &Eye, surfaces: &mut Surfaces, matches: &[Match], ahead: f64) -> usize {
    let [width, height] = eye.size;
    let index = |m: &Match| m.current[1] as usize * width + m.current[0] as usize;
    let cell = |x: usize, y: usize| (x * CELLS[0] / width, y * CELLS[1] / height);
    let original = surfaces.points.clone();
    let mut moved = 0;
    for row in 0..CELLS[1] {
        for column in 0..CELLS[0] {
            let obstacles = |m: &&Match| surfaces.kinds[index(m)] != Kind::Floor;
            let near = |m: &&Match| {
                let (x, y) = cell(m.current[0] as usize, m.current[1] as usize);
                x.abs_diff(column) + y.abs_diff(row) <= 1
            };
            let around: Vec<&Match> = matches.iter().filter(obstacles).filter(near).collect();
            let mut depths: Vec<f64> = around.iter().map(|m| original[index(m)].x).collect();
            if depths.is_empty() {
                continue;
            }
            depths.sort_by(f64::total_cmp);
            let depth = depths[depths.len() / 2];
            let same = |x: f64| (1.0 / ONE_SURFACE..ONE_SURFACE).contains(&(x / depth));
            let surface: Vec<Match> =
                around.iter().filter(|m| same(original[index(m)].x)).map(|m| **m).collect();
            let Some([growth, sigma]) = expansion(&surface) else { continue };
            if growth - 1.0 < SIGNIFICANT * sigma {
                continue;
            }
            let factor = ahead / (growth - 1.0) / depth;
            if factor > NEARER {
                continue;
            }
            for y in row * height / CELLS[1]..(row + 1) * height / CELLS[1] {
                for x in column * width / CELLS[0]..(column + 1) * width / CELLS[0] {
                    let i = y * width + x;
                    if surfaces.kinds[i] == Kind::Floor || !same(original[i].x) {
                        continue;
                    }
                    let lens = Vector3::new(0.0, 0.0, eye.above_floor);
                    surfaces.points[i] = (original[i] - lens) * factor + lens;
                    moved += 1;
                }
            }
        }
    }
    moved
}
