//! How far a frame is from what a video predictor expected: for each cell, and for the zones.

use crate::seconds;
use serde::{Deserialize, Serialize};
use steropes_scene::photo::PixelMap;

/// Share of a zone's cells that are below its value.
const QUANTILE: f64 = 0.9;
/// A cell belongs to each zone in which this share of its pixels lies.
const LEAST_SHARE: f64 = 0.25;
/// Seconds for which the surprise of a frame says something.
const LASTS: f64 = 1.0;

/// The surprise of a camera's cells, squares of a patch each. Without cells nothing is known yet: too little was seen.
///
/// All numbers are whole, so that text keeps them exactly. Sizes and places are (height, width) and (row, column), as those of a
/// [`Placement`](steropes_models::vjepa2::preprocess::Placement).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surprise {
    /// When the newest frame that it is about was taken, nanoseconds since the start of the stream.
    pub time_ns: u64,
    /// Size of the whole frame after resizing.
    pub resized: [usize; 2],
    /// Top-left pixel of the first cell in the resized frame.
    pub origin: [usize; 2],
    /// Rows and columns of cells.
    pub grid: [usize; 2],
    /// Side of a cell in pixels of the resized frame.
    pub patch: usize,
    /// Row by row, how far the cell is above its own running median, in hundredths of its own spread (the median absolute deviation, scaled to
    /// a standard deviation): 0 is as usual.
    pub hundredths: Vec<i32>,
}

impl Surprise {
    /// Whether it says something about a frame of `time` seconds: enough was seen, and its own frame is not older than a second.
    pub fn is_known_at(&self, time: f64) -> bool {
        !self.hundredths.is_empty() && (0.0..=LASTS).contains(&(time - seconds(self.time_ns)))
    }

    /// The surprise of each zone, in spreads: what nine tenths of its cells are below; `None` where it has no cell.
    ///
    /// # Shapes
    /// - `lanes`: the zone of each pixel of the geometry network's image, row by row
    /// - `map`: from that image to the frame
    pub fn zones(&self, lanes: &[Option<u8>], map: &PixelMap) -> [Option<f64>; 3] {
        let width = map.network_size[0] as usize;
        // Pixels of each cell in each zone, and in all.
        let mut pixels = vec![[0u32; 4]; self.hundredths.len()];
        for (i, lane) in lanes.iter().enumerate() {
            let point = map.upright_from_network([(i % width) as f64, (i / width) as f64]);
            let Some(counts) = self.cell(point, map.upright_size).and_then(|cell| pixels.get_mut(cell))
            else {
                continue;
            };
            counts[3] += 1;
            if let Some(count) = lane.and_then(|lane| counts[..3].get_mut(usize::from(lane))) {
                *count += 1;
            }
        }
        [0, 1, 2].map(|zone| {
            let lies_in = |counts: &[u32; 4]| {
                counts[zone] > 0 && f64::from(counts[zone]) >= LEAST_SHARE * f64::from(counts[3])
            };
            let inside = self.hundredths.iter().zip(&pixels).filter(|(_, counts)| lies_in(counts));
            let mut values: Vec<i32> = inside.map(|(value, _)| *value).collect();
            values.sort_unstable();
            let place = (values.len() as f64 * QUANTILE) as usize;
            values.get(place).map(|&value| f64::from(value) / 100.0)
        })
    }

    /// The cell at a point of a frame of this width and height.
    fn cell(&self, [x, y]: [f64; 2], [width, height]: [u32; 2]) -> Option<usize> {
        let place = |v: f64, side: u32, axis: usize| {
            let pixel = v * self.resized[axis] as f64 / f64::from(side) - self.origin[axis] as f64;
            let cell = (pixel >= 0.0).then(|| pixel as usize / self.patch.max(1))?;
            (cell < self.grid[axis]).then_some(cell)
        };
        Some(place(y, height, 0)? * self.grid[1] + place(x, width, 1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::tests::robot;
    use crate::eye::tests::eye;
    use crate::synthetic::{Block, World};
    use crate::{Analyst, stopping_distance};
    use std::path::Path;
    use steropes_scene::photo::{InputFormat, Orientation};

    /// 640 x 360 as the predictor sees it: 16 x 28 cells of the picture at 455 x 256.
    fn quiet() -> Surprise {
        Surprise {
            time_ns: 0,
            resized: [256, 455],
            origin: [0, 4],
            grid: [16, 28],
            patch: 16,
            hundredths: vec![0; 448],
        }
    }

    fn map() -> PixelMap {
        let format = InputFormat { preset: 320, patch: 16, square_ok: false };
        PixelMap::new(Path::new("frame"), [640, 360], Orientation::NoTransforms, &format).unwrap()
    }

    #[test]
    fn it_says_something_for_a_second() {
        let surprise = Surprise { time_ns: 2_000_000_000, ..quiet() };
        assert_eq!([1.9, 2.0, 3.0, 3.1].map(|time| surprise.is_known_at(time)), [false, true, true, false]);
        assert!(!Surprise::default().is_known_at(0.0));
    }

    #[test]
    fn cells_lie_where_the_predictor_sees_them() {
        let cell = |x, y| quiet().cell([x, y], [640, 360]);
        // By hand: a pixel of the resized frame is 640 / 455 = 1.4066 of the frame's, and the first cell begins at the fifth.
        assert_eq!(cell(5.0, 1.0), None);
        assert_eq!(cell(6.0, 1.0), Some(0));
        assert_eq!(cell(28.0, 1.0), Some(0));
        assert_eq!(cell(29.0, 1.0), Some(1));
        assert_eq!(cell(635.0, 359.0), Some(447));
        assert_eq!(cell(636.0, 359.0), None);
        assert_eq!(cell(6.0, 23.0), Some(28));
    }

    #[test]
    fn a_zone_has_the_surprise_of_its_own_cells() {
        let calibration = robot();
        let eye = eye(&calibration);
        let world = World::new(vec![Block::still([1.6, 0.5, 0.0], [2.0, 1.1, 0.9])], 0.25, 0.4);
        let look = world.look(&eye);
        let robot = calibration.robot.clone();
        let stop = |v: f64| stopping_distance(&robot, v, 0.3);
        let lanes = Analyst::new(&calibration, eye.clone()).analyse(&look, 1.0, None, &stop).lanes;
        assert_eq!(quiet().zones(&lanes, &map()), [Some(0.0); 3]);
        // The cells that show the box, left of the corridor.
        let mut surprise = quiet();
        for (i, depth) in look.depth.iter().enumerate() {
            let point = eye.point(i, f64::from(*depth));
            if (1.55..2.05).contains(&point.x) && (0.45..1.15).contains(&point.y) && point.z > 0.02 {
                let pixel = [(i % eye.size[0]) as f64, (i / eye.size[0]) as f64];
                let cell = surprise.cell(map().upright_from_network(pixel), [640, 360]).unwrap();
                surprise.hundredths[cell] = 1234;
            }
        }
        assert_eq!(surprise.zones(&lanes, &map()), [Some(12.34), Some(0.0), Some(0.0)]);
        // One cell is below the quantile.
        let mut single = quiet();
        let hot: Vec<usize> = (0..448).filter(|&cell| surprise.hundredths[cell] > 0).collect();
        single.hundredths[hot[hot.len() / 2]] = 1234;
        assert_eq!(single.zones(&lanes, &map())[0], Some(0.0));
        assert_eq!(Surprise::default().zones(&lanes, &map()), [None; 3]);
        // The whole picture as one zone: nine tenths of 448 cells are 403.
        let all = vec![Some(1); lanes.len()];
        let hot = |count: usize| {
            let hundredths = (0..448).map(|cell| if cell % 28 * 16 + cell / 28 < count { 1234 } else { 0 });
            Surprise { hundredths: hundredths.collect(), ..quiet() }.zones(&all, &map())
        };
        assert_eq!([hot(44), hot(45)], [[None, Some(0.0), None], [None, Some(12.34), None]]);
    }
}
