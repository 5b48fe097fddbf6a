//! Scenes with truth: boxes with solid textures in a corridor, seen by the camera of a small robot.

use image::{RgbImage, imageops};
use nalgebra::{Rotation3, Vector3};
use rayon::prelude::*;

type Vec3 = Vector3<f64>;

/// Frames a second of a scene.
pub(crate) const RATE: f64 = 15.0;
/// Seconds at which something breaks in the scenes of broken cameras.
pub(crate) const BREAKS: f64 = 2.0;
/// Half the width of the space that the robot needs, and its height range, metres.
const CORRIDOR: [f64; 3] = [0.3, 0.03, 1.2];

/// What is wrong with the camera from [`BREAKS`] on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    Black,
    Frozen,
    Unplugged,
    Blurred,
    ExposureStep,
}

/// A box that may move, metres and metres a second; its texture may be a plain colour.
#[derive(Clone, Debug)]
struct Block {
    middle: Vec3,
    half: Vec3,
    speed: Vec3,
    plain: Option<[f64; 3]>,
    seed: u32,
}

/// A drive through a scene.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) seconds: f64,
    pub(crate) speed: f64,
    /// Turn of the robot, radians a second.
    turn: f64,
    pub(crate) broken: Option<Broken>,
    blocks: Vec<Block>,
    seed: u32,
}

/// What is true of a frame.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Truth {
    /// Distance from the camera along the heading to the nearest surface in the corridor, metres.
    pub(crate) nearest: Option<f64>,
}

/// Height of the lens, how far it looks down (degrees), and its focal length in pixels of a frame of 640 x 360.
pub(crate) const CAMERA: [f64; 3] = [0.55, 5.0, 430.0];

fn block(middle: [f64; 3], half: [f64; 3], seed: u32) -> Block {
    Block { middle: middle.into(), half: half.into(), speed: Vec3::zeros(), plain: None, seed }
}

impl Scene {
    /// All scenes, each with its own numbers from `seed`.
    pub(crate) fn all(seed: u32) -> Vec<Self> {
        let speed = 0.65;
        let corridor = |name, about, seconds, end: f64| Self {
            name,
            about,
            seconds,
            speed,
            turn: 0.0,
            broken: None,
            seed: seed.wrapping_mul(0x9E37) ^ crc(name),
            blocks: vec![
                block([end / 2.0 - 2.0, 1.7, 1.4], [end / 2.0 + 3.0, 0.2, 1.4], 1),
                block([end / 2.0 - 2.0, -1.7, 1.4], [end / 2.0 + 3.0, 0.2, 1.4], 2),
                block([end + 0.2, 0.0, 1.4], [0.2, 2.0, 1.4], 3),
                block([end / 2.0 - 2.0, 0.0, 2.9], [end / 2.0 + 3.0, 2.0, 0.1], 4),
            ],
        };
        let with = |mut scene: Self, more: Vec<Block>| {
            scene.blocks.extend(more);
            scene
        };
        let far = |name, about| {
            with(corridor(name, about, 4.0, 15.0), vec![block([4.0, 1.1, 0.3], [0.2, 0.2, 0.3], 9)])
        };
        let broken = |name, about, what| Self { broken: Some(what), ..far(name, about) };
        let clutter = (0..8).map(|k| {
            let side = if k % 2 == 0 { 1.0 } else { -1.0 };
            block([1.0 + 0.7 * f64::from(k), side * 0.62, 0.3], [0.15, 0.17, 0.3], 20 + k as u32)
        });
        let mut crossing = block([3.2, -2.0, 0.35], [0.25, 0.25, 0.35], 11);
        crossing.speed = Vec3::new(0.0, 0.6, 0.0);
        let mut entering = block([2.3, 2.0, 0.35], [0.2, 0.2, 0.35], 12);
        entering.speed = Vec3::new(0.0, -0.8, 0.0);
        let mut plain_wall =
            corridor("plain_wall", "the robot drives up to a wall without any texture", 4.5, 3.4);
        for part in &mut plain_wall.blocks {
            part.plain = Some([0.62, 0.6, 0.57]);
        }
        vec![
            far("clear", "nothing in the way"),
            corridor("wall", "the robot drives up to a wall", 4.5, 3.4),
            with(
                corridor("box", "a box stands in the way", 4.5, 15.0),
                vec![block([3.3, 0.05, 0.25], [0.2, 0.25, 0.25], 10)],
            ),
            with(corridor("crossing", "a box crosses the way", 4.5, 15.0), vec![crossing]),
            with(corridor("beside", "boxes close beside the way", 5.0, 15.0), clutter.collect()),
            with(corridor("side_entry", "a box comes in from the side, near", 3.5, 15.0), vec![entering]),
            Self { turn: 0.35, speed: 0.0, ..corridor("rotation", "the robot turns in place", 3.0, 15.0) },
            plain_wall,
            broken("black", "the picture goes black", Broken::Black),
            broken("frozen", "the picture freezes", Broken::Frozen),
            broken("unplugged", "the camera is unplugged", Broken::Unplugged),
            broken("blurred", "the lens goes out of focus", Broken::Blurred),
            broken("exposure_step", "the exposure jumps in one frame", Broken::ExposureStep),
        ]
    }

    /// Frames of the scene.
    pub(crate) fn frames(&self) -> u64 {
        (self.seconds * RATE) as u64
    }

    /// Whether a frame comes out of the camera.
    pub(crate) fn comes(&self, time: f64) -> bool {
        self.broken != Some(Broken::Unplugged) || time < BREAKS
    }

    /// The picture at a time, and its truth.
    pub(crate) fn frame(&self, time: f64) -> (RgbImage, Truth) {
        let truth = Truth { nearest: self.nearest(time) };
        let shown = if self.broken == Some(Broken::Frozen) { time.min(BREAKS) } else { time };
        let mut picture = self.picture(shown);
        match self.broken.filter(|_| time >= BREAKS) {
            Some(Broken::Black) => picture = RgbImage::new(picture.width(), picture.height()),
            Some(Broken::Blurred) => picture = imageops::blur(&picture, 5.0),
            Some(Broken::ExposureStep) => {
                picture.pixels_mut().for_each(|p| p.0 = p.0.map(|v| (1.6 * f64::from(v)).min(255.0) as u8));
            }
            _ => {}
        }
        (picture, truth)
    }

    /// Where the robot is and where it looks.
    fn pose(&self, time: f64) -> (Vec3, f64) {
        let sway = 0.02 * (0.9 * time + f64::from(self.seed % 7)).sin();
        (
            Vec3::new(
                self.speed * time,
                sway * self.speed,
                CAMERA[0] + 0.004 * (11.0 * time).sin() * self.speed,
            ),
            self.turn * time,
        )
    }

    fn placed(&self, time: f64) -> Vec<Block> {
        let at = |b: &Block| {
            let mut middle = b.middle + b.speed * time;
            if b.speed.y != 0.0 {
                middle.y = middle.y.clamp(-1.5 + b.half.y, 1.5 - b.half.y);
            }
            Block { middle, ..b.clone() }
        };
        self.blocks.iter().map(at).collect()
    }

    /// Rays along the heading, 2 cm apart, through the corridor; nothing beyond 5 m.
    fn nearest(&self, time: f64) -> Option<f64> {
        let (lens, yaw) = self.pose(time);
        let (ahead, left) = (Vec3::new(yaw.cos(), yaw.sin(), 0.0), Vec3::new(-yaw.sin(), yaw.cos(), 0.0));
        let blocks = self.placed(time);
        let mut best = 5.0;
        for across in -15..=15 {
            for up in 0..40 {
                let height = CORRIDOR[1] + (CORRIDOR[2] - CORRIDOR[1]) * f64::from(up) / 39.0;
                let side = CORRIDOR[0] * f64::from(across) / 15.0;
                let from = Vec3::new(lens.x, lens.y, height) + left * side;
                for (k, block) in blocks.iter().enumerate() {
                    // The ceiling is no obstacle.
                    if let Some(distance) = meet(block, &from, &ahead).filter(|d| k != 3 && *d < best) {
                        best = distance;
                    }
                }
            }
        }
        (best < 5.0).then_some(best)
    }

    fn picture(&self, time: f64) -> RgbImage {
        const SIZE: [u32; 2] = [640, 360];
        let (lens, yaw) = self.pose(time);
        let camera = Rotation3::from_axis_angle(&Vec3::z_axis(), yaw)
            * Rotation3::from_axis_angle(&Vec3::y_axis(), CAMERA[1].to_radians());
        let blocks = self.placed(time);
        let colour = |x: f64, y: f64| {
            let ray = camera * Vec3::new(1.0, (320.0 - x) / CAMERA[2], (180.0 - y) / CAMERA[2]);
            self.colour(&blocks, &lens, &ray)
        };
        let row = |y: u32| -> Vec<u8> {
            let mut bytes = Vec::with_capacity(3 * SIZE[0] as usize);
            for x in 0..SIZE[0] {
                let mut sum = [0.0; 3];
                for (dx, dy) in [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)] {
                    let c = colour(f64::from(x) + dx, f64::from(y) + dy);
                    (0..3).for_each(|k| sum[k] += 0.25 * c[k]);
                }
                let noise = unit(hash([x, y, (time * 1000.0) as u32], self.seed)) - 0.5;
                bytes.extend(sum.map(|v| {
                    (255.0 * v.clamp(0.0, 1.0).powf(1.0 / 2.2) + 2.0 * noise).clamp(0.0, 255.0) as u8
                }));
            }
            bytes
        };
        let bytes: Vec<u8> = (0..SIZE[1]).into_par_iter().flat_map_iter(row).collect();
        RgbImage::from_raw(SIZE[0], SIZE[1], bytes).expect("three bytes a pixel")
    }

    fn colour(&self, blocks: &[Block], lens: &Vec3, ray: &Vec3) -> [f64; 3] {
        let floor = if ray.z < 0.0 { -lens.z / ray.z } else { 1e9 };
        let mut best = (floor, None);
        for block in blocks {
            if let Some(distance) = meet(block, lens, ray).filter(|d| *d < best.0) {
                best = (distance, Some(block));
            }
        }
        let point = lens + ray * best.0;
        let (surface, tint, light) = match best.1 {
            None if floor > 1e8 => return [0.3, 0.35, 0.4],
            None => (texture(&(point * 2.0), self.seed ^ 77), [0.5, 0.45, 0.4], 0.9),
            Some(block) => {
                let local = point - block.middle;
                let along = Vec3::new(local.x / block.half.x, local.y / block.half.y, local.z / block.half.z)
                    .map(f64::abs);
                let light = [0.75, 0.9, 1.0][along.imax()];
                if let Some(plain) = block.plain {
                    return plain.map(|v| 0.6 * v * light);
                }
                let seed = self.seed ^ block.seed.wrapping_mul(0x51ED);
                let tint = [0, 1, 2].map(|k| 0.25 + 0.5 * unit(hash([block.seed, k, 5], self.seed)));
                (texture(&(local * 3.0), seed), tint, light)
            }
        };
        [0, 1, 2].map(|k| tint[k] * surface[k] * light)
    }
}

fn crc(name: &str) -> u32 {
    name.bytes().fold(17, |h, b| h.wrapping_mul(31).wrapping_add(u32::from(b)))
}

fn meet(block: &Block, from: &Vec3, ray: &Vec3) -> Option<f64> {
    let (mut near, mut far) = (0.0f64, f64::INFINITY);
    for axis in 0..3 {
        let sides = [-1.0, 1.0].map(|s| (block.middle[axis] + s * block.half[axis] - from[axis]) / ray[axis]);
        near = near.max(sides[0].min(sides[1]));
        far = far.min(sides[0].max(sides[1]));
    }
    (near < far && near > 0.0).then_some(near)
}

fn hash(at: [u32; 3], seed: u32) -> u32 {
    let mut h = seed ^ 0x9E37_79B9;
    for v in at {
        h = (h ^ v).wrapping_mul(0x85EB_CA6B);
        h ^= h >> 13;
    }
    h.wrapping_mul(0xC2B2_AE35) ^ (h >> 16)
}

fn unit(h: u32) -> f64 {
    f64::from(h >> 8) / f64::from(1 << 24)
}

/// Coloured cells with finer noise over them: edges and corners at several sizes.
fn texture(at: &Vec3, seed: u32) -> [f64; 3] {
    let cell = |scale: f64| [0, 1, 2].map(|k| (at[k] * scale + 0.137).floor() as i64 as u32);
    let (large, small) = (cell(1.0), cell(4.0));
    let fine = noise(&(at * 6.0), seed ^ 3);
    [0, 1, 2].map(|k| {
        let cells = 0.5 * unit(hash(large, seed ^ (k << 4))) + 0.3 * unit(hash(small, seed ^ 9 ^ (k << 5)));
        0.15 + cells + 0.35 * fine
    })
}

/// Noise that is interpolated between whole points.
fn noise(at: &Vec3, seed: u32) -> f64 {
    let base = at.map(f64::floor);
    let part = (at - base).map(|t| t * t * (3.0 - 2.0 * t));
    let corner = |k: usize| {
        let offset = [k & 1, (k >> 1) & 1, k >> 2];
        let at = [0, 1, 2].map(|axis| (base[axis] + offset[axis] as f64) as i64 as u32);
        let weight: f64 =
            (0..3).map(|axis| if offset[axis] == 1 { part[axis] } else { 1.0 - part[axis] }).product();
        weight * unit(hash(at, seed))
    };
    (0..8).map(corner).sum()
}
