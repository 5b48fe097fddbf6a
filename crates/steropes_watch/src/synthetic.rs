//! Looks with known truth for tests: boxes on a floor, seen exactly.

use crate::{Eye, Look, Match};
use nalgebra::{Isometry3, Vector3};

/// A box between two corners, metres, in the robot's frame at the time of the look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) from: [f64; 3],
    pub(crate) to: [f64; 3],
    /// How it moved since the keyframe.
    pub(crate) moved: [f64; 3],
}

impl Block {
    pub(crate) fn still(from: [f64; 3], to: [f64; 3]) -> Self {
        Self { from, to, moved: [0.0; 3] }
    }

    /// Distance along a ray from the lens, if it meets the box.
    fn meet(&self, origin: &Vector3<f64>, ray: &Vector3<f64>) -> Option<f64> {
        let (mut near, mut far) = (0.0f64, f64::INFINITY);
        for axis in 0..3 {
            let at = [self.from[axis], self.to[axis]].map(|side| (side - origin[axis]) / ray[axis]);
            near = near.max(at[0].min(at[1]));
            far = far.min(at[0].max(at[1]));
        }
        (near < far && near > 0.0).then_some(near)
    }
}

/// A floor, walls far away and some boxes.
pub(crate) struct World {
    pub(crate) blocks: Vec<Block>,
    /// Metres for a unit of the look's depth.
    pub(crate) unit: f64,
    /// How the robot moved: maps its frame now to that of the keyframe.
    pub(crate) key_from_current: Isometry3<f64>,
    pub(crate) interval: f64,
    /// Relative error of depths, from a hash.
    pub(crate) noise: f64,
}

impl World {
    pub(crate) fn new(blocks: Vec<Block>, ahead: f64, interval: f64) -> Self {
        // A corridor 3 m wide whose end is 12 m away.
        let mut all = vec![
            Block::still([-5.0, 1.5, 0.0], [12.0, 2.0, 3.0]),
            Block::still([-5.0, -2.0, 0.0], [12.0, -1.5, 3.0]),
            Block::still([12.0, -2.0, 0.0], [13.0, 2.0, 3.0]),
        ];
        all.extend(blocks);
        Self {
            blocks: all,
            unit: 1.0,
            key_from_current: Isometry3::translation(ahead, 0.0, 0.0),
            interval,
            noise: 0.0,
        }
    }

    /// Depth along the optical axis in metres and the box that is seen; 0 for the floor, none for the sky.
    fn cast(&self, eye: &Eye, ray: &Vector3<f64>) -> (f64, Option<usize>) {
        let lens = Vector3::new(0.0, 0.0, eye.above_floor);
        let mut best = (if ray.z < 0.0 { eye.above_floor / -ray.z } else { 100.0 }, None);
        for (k, block) in self.blocks.iter().enumerate() {
            if let Some(depth) = block.meet(&lens, ray).filter(|depth| *depth < best.0) {
                best = (depth, Some(k));
            }
        }
        best
    }

    pub(crate) fn look(&self, eye: &Eye) -> Look {
        let [width, height] = eye.size;
        let lens = Vector3::new(0.0, 0.0, eye.above_floor);
        let mut look = Look { interval: self.interval, ..Look::default() };
        for i in 0..width * height {
            let ray = eye.ray_of(i);
            let (depth, block) = self.cast(eye, &ray);
            let hash =
                (i as u32).wrapping_mul(0x9E37_79B9) ^ (i as u32).wrapping_mul(0x85EB_CA6B).rotate_left(13);
            let error = f64::from(hash >> 8) / f64::from(1 << 23) - 1.0;
            look.depth.push((depth / self.unit * (self.noise * error).exp()) as f32);
            look.confidence.push(5.0);
            let (x, y) = (i % width, i / width);
            if x % 8 != 4 || y % 8 != 4 {
                continue;
            }
            let mut point = eye.point(i, depth);
            if let Some(block) = block {
                point -= Vector3::from(self.blocks[block].moved);
            }
            let then = self.key_from_current.rotation * (point - lens)
                + self.key_from_current.translation.vector
                + lens;
            if let Some((key, _)) = eye.project(&then) {
                let inside = (0.0..width as f64).contains(&key[0]) && (0.0..height as f64).contains(&key[1]);
                if inside && self.interval > 0.0 {
                    let key = key.map(f64::round);
                    look.matches.push(Match { current: [x as f64, y as f64], key, confidence: 1.0 });
                }
            }
        }
        look
    }
}
