//! The space that the robot needs, and what stands in it.

use crate::ruler::level;
use crate::{Calibration, Eye, Look, Robot, Ruler};
use nalgebra::Vector3;

/// Farthest distance that is looked at, metres.
pub const RANGE: f64 = 5.0;
/// Side of the smallest thing that is looked for, metres: what covers fewer pixels than its square is noise.
const SMALLEST: f64 = 0.06;
/// Fewest pixels of a thing.
const LEAST_PIXELS: f64 = 12.0;
/// Depths within this factor are one surface.
const ONE_SURFACE: f64 = 1.12;
/// Cosine of the tilt from which a surface may be floor that is measured wrongly.
const NEARLY_LEVEL: f64 = 0.85;

/// What a pixel shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What the robot drives on.
    Floor,
    /// Something at a height that the robot needs.
    Obstacle,
    /// Something above the robot, or beyond [`RANGE`].
    Free,
}

/// The metric points that a frame shows.
#[derive(Clone, Debug)]
pub struct Surfaces {
    /// Points in the robot's frame, one for each pixel: x forward from the lens, y left of it, z above the floor; metres.
    pub points: Vec<Vector3<f64>>,
    /// What each pixel shows.
    pub kinds: Vec<Kind>,
    /// How much each pixel counts, 0 to 1.
    pub weights: Vec<f64>,
}

impl Surfaces {
    /// Points and kinds of a look. What is lower than `robot.low`, or than 2.5 times the noise of the floor, is floor.
    pub fn new(eye: &Eye, look: &Look, ruler: &Ruler, robot: &Robot) -> Self {
        let width = eye.size[0];
        let noise = 2.5 * ruler.sigma * eye.above_floor;
        let low = robot.low.max(noise);
        let mut confidence: Vec<f32> = look.confidence.clone();
        confidence.sort_by(f32::total_cmp);
        let usual = f64::from(confidence[confidence.len() / 2] - 1.0).max(1e-6);
        let (mut points, mut kinds, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for (i, (&depth, &trust)) in look.depth.iter().zip(&look.confidence).enumerate() {
            let (x, y) = (i % width, i / width);
            let metres = ruler.metres(x, f64::from(depth).max(1e-6));
            let point = eye.point(i, metres);
            let kind = if point.x > RANGE || point.z > robot.high {
                Kind::Free
            } else if point.z < low || point.z < 2.0 * low && level(eye, look, x, y) > NEARLY_LEVEL {
                Kind::Floor
            } else {
                Kind::Obstacle
            };
            points.push(point);
            kinds.push(kind);
            weights.push((f64::from(trust - 1.0) / usual).clamp(0.0, 1.0));
        }
        Self { points, kinds, weights }
    }
}

/// A part of the space before the robot: everything between two distances from its middle line, at the heights that it needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lane {
    /// From here, metres left of the robot's middle.
    pub right: f64,
    /// To here.
    pub left: f64,
}

/// The nearest surface in a lane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nearest {
    /// Distance from the robot's front along its heading, metres.
    pub distance: f64,
    /// Distance from the lens along the heading.
    pub from_lens: f64,
    /// Pixels of the surface.
    pub pixels: usize,
    /// Where its middle is, metres left of the robot's middle.
    pub left: f64,
}

impl Lane {
    /// The robot's own way.
    pub fn corridor(robot: &Robot) -> Self {
        Self { right: -0.5 * robot.width, left: 0.5 * robot.width }
    }

    /// Whether a point is in the lane.
    pub fn holds(&self, calibration: &Calibration, point: &Vector3<f64>) -> bool {
        (self.right..=self.left).contains(&(point.y + calibration.camera.left_of_middle))
    }

    /// The nearest surface in the lane that covers as many pixels as something of 6 cm does at its distance.
    ///
    /// Not the nearest point, which is noise: depths within 12 % are one surface, and its distance is where a seventh of its pixels are nearer.
    pub fn nearest(&self, eye: &Eye, surfaces: &Surfaces, calibration: &Calibration) -> Option<Nearest> {
        let mut inside: Vec<(f64, f64, f64)> = Vec::new();
        for (i, point) in surfaces.points.iter().enumerate() {
            if surfaces.kinds[i] == Kind::Obstacle && point.x > 0.0 && self.holds(calibration, point) {
                inside.push((point.x, surfaces.weights[i], point.y));
            }
        }
        inside.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut end, mut weight) = (0, 0.0);
        for start in 0..inside.len() {
            let far = inside[start].0 * ONE_SURFACE;
            while end < inside.len() && inside[end].0 <= far {
                weight += inside[end].1;
                end += 1;
            }
            let side = SMALLEST * eye.focal_px[0] / inside[start].0;
            if weight >= (side * side).max(LEAST_PIXELS) {
                let some = &inside[start..end];
                return Some(Nearest {
                    distance: quantile(some, weight / 7.0) - calibration.camera.behind_front,
                    from_lens: quantile(some, weight / 7.0),
                    pixels: some.len(),
                    left: some.iter().map(|p| p.2).sum::<f64>() / some.len() as f64
                        + calibration.camera.left_of_middle,
                });
            }
            weight -= inside[start].1;
        }
        None
    }

    /// The share of the lane's width that is in the picture, at the distance in which the robot can `stop` at any height that it needs, and at
    /// three times that down to the floor: what is low was seen there before it left the picture at its lower edge.
    pub fn seen(&self, eye: &Eye, calibration: &Calibration, stop: f64) -> f64 {
        const STEPS: usize = 20;
        let robot = &calibration.robot;
        let share = |k: usize| (k as f64 + 0.5) / STEPS as f64;
        let sees = |distance: f64, across: usize, height: f64| {
            let left =
                self.right + share(across) * (self.left - self.right) - calibration.camera.left_of_middle;
            eye.sees(&Vector3::new(distance + calibration.camera.behind_front, left, height))
        };
        let at_some_height = |across: usize| {
            (0..STEPS).any(|up| sees(stop, across, robot.low + share(up) * (robot.high - robot.low)))
        };
        let near = (0..STEPS).filter(|&across| at_some_height(across)).count();
        let low = (0..STEPS).filter(|&across| sees(3.0 * stop, across, robot.low)).count();
        near.min(low) as f64 / STEPS as f64
    }
}

/// The distance at which so much weight is nearer.
fn quantile(sorted: &[(f64, f64, f64)], weight: f64) -> f64 {
    let mut sum = 0.0;
    for (distance, w, _) in sorted {
        sum += w;
        if sum >= weight {
            return *distance;
        }
    }
    sorted.last().map_or(0.0, |p| p.0)
}
