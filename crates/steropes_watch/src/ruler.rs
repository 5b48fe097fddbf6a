//! The floor as a ruler: from the network's depth to metres.
//!
//! A calibrated camera knows how far away the floor is in every pixel that shows it. The network knows which pixels do, because there its
//! surface is level, and its depth is right but for a factor that changes slowly. So floor pixels give the factor, as a power of the depth
//! and one number for each strip of columns.

use crate::{Eye, Look};

/// Strips of columns with a factor of their own.
const STRIPS: usize = 8;
/// Half the distance in pixels over which slopes are measured.
const REACH: usize = 3;
/// Cosine of the tilt up to which a surface may be floor; steeper than 40 degrees nothing is driven on.
const LEVEL: f64 = 0.77;
/// Sine of the angle below the horizon from which the floor is looked for: nearer to it, a pixel of error is metres.
const BELOW_HORIZON: f64 = 0.06;
/// Width of a class of logarithms of factors.
const CLASS: f64 = 0.05;
/// Largest distance of a logarithm of a factor from that of its neighbours, in one mode.
const WIDE: f64 = 0.3;
/// Share of the picture that must be floor for a ruler.
const LEAST_SHARE: f64 = 0.02;
/// Largest departure from 1 of the power of depth: beyond, what was found is no floor. A slope of 40 degrees bends far more.
const BEND: f64 = 0.7;
/// Floor pixels of a strip that count as much as the whole picture's factor.
const STRIP_PRIOR: f64 = 60.0;

/// Turns the network's depth into metres: `log metres = offset + strip(x) + log depth + bend (log depth - middle)`, the last bracket held to
/// the range of depths that the floor was seen at.
#[derive(Clone, Debug, PartialEq)]
pub struct Ruler {
    offset: f64,
    bend: f64,
    middle: f64,
    range: [f64; 2],
    strips: [f64; STRIPS],
    width: usize,
    /// Standard deviation of the logarithm of metric depths of floor pixels.
    pub sigma: f64,
    /// Share of the picture's pixels that are floor.
    pub share: f64,
}

/// A pixel that may be floor.
struct Candidate {
    column: usize,
    log_depth: f64,
    /// Logarithm of the metric depth if it is floor.
    log_metres: f64,
    weight: f64,
}

impl Ruler {
    /// The ruler that the floor of a look gives; `None` if too little of it is seen, or what is level is not at the floor's slope.
    pub fn measure(eye: &Eye, look: &Look) -> Option<Self> {
        let candidates = candidates(eye, look);
        let factor = mode(&candidates)?;
        let mut ruler = Self {
            offset: factor,
            bend: 0.0,
            middle: 0.0,
            range: [f64::NEG_INFINITY, f64::INFINITY],
            strips: [0.0; STRIPS],
            width: eye.size[0],
            sigma: WIDE / 3.0,
            share: 0.0,
        };
        for round in 0..6 {
            let limit = if round < 2 { WIDE } else { (3.0 * ruler.sigma).clamp(0.06, WIDE) };
            let used: Vec<&Candidate> =
                candidates.iter().filter(|c| ruler.residual(c).abs() < limit).collect();
            if (used.len() as f64) < LEAST_SHARE * look.depth.len() as f64 {
                return None;
            }
            ruler.fit(&used);
            ruler.share = used.len() as f64 / look.depth.len() as f64;
        }
        (ruler.bend.abs() <= BEND).then_some(ruler)
    }

    /// A ruler with one factor, for when the floor is not seen.
    pub fn of_factor(factor: f64, sigma: f64, eye: &Eye) -> Self {
        Self {
            offset: factor.ln(),
            bend: 0.0,
            middle: 0.0,
            range: [f64::NEG_INFINITY, f64::INFINITY],
            strips: [0.0; STRIPS],
            width: eye.size[0],
            sigma,
            share: 0.0,
        }
    }

    /// Metres for the network's depth in a column.
    pub fn metres(&self, column: usize, depth: f64) -> f64 {
        self.log_metres(column, depth.ln()).exp()
    }

    /// Metres for a unit of the network, in the middle of the depths that the floor was seen at.
    pub fn factor(&self) -> f64 {
        self.offset.exp()
    }

    fn log_metres(&self, column: usize, log_depth: f64) -> f64 {
        let held = log_depth.clamp(self.range[0], self.range[1]);
        let bent = if self.bend == 0.0 { 0.0 } else { self.bend * (held - self.middle) };
        self.offset + self.strip(column) + log_depth + bent
    }

    /// The strips' numbers, interpolated between their middles.
    fn strip(&self, column: usize) -> f64 {
        let at = (column as f64 + 0.5) * STRIPS as f64 / self.width as f64 - 0.5;
        let at = at.clamp(0.0, (STRIPS - 1) as f64);
        let left = (at as usize).min(STRIPS - 2);
        let share = at - left as f64;
        self.strips[left] * (1.0 - share) + self.strips[left + 1] * share
    }

    fn residual(&self, candidate: &Candidate) -> f64 {
        candidate.log_metres - self.log_metres(candidate.column, candidate.log_depth)
    }

    /// Offset and bend by least squares over all floor pixels, then the strips from what is left.
    fn fit(&mut self, used: &[&Candidate]) {
        let total: f64 = used.iter().map(|c| c.weight).sum();
        let mean =
            |value: &dyn Fn(&Candidate) -> f64| used.iter().map(|c| c.weight * value(c)).sum::<f64>() / total;
        let middle = mean(&|c| c.log_depth);
        let factor = mean(&|c| c.log_metres - c.log_depth);
        let spread = mean(&|c| (c.log_depth - middle).powi(2));
        let along = mean(&|c| (c.log_depth - middle) * (c.log_metres - c.log_depth - factor));
        self.offset = factor;
        self.middle = middle;
        self.bend = if spread > 1e-4 { along / spread } else { 0.0 };
        let ends = used.iter().fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], c| {
            [low.min(c.log_depth), high.max(c.log_depth)]
        });
        self.range = ends;
        self.strips = [0.0; STRIPS];
        let mut sums = [[0.0; 2]; STRIPS];
        for c in used {
            let strip = c.column * STRIPS / self.width;
            sums[strip][0] += c.weight * self.residual(c);
            sums[strip][1] += c.weight;
        }
        self.strips = std::array::from_fn(|s| sums[s][0] / (sums[s][1] + STRIP_PRIOR));
        let mut sizes: Vec<f64> = used.iter().map(|c| self.residual(c).abs()).collect();
        sizes.sort_by(f64::total_cmp);
        self.sigma = (1.4826 * sizes[sizes.len() / 2]).max(0.01);
    }
}

/// Pixels below the horizon whose surface is level.
fn candidates(eye: &Eye, look: &Look) -> Vec<Candidate> {
    let [width, height] = eye.size;
    let mut found = Vec::new();
    for y in REACH..height - REACH {
        for x in REACH..width - REACH {
            let i = y * width + x;
            let (ray, depth) = (eye.ray_of(i), f64::from(look.depth[i]));
            if ray.z > -BELOW_HORIZON || !depth.is_finite() || depth <= 0.0 || level(eye, look, x, y) < LEVEL
            {
                continue;
            }
            let log_metres = (eye.above_floor / -ray.z).ln();
            let weight = f64::from(look.confidence[i]).max(0.0);
            found.push(Candidate { column: x, log_depth: depth.ln(), log_metres, weight });
        }
    }
    found
}

/// Cosine of the tilt of the surface at a pixel, 1 for a level one seen from above; at the border of the picture that of the nearest pixel
/// that has neighbours.
pub(crate) fn level(eye: &Eye, look: &Look, x: usize, y: usize) -> f64 {
    let [width, height] = eye.size;
    let (x, y) = (x.clamp(REACH, width - 1 - REACH), y.clamp(REACH, height - 1 - REACH));
    let point = |x: usize, y: usize| {
        let i = y * width + x;
        eye.ray_of(i) * f64::from(look.depth[i])
    };
    let across = point(x + REACH, y) - point(x - REACH, y);
    let along = point(x, y + REACH) - point(x, y - REACH);
    let normal = along.cross(&across);
    // The normal of what is seen points towards the camera.
    let facing = normal * -normal.dot(&point(x, y)).signum();
    facing.z / facing.norm().max(1e-12)
}

/// The most frequent logarithm of metres for a unit of depth.
fn mode(candidates: &[Candidate]) -> Option<f64> {
    let factor = |c: &Candidate| c.log_metres - c.log_depth;
    let least = candidates.iter().map(factor).fold(f64::INFINITY, f64::min);
    let most = candidates.iter().map(factor).fold(f64::NEG_INFINITY, f64::max);
    if !(least.is_finite() && most.is_finite()) {
        return None;
    }
    let classes = ((most - least) / CLASS) as usize + 3;
    if classes > 10_000 {
        return None;
    }
    let mut counts = vec![0.0; classes];
    for c in candidates {
        counts[((factor(c) - least) / CLASS) as usize + 1] += c.weight;
    }
    let smooth = |k: usize| counts[k - 1] + 2.0 * counts[k] + counts[k + 1];
    let best = (1..classes - 1).max_by(|&a, &b| smooth(a).total_cmp(&smooth(b)).then(b.cmp(&a)))?;
    Some(least + (best as f64 - 0.5) * CLASS)
}
