//! Things that move on their own, and when they will be in the robot's way.

use crate::{Calibration, Eye, Kind, Lane, Match, Motion, Surfaces};
use nalgebra::Vector3;

/// Fewest matches of a thing.
const LEAST_MATCHES: usize = 8;
/// Slowest speed across that counts, metres a second.
const LEAST_SPEED: f64 = 0.12;
/// Standard deviations from the still scene that are a motion.
const SIGNIFICANT: f64 = 3.5;

/// Speed across, and the place of a match: distance from the robot's front, and to the left.
type Coming = (f64, [f64; 2]);

/// A thing beside the corridor that moves towards it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mover {
    /// Where it is, metres left of the robot's middle.
    pub left: f64,
    /// How far it is from the robot's front along its heading.
    pub distance: f64,
    /// Speed across the heading, to the left, metres a second.
    pub speed: f64,
    /// Seconds until it is in the corridor.
    pub entry: f64,
    /// Matches that show it.
    pub matches: usize,
}

/// What moves on its own in a look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Movers {
    /// For each match whether it moves on its own.
    pub own: Vec<bool>,
    /// The thing on each side that will be in the corridor first: left, right.
    pub sides: [Option<Mover>; 2],
}

impl Movers {
    /// Compares matches with the motion of the camera.
    ///
    /// The speed across is that of a thing that stays at its distance from where the robot was: `(place now - place then) / interval`.
    pub fn find(
        eye: &Eye,
        surfaces: &Surfaces,
        matches: &[Match],
        motion: &Motion,
        interval: f64,
        calibration: &Calibration,
    ) -> Self {
        let index = |m: &Match| m.current[1] as usize * eye.size[0] + m.current[0] as usize;
        let speeds: Vec<Option<f64>> = matches
            .iter()
            .map(|m| across(eye, &surfaces.points[index(m)], m.key, motion).map(|shift| shift / interval))
            .collect();
        let off: Vec<bool> = matches
            .iter()
            .map(|m| {
                let expected = motion.expected(eye, &surfaces.points[index(m)]);
                let error = expected.map(|e| (m.key[0] - e[0]).hypot(m.key[1] - e[1]));
                error.is_some_and(|e| e > SIGNIFICANT * motion.sigma_px)
            })
            .collect();
        let mut still: Vec<f64> =
            speeds.iter().zip(&off).filter(|(_, off)| !**off).filter_map(|(s, _)| s.map(f64::abs)).collect();
        still.sort_by(f64::total_cmp);
        let noise = 1.4826 * still.get(still.len() / 2).copied().unwrap_or(f64::INFINITY);
        let least = LEAST_SPEED.max(SIGNIFICANT * noise);
        let own: Vec<bool> =
            speeds.iter().zip(&off).map(|(s, off)| *off && s.is_some_and(|s| s.abs() > least)).collect();
        let corridor = Lane::corridor(&calibration.robot);
        let side = |sign: f64| {
            let place = |m: &Match| {
                let p = surfaces.points[index(m)];
                [p.x - calibration.camera.behind_front, p.y + calibration.camera.left_of_middle]
            };
            let coming: Vec<Coming> = (0..matches.len())
                .filter(|&i| own[i] && surfaces.kinds[index(&matches[i])] == Kind::Obstacle)
                .filter_map(|i| Some((speeds[i]?, place(&matches[i]))))
                .filter(|(speed, [_, left])| sign * left > 0.0 && sign * speed < 0.0)
                .collect();
            if coming.len() < LEAST_MATCHES {
                return None;
            }
            let median = |value: &dyn Fn(&Coming) -> f64, share: f64| {
                let mut values: Vec<f64> = coming.iter().map(value).collect();
                values.sort_by(f64::total_cmp);
                values[((values.len() - 1) as f64 * share) as usize]
            };
            let speed = median(&|c| c.0, 0.5);
            // Its edge towards the corridor.
            let left = sign * median(&|c| sign * c.1[1], 0.15);
            let edge = if sign > 0.0 { corridor.left } else { -corridor.right };
            let entry = ((sign * left - edge) / speed.abs()).max(0.0);
            Some(Mover { left, distance: median(&|c| c.1[0], 0.3), speed, entry, matches: coming.len() })
        };
        Self { sides: [side(1.0), side(-1.0)], own }
    }
}

/// How far to the left a thing moved since the keyframe, if its distance along the heading of now did not change.
fn across(eye: &Eye, point: &Vector3<f64>, key: [f64; 2], motion: &Motion) -> Option<f64> {
    let back = motion.key_from_current.rotation.inverse();
    let ray = back * eye.ray(key);
    let shift = back * motion.key_from_current.translation.vector;
    let along = (point.x + shift.x) / ray.x;
    (ray.x > 0.05 && along > 0.0).then(|| point.y - (ray.y * along - shift.y))
}
