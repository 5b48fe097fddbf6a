//! Small procedural scenes: pairs of pictures with true correspondences, from a seed.
//!
//! A room with boxes and spheres, all with solid textures, is seen by two cameras; rays are cast through the centres of pixels for the
//! geometry and through four points of a pixel for its colour. Numbers come from a hash of the seed and a counter: a seed gives the
//! same pair wherever and whenever it is asked for.

use nalgebra::{Rotation3, Vector3};

type Vec3 = Vector3<f64>;

/// A pixel: row and column.
pub type Pixel = [u32; 2];

/// Two pictures of one scene.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Height and width of both in pixels.
    pub size: [usize; 2],
    /// Red, green and blue of each pixel, row by row, of both pictures.
    pub pictures: [Vec<u8>; 2],
    /// Pixels that see the same point of a surface, nearest to each other in both directions; row by row of the first picture.
    pub matches: Vec<[Pixel; 2]>,
    /// Where the point that each pixel of the first picture sees is in the second, as (row, column) of pixel centres, hidden or not; none
    /// if it is behind the camera.
    places: Vec<Option<[f64; 2]>>,
    seed: u64,
}

/// Pixels of a pair in corresponding rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Of the first and of the second picture.
    pub pixels: [Vec<Pixel>; 2],
    /// Which rows are matches; in the others, pixels see different points.
    pub valid: Vec<u8>,
}

impl Pair {
    /// The pair of a seed. Scenes whose pictures have less than a seventh of their pixels in common are drawn again.
    ///
    /// # Panics
    /// If a side is 0.
    pub fn new(seed: u64, size: [usize; 2]) -> Self {
        assert!(size.iter().all(|&side| side > 0), "pictures have pixels");
        let attempts = (0..64).map(|attempt| Self::attempt(mixed(seed, attempt), size));
        let enough = |pair: &Self| 7 * pair.matches.len() >= size[0] * size[1];
        let mut last = None;
        for pair in attempts {
            if enough(&pair) {
                return pair;
            }
            last = Some(pair);
        }
        last.expect("there are attempts")
    }

    fn attempt(seed: u64, size: [usize; 2]) -> Self {
        let mut random = Random::new(seed);
        let scene = Scene::new(&mut random);
        let cameras = scene.cameras(&mut random, size);
        let pictures = cameras.each_ref().map(|camera| {
            let gain = random.between(0.88, 1.12);
            scene.picture(camera, gain)
        });
        let hits = cameras.each_ref().map(|camera| scene.hits(camera));
        let places: Vec<_> = hits[0].iter().map(|&point| cameras[1].project(point)).collect();
        let matches = matches(&scene, &cameras, &hits, &places);
        Self { size, pictures, matches, places, seed }
    }

    /// A picture as the network reads it: values in [-1, 1].
    pub fn values(&self, view: usize) -> impl Iterator<Item = f32> + '_ {
        self.pictures[view].iter().map(|&byte| f32::from(byte) / 127.5 - 1.0)
    }

    /// `matches` of the matches, fewer if there are not as many, and then rows of pixels that see different points, `rows` in all.
    ///
    /// # Panics
    /// If there are more matches than rows.
    pub fn sample(&self, matches: usize, rows: usize) -> Sample {
        assert!(matches <= rows, "matches are some of the rows");
        let mut random = Random::new(mixed(self.seed, 1 << 40));
        let mut order: Vec<usize> = (0..self.matches.len()).collect();
        let count = matches.min(order.len());
        for i in 0..count {
            let other = i + random.below(order.len() - i);
            order.swap(i, other);
        }
        let mut out = Sample { pixels: [Vec::new(), Vec::new()], valid: Vec::new() };
        let mut push = |[one, other]: [Pixel; 2], valid| {
            out.pixels[0].push(one);
            out.pixels[1].push(other);
            out.valid.push(valid);
        };
        order[..count].iter().for_each(|&i| push(self.matches[i], 1));
        let [height, width] = self.size;
        let mut pixel = || [random.below(height) as u32, random.below(width) as u32];
        for _ in count..rows {
            // Small pictures may have no pixel that is far enough: then the last one drawn is near.
            let one = pixel();
            let other = (0..16).map(|_| pixel()).find(|&other| self.is_far(one, other));
            let other = other.unwrap_or_else(&mut pixel);
            push([one, other], 0);
        }
        out
    }

    /// Whether a pixel of the second picture is at least 4 pixels from where the point of one in the first is.
    fn is_far(&self, one: Pixel, other: Pixel) -> bool {
        let place = self.places[one[0] as usize * self.size[1] + one[1] as usize];
        place.is_none_or(|place| distance(place, other) >= 4.0)
    }

    /// Distance in pixels of a pixel of the second picture from where the point of one in the first truly is; infinite if that is
    /// behind the camera.
    pub fn error(&self, one: Pixel, other: Pixel) -> f64 {
        let place = self.places[one[0] as usize * self.size[1] + one[1] as usize];
        place.map_or(f64::INFINITY, |place| distance(place, other))
    }
}

fn distance([row, column]: [f64; 2], pixel: Pixel) -> f64 {
    (row - f64::from(pixel[0])).hypot(column - f64::from(pixel[1]))
}

fn matches(
    scene: &Scene,
    cameras: &[Camera; 2],
    hits: &[Vec<Vec3>; 2],
    places: &[Option<[f64; 2]>],
) -> Vec<[Pixel; 2]> {
    let width = cameras[0].size[1];
    let index = |[row, column]: Pixel| row as usize * width + column as usize;
    let mut out = Vec::new();
    for (i, place) in places.iter().enumerate() {
        let one = [(i / width) as u32, (i % width) as u32];
        let other = place.and_then(|place| cameras[1].pixel_at(place));
        let Some(other) = other.filter(|_| scene.sees(&cameras[1], hits[0][i])) else { continue };
        let back = hits[1][index(other)];
        let returns = cameras[0].project(back).and_then(|place| cameras[0].pixel_at(place)) == Some(one);
        if returns && scene.sees(&cameras[0], back) {
            out.push([one, other]);
        }
    }
    out
}

/// Numbers from a seed and a counter, by the splitmix64 finaliser.
struct Random {
    seed: u64,
    count: u64,
}

impl Random {
    fn new(seed: u64) -> Self {
        Self { seed, count: 0 }
    }

    /// In [0, 1).
    fn unit(&mut self) -> f64 {
        self.count += 1;
        unit(mixed(self.seed, self.count))
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    fn below(&mut self, count: usize) -> usize {
        (self.unit() * count as f64) as usize
    }

    fn vector(&mut self, half: [f64; 3]) -> Vec3 {
        Vec3::from(half.map(|half| self.between(-half, half)))
    }
}

/// A seed for each pair of a seed and a number.
pub(crate) fn mixed(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// A pinhole camera; rows of `turn` are the directions right, down and forward.
struct Camera {
    size: [usize; 2],
    focal: f64,
    eye: Vec3,
    turn: Rotation3<f64>,
}

impl Camera {
    fn looking(eye: Vec3, at: Vec3, roll: f64, focal: f64, size: [usize; 2]) -> Self {
        let turn = Rotation3::look_at_rh(&(at - eye), &Vec3::y());
        // That looks along -z with y up; a camera here looks along z with y down.
        let flip = Rotation3::from_axis_angle(&Vec3::x_axis(), std::f64::consts::PI);
        let roll = Rotation3::from_axis_angle(&Vec3::z_axis(), roll);
        Self { size, focal, eye, turn: roll * flip * turn }
    }

    /// The direction of the point (row, column), where pixel centres are whole numbers.
    fn direction(&self, row: f64, column: f64) -> Vec3 {
        let [height, width] = self.size.map(|side| side as f64);
        let local = Vec3::new(column + 0.5 - width / 2.0, row + 0.5 - height / 2.0, self.focal);
        (self.turn.inverse() * local).normalize()
    }

    fn project(&self, point: Vec3) -> Option<[f64; 2]> {
        let local = self.turn * (point - self.eye);
        let [height, width] = self.size.map(|side| side as f64);
        let place = |at: f64, side: f64| self.focal * at / local.z + side / 2.0 - 0.5;
        (local.z > 1e-6).then(|| [place(local.y, height), place(local.x, width)])
    }

    fn pixel_at(&self, place: [f64; 2]) -> Option<Pixel> {
        let inside =
            |at: f64, side: usize| (-0.5..side as f64 - 0.5).contains(&at).then(|| at.round() as u32);
        Some([inside(place[0], self.size[0])?, inside(place[1], self.size[1])?])
    }
}

enum Shape {
    /// Half extents.
    Box([f64; 3]),
    /// Radius.
    Sphere(f64),
}

struct Solid {
    shape: Shape,
    centre: Vec3,
    turn: Rotation3<f64>,
    texture: Texture,
}

/// A colour for each point of space: cells of a few colours, mottled by noise of three octaves.
struct Texture {
    seed: u64,
    colours: [Vec3; 4],
    /// Cells per unit.
    cells: f64,
    /// Changes of the noise per unit.
    noise: f64,
    /// How much of the colour the noise decides.
    share: f64,
    shift: Vec3,
}

impl Texture {
    fn new(random: &mut Random, [coarse, fine]: [f64; 2]) -> Self {
        let mut colour = || Vec3::from([0; 3].map(|_| random.between(0.05, 0.95)));
        let colours = [colour(), colour(), colour(), colour()];
        Self {
            seed: mixed(random.seed, random.count),
            colours,
            cells: random.between(coarse, fine),
            noise: random.between(2.0 * coarse, 3.0 * fine),
            share: random.between(0.3, 0.8),
            shift: random.vector([7.0; 3]),
        }
    }

    fn colour(&self, point: Vec3) -> Vec3 {
        let cell = ((point + self.shift) * self.cells).map(f64::floor);
        let own = self.colours[(unit(self.lattice(cell)) * 3.0) as usize];
        let noise: f64 = (0..3).map(|octave| self.smooth(point, octave) / f64::from(1 << octave)).sum();
        let bright = (noise / 1.75 - 0.5) * 2.2 + 0.5;
        let mottled = self.colours[3] * bright.clamp(0.0, 1.0);
        own * (1.0 - self.share) * (0.6 + 0.4 * bright.clamp(0.0, 1.0)) + mottled * self.share
    }

    fn lattice(&self, corner: Vec3) -> u64 {
        corner.iter().fold(self.seed, |seed, &at| mixed(seed, at as i64 as u64))
    }

    /// Noise in [0, 1], by trilinear interpolation between the corners of a lattice.
    fn smooth(&self, point: Vec3, octave: u32) -> f64 {
        let at = (point - self.shift) * (self.noise * f64::from(1 << octave));
        let low = at.map(f64::floor);
        let part = (at - low).map(|t| t * t * (3.0 - 2.0 * t));
        let corner = |i: u32| {
            let step = Vec3::from([0, 1, 2].map(|axis| f64::from(i >> axis & 1)));
            let weight: f64 =
                step.iter().zip(&part).map(|(&s, &t)| if s > 0.0 { t } else { 1.0 - t }).product();
            weight * unit(self.lattice(low + step))
        };
        (0..8).map(corner).sum()
    }
}

struct Hit {
    distance: f64,
    point: Vec3,
    /// In the frame of the solid.
    local: Vec3,
    normal: Vec3,
}

impl Solid {
    /// The nearest point of its surface along a ray, from outside or from inside.
    fn hit(&self, from: Vec3, direction: Vec3) -> Option<(f64, Vec3, Vec3)> {
        let back = self.turn.inverse();
        let (eye, along) = (back * (from - self.centre), back * direction);
        let (distance, normal) = match &self.shape {
            Shape::Sphere(radius) => {
                let (b, c) = (eye.dot(&along), eye.norm_squared() - radius * radius);
                let root = (b * b - c).max(-1.0);
                if root < 0.0 {
                    return None;
                }
                let distance = [-b - root.sqrt(), -b + root.sqrt()].into_iter().find(|&t| t > NEAR)?;
                (distance, (eye + along * distance) / *radius)
            }
            Shape::Box(half) => {
                // Entry into the last slab and exit from the first, with the axes of both.
                let (mut enter, mut leave) = ((f64::NEG_INFINITY, 0), (f64::INFINITY, 0));
                for axis in 0..3 {
                    let inverse = along[axis].recip();
                    let (a, b) = ((-half[axis] - eye[axis]) * inverse, (half[axis] - eye[axis]) * inverse);
                    if a.min(b) > enter.0 {
                        enter = (a.min(b), axis);
                    }
                    if a.max(b) < leave.0 {
                        leave = (a.max(b), axis);
                    }
                }
                if enter.0 > leave.0 {
                    return None;
                }
                let (distance, axis) = [enter, leave].into_iter().find(|&(t, _)| t > NEAR)?;
                let mut normal = Vec3::zeros();
                normal[axis] = -along[axis].signum();
                (distance, normal)
            }
        };
        Some((distance, eye + along * distance, self.turn * normal))
    }
}

/// Least distance of a hit.
const NEAR: f64 = 1e-6;

/// Where the light comes from.
const LIGHT: [f64; 3] = [0.4, 0.8, -0.45];

struct Scene {
    /// The room, seen from inside, and what stands in it.
    solids: Vec<Solid>,
    room: [f64; 3],
}

impl Scene {
    fn new(random: &mut Random) -> Self {
        let room = [random.between(2.6, 4.0), random.between(1.5, 2.2), random.between(2.6, 4.0)];
        let texture = Texture::new(random, [0.7, 1.6]);
        let mut solids = vec![Solid {
            shape: Shape::Box(room),
            centre: Vec3::zeros(),
            turn: Rotation3::identity(),
            texture,
        }];
        for _ in 0..5 + random.below(6) {
            let size = random.between(0.25, 0.65);
            let shape = if random.unit() < 0.6 {
                Shape::Box([0; 3].map(|_| size * random.between(0.5, 1.1)))
            } else {
                Shape::Sphere(size * 0.8)
            };
            let centre = random.vector([1.6, 1.1, 1.6]);
            let turn = Rotation3::from_scaled_axis(random.vector([1.5; 3]));
            solids.push(Solid { shape, centre, turn, texture: Texture::new(random, [1.5, 4.0]) });
        }
        Self { solids, room }
    }

    /// Two cameras that look at about the same place, from directions up to 25 degrees apart.
    fn cameras(&self, random: &mut Random, size: [usize; 2]) -> [Camera; 2] {
        let long = size[0].max(size[1]) as f64;
        let focal = long * random.between(0.7, 0.95);
        let at = random.vector([0.5, 0.3, 0.5]);
        let (yaw, pitch) = (random.between(0.0, std::f64::consts::TAU), random.between(-0.15, 0.3));
        let away = random.between(1.9, 2.5);
        let camera = |random: &mut Random, [yaw, pitch, away]: [f64; 3], shake: f64| {
            let direction = Vec3::new(pitch.cos() * yaw.sin(), pitch.sin(), pitch.cos() * yaw.cos());
            let eye = at + direction * away;
            let eye = Vec3::from([0, 1, 2].map(|i| eye[i].clamp(0.1 - self.room[i], self.room[i] - 0.1)));
            let at = at + random.vector([shake; 3]);
            Camera::looking(eye, at, random.between(-0.15, 0.15), focal, size)
        };
        let turned = random.between(0.08, 0.44) * if random.unit() < 0.5 { 1.0 } else { -1.0 };
        let moved = [yaw + turned, pitch + random.between(-0.12, 0.12), away * random.between(0.85, 1.15)];
        [camera(random, [yaw, pitch, away], 0.1), camera(random, moved, 0.25)]
    }

    /// What a ray meets first; the room is around every camera.
    fn first(&self, from: Vec3, direction: Vec3) -> (&Solid, Hit) {
        let hits = self.solids.iter().filter_map(|solid| Some((solid, solid.hit(from, direction)?)));
        let (solid, (distance, local, normal)) =
            hits.min_by(|(_, a), (_, b)| a.0.total_cmp(&b.0)).expect("cameras are in the room");
        (solid, Hit { distance, point: from + direction * distance, local, normal })
    }

    /// The points that the centres of all pixels see.
    fn hits(&self, camera: &Camera) -> Vec<Vec3> {
        let [height, width] = camera.size;
        let pixel = |i: usize| camera.direction((i / width) as f64, (i % width) as f64);
        (0..height * width).map(|i| self.first(camera.eye, pixel(i)).1.point).collect()
    }

    /// Whether nothing is between a camera and a point of a surface.
    fn sees(&self, camera: &Camera, point: Vec3) -> bool {
        let way = point - camera.eye;
        let distance = way.norm();
        self.first(camera.eye, way / distance).1.distance > distance * (1.0 - 1e-6)
    }

    fn picture(&self, camera: &Camera, gain: f64) -> Vec<u8> {
        const WITHIN: [[f64; 2]; 4] = [[-0.25, -0.25], [-0.25, 0.25], [0.25, -0.25], [0.25, 0.25]];
        let [height, width] = camera.size;
        let light = Vec3::from(LIGHT).normalize();
        let colour = |row: f64, column: f64| {
            let (solid, hit) = self.first(camera.eye, camera.direction(row, column));
            let shade = 0.65 + 0.35 * hit.normal.dot(&light);
            solid.texture.colour(hit.local) * shade * gain
        };
        let mut out = Vec::with_capacity(3 * height * width);
        for (row, column) in (0..height).flat_map(|row| (0..width).map(move |column| (row, column))) {
            let at = |[down, right]: [f64; 2]| colour(row as f64 + down, column as f64 + right);
            let sum: Vec3 = WITHIN.into_iter().map(at).sum();
            // Pictures hold the root of the light, nearly.
            out.extend(
                sum.iter()
                    .map(|&light| ((light / 4.0).clamp(0.0, 1.0).powf(1.0 / 2.2) * 255.0).round() as u8),
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_pair_and_another_seed_another() {
        let [one, same, other] = [7, 7, 8].map(|seed| Pair::new(seed, [32, 48]));
        assert_eq!((&one.pictures, &one.matches), (&same.pictures, &same.matches));
        assert_eq!(one.sample(40, 64), same.sample(40, 64));
        assert_ne!(one.pictures, other.pictures);
        assert_ne!(one.pictures[0], one.pictures[1]);
    }

    #[test]
    fn pictures_have_contrast_and_matches() {
        for seed in 0..20 {
            let pair = Pair::new(seed, [48, 64]);
            assert!(7 * pair.matches.len() >= 48 * 64, "seed {seed}: {} matches", pair.matches.len());
            for picture in &pair.pictures {
                assert_eq!(picture.len(), 3 * 48 * 64);
                let mean = picture.iter().map(|&v| f64::from(v)).sum::<f64>() / picture.len() as f64;
                let spread = picture.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>();
                let spread = (spread / picture.len() as f64).sqrt();
                assert!(spread > 15.0, "seed {seed}: the values of a picture spread by {spread}");
            }
        }
    }

    #[test]
    fn matches_are_one_to_one_and_look_alike() {
        let pair = Pair::new(3, [64, 80]);
        let mut seconds: Vec<Pixel> = pair.matches.iter().map(|m| m[1]).collect();
        seconds.sort_unstable();
        seconds.dedup();
        assert_eq!(seconds.len(), pair.matches.len());
        assert!(pair.matches.iter().all(|&[one, other]| pair.error(one, other) <= 0.5f64.sqrt() + 1e-9));
        // Colours change by the gains of the pictures and within a pixel only: a wrong projection or a hidden point shows.
        let colour = |view: usize, [row, column]: Pixel| {
            let at = 3 * (row as usize * 80 + column as usize);
            [0, 1, 2].map(|c| f64::from(pair.pictures[view][at + c]))
        };
        let difference = |one: Pixel, other: Pixel| {
            let (a, b) = (colour(0, one), colour(1, other));
            (0..3).map(|c| (a[c] - b[c]).abs()).sum::<f64>() / 3.0
        };
        let mean = |pairs: &mut dyn Iterator<Item = f64>| {
            let all: Vec<f64> = pairs.collect();
            all.iter().sum::<f64>() / all.len() as f64
        };
        let right = mean(&mut pair.matches.iter().map(|&[one, other]| difference(one, other)));
        let shifted = mean(&mut pair.matches.windows(400).map(|w| difference(w[0][0], w[399][1])));
        assert!(right < 15.0 && shifted > 2.0 * right, "{right} beside {shifted}");
    }

    #[test]
    fn what_is_no_match_sees_another_point() {
        let pair = Pair::new(5, [48, 64]);
        let sample = pair.sample(100, 160);
        assert_eq!(sample.valid.iter().map(|&v| usize::from(v)).sum::<usize>(), 100);
        for i in 0..160 {
            let error = pair.error(sample.pixels[0][i], sample.pixels[1][i]);
            assert_eq!(sample.valid[i] == 1, error < 1.0, "row {i}: {error}");
        }
    }

    #[test]
    fn a_camera_sees_where_it_projects() {
        let camera =
            Camera::looking(Vec3::new(1.0, 0.5, -2.0), Vec3::new(0.1, 0.2, 0.3), 0.1, 40.0, [32, 48]);
        for (row, column) in [(0.0, 0.0), (31.0, 47.0), (10.0, 30.5)] {
            let place = camera.project(camera.eye + camera.direction(row, column) * 3.0).unwrap();
            assert!((place[0] - row).abs() < 1e-9 && (place[1] - column).abs() < 1e-9);
        }
        // What is higher in the room is higher in the picture.
        let [low, high] = [0.0, 0.4].map(|y| camera.project(Vec3::new(0.1, y, 0.3)).unwrap());
        assert!(high[0] < low[0]);
        assert!(camera.project(camera.eye - camera.direction(16.0, 24.0)).is_none());
    }
}
