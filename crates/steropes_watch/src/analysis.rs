//! From looks, one after the other, to what stands in the robot's way.

use crate::movers::{Mover, Movers};
use crate::near::bring_near;
use crate::{
    Ahead, Calibration, Entry, Eye, Kind, Lane, Look, Match, Motion, Nearest, Ruler, Surfaces, expansion,
};
use nalgebra::Vector3;
use serde::{Deserialize, Serialize};

/// Standard deviation of the logarithm of the network's depths beside what the floor's ruler leaves: the network's own, from its table of
/// quality on scenes that it was not trained on.
const DEPTH_SIGMA: f64 = 0.1;
/// Standard deviation of the logarithm of a ruler from the speed.
const SPEED_SIGMA: f64 = 0.1;
/// Relative standard deviation of a speed that is given.
const GIVEN_SPEED_SIGMA: f64 = 0.1;
/// Noise of a ruler beyond which it is no floor that was measured.
const ROUGH: f64 = 0.1;
/// Share of matches that must agree on a motion from which metres are taken.
const MOST_AGREE: f64 = 0.6;
/// Matches of a thing that moves from which it is believed at once.
const MANY_MATCHES: usize = 24;
/// Width of the lanes beside the corridor, metres.
const BESIDE: f64 = 1.0;
/// Parallax in pixels that a motion needs.
const LEAST_PARALLAX: f64 = 1.0;
/// Parallax in pixels from which the keyframe is renewed.
const MUCH_PARALLAX: f64 = 2.5;
/// Age in seconds at which a keyframe is renewed, and that which old geometry may have.
const OLD: f64 = 1.0;
/// Expansions count from so many standard deviations on.
const SIGNIFICANT: f64 = 4.0;
/// Confidence (1 is none) below which the network's depth in the corridor is not believed.
const LEAST_CONFIDENCE: f64 = 1.15;

/// Where metres come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// The floor in this frame and the height of the camera.
    Floor,
    /// The way that the robot says it drove since the keyframe.
    Speed,
    /// The way that it would have driven at the calibrated speed, which nobody measured.
    AssumedSpeed,
    /// The scale of an earlier frame.
    Earlier,
    /// Nowhere.
    None,
}

/// A part of the space before the robot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Zone {
    /// Distance of the nearest surface from the robot's front, metres.
    pub distance: Option<f64>,
    /// Seconds to contact with it, from its growth, or else from its distance and the speed.
    pub time_to_contact: Option<f64>,
    /// Share of its matches that move on their own; `None` without matches.
    pub change: Option<f64>,
    /// Median confidence of the network's depth, 1 is none.
    pub confidence: f64,
    /// How far it is from what a video predictor expected, in spreads of what is usual ([`Surprise::zones`](crate::Surprise::zones)): 0 is as
    /// usual. `None` without a predictor, and before enough was seen.
    pub surprise: Option<f64>,
}

/// What a look says.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// Where metres come from.
    pub scale: Scale,
    /// Standard deviation of the logarithm of distances.
    pub sigma: f64,
    /// Speed that counts: given, or else measured.
    pub speed: Option<f64>,
    /// Speed by matches and the floor, metres a second.
    pub measured_speed: Option<f64>,
    /// Median shift of matches by the translation, pixels of the network's image; `None` without a motion.
    pub parallax_px: Option<f64>,
    /// Left of the corridor, the corridor, right of it.
    pub zones: [Zone; 3],
    /// What stands in the corridor.
    pub ahead: Option<Ahead>,
    /// Seconds to contact with what grows in the corridor.
    pub contact: Option<f64>,
    /// What will be in the corridor.
    pub entry: Option<Entry>,
    /// Things that move towards the corridor: from the left, from the right.
    pub movers: [Option<Mover>; 2],
    /// Share of the corridor's width in the picture, see [`Lane::seen`].
    pub seen: f64,
    /// Share of the picture that is floor.
    pub floor: f64,
    /// Whether the keyframe should be this frame from now on.
    pub renew: bool,
    /// Age of the geometry, seconds: 0 if it is that of this frame.
    pub geometry_age: f64,
    /// What each pixel shows, for the overlay.
    pub kinds: Vec<Kind>,
    /// Which of the zones each pixel lies in.
    pub lanes: Vec<Option<u8>>,
}

/// Keeps what one frame leaves for the next.
#[derive(Clone, Debug)]
pub struct Analyst {
    calibration: Calibration,
    eye: Eye,
    /// The last ruler and when it was made.
    ruler: Option<(Ruler, f64)>,
    /// The factor of the last ruler that the floor gave.
    floor_factor: Option<f64>,
    /// The obstacle that was sure when the scale was measured last, or a nearer one since.
    nearest: Option<Ahead>,
    /// The speed measured last.
    speed: Option<f64>,
    /// The obstacle of the frame before: distance and time.
    before: Option<(f64, f64)>,
    /// Whether something came from the left and from the right in the frame before.
    coming: [bool; 2],
}

impl Analyst {
    /// Nothing seen yet.
    pub fn new(calibration: &Calibration, eye: Eye) -> Self {
        Self {
            calibration: calibration.clone(),
            eye,
            ruler: None,
            floor_factor: None,
            nearest: None,
            speed: None,
            before: None,
            coming: [false; 2],
        }
    }

    /// The camera.
    pub fn eye(&self) -> &Eye {
        &self.eye
    }

    /// What a look of a frame at `time` says; `odometry` is the speed that the robot says, metres a second. `stop` gives the stopping
    /// distance for a speed, for which the view of the corridor is judged.
    pub fn analyse(
        &mut self,
        look: &Look,
        time: f64,
        odometry: Option<f64>,
        stop: &dyn Fn(f64) -> f64,
    ) -> Analysis {
        let given = odometry.or(self.calibration.robot.speed);
        let driven = given.filter(|_| look.interval > 0.0).map(|v| v * look.interval);
        let (ruler, scale, geometry_age) = self.ruler(look, time, driven, odometry.is_some());
        let robot = self.calibration.robot.clone();
        let mut surfaces = Surfaces::new(&self.eye, look, &ruler, &robot);
        let motion = self.motion(look, &surfaces, driven, ruler.sigma);
        let parallax_px = motion.as_ref().map(|m| m.parallax_px);
        let moved = motion.as_ref().filter(|m| m.parallax_px >= LEAST_PARALLAX);
        let measured = moved.filter(|_| scale == Scale::Floor).map(|m| m.ahead() / look.interval);
        if measured.is_some() {
            self.speed = measured;
        }
        let speed = given.or(self.speed);
        let ahead_by = driven.or(moved.map(Motion::ahead)).filter(|length| *length > 0.0);
        if let Some(length) = ahead_by {
            bring_near(&self.eye, &mut surfaces, &look.matches, length);
        }
        let movers = moved
            .map(|m| Movers::find(&self.eye, &surfaces, &look.matches, m, look.interval, &self.calibration))
            .unwrap_or_default();
        let corridor = Lane::corridor(&robot);
        let nearest = corridor.nearest(&self.eye, &surfaces, &self.calibration);
        let growth = nearest.and_then(|n| self.growth(look, &surfaces, &n, &corridor));
        let sigma = (DEPTH_SIGMA.powi(2) + ruler.sigma.powi(2)).sqrt();
        let growth_ahead = if scale == Scale::None { self.growth_without_scale(look) } else { growth };
        let contact = growth_ahead.map(|[g, _]| look.interval / (g - 1.0));
        let ahead = nearest.map(|n| self.fused(&n, sigma, growth, ahead_by, time, speed));
        self.before = ahead.map(|a| (a.distance, time));
        let ahead = self.no_farther(ahead, scale);
        let zones = self.zones(look, &surfaces, &movers, ahead, contact, speed);
        let entry = self.entry(&movers, speed);
        self.coming = movers.sides.map(|side| side.is_some());
        let reach = stop(speed.unwrap_or(0.0)).max(robot.width);
        Analysis {
            scale,
            sigma,
            speed,
            measured_speed: measured,
            parallax_px,
            zones,
            ahead,
            contact,
            entry,
            movers: movers.sides,
            seen: corridor.seen(&self.eye, &self.calibration, reach),
            floor: ruler.share,
            renew: renew(look, parallax_px),
            geometry_age,
            lanes: self.lanes(&surfaces),
            kinds: surfaces.kinds,
        }
    }

    /// The ruler of this frame: the floor, or else the way driven, or else that of an earlier frame.
    ///
    /// A robot may be slower than its calibrated speed, and then everything is nearer than that says: the way that it would have driven
    /// never gives a longer ruler than the floor did last.
    fn ruler(
        &mut self,
        look: &Look,
        time: f64,
        driven: Option<f64>,
        is_measured: bool,
    ) -> (Ruler, Scale, f64) {
        let known_height = self.calibration.camera.above_floor.is_some();
        let floor = Ruler::measure(&self.eye, look).filter(|r| known_height && r.sigma < ROUGH);
        if let Some(ruler) = floor {
            self.ruler = Some((ruler.clone(), time));
            self.floor_factor = Some(ruler.factor());
            return (ruler, Scale::Floor, 0.0);
        }
        let start = self.ruler.as_ref().map_or(1.0, |(ruler, _)| ruler.factor());
        if let Some(ruler) = driven.and_then(|length| self.ruler_of_way(look, length, start)) {
            if is_measured {
                self.ruler = Some((ruler.clone(), time));
                return (ruler, Scale::Speed, 0.0);
            }
            let factor = self.floor_factor.map_or(ruler.factor(), |floor| floor.min(ruler.factor()));
            let ruler = Ruler::of_factor(factor, ruler.sigma, &self.eye);
            self.ruler = Some((ruler.clone(), time));
            return (ruler, Scale::AssumedSpeed, 0.0);
        }
        match &self.ruler {
            Some((ruler, made)) if time - made <= OLD => {
                let age = time - made;
                let held = Ruler::of_factor(ruler.factor(), 0.2 + 0.2 * age, &self.eye);
                (held, Scale::Earlier, age)
            }
            _ => (Ruler::of_factor(1.0, 0.5, &self.eye), Scale::None, OLD),
        }
    }

    /// With an assumed speed nothing gets farther than it was: the robot drives towards it, and a growing distance says only that
    /// it is slower than assumed.
    fn no_farther(&mut self, ahead: Option<Ahead>, scale: Scale) -> Option<Ahead> {
        let sure = ahead.filter(|a| a.sure);
        let nearer = |a: Option<Ahead>, b: Option<Ahead>| {
            a.into_iter().chain(b).min_by(|a, b| a.distance.total_cmp(&b.distance))
        };
        match scale {
            Scale::AssumedSpeed => {
                let result = nearer(ahead, self.nearest);
                self.nearest = nearer(sure, self.nearest);
                result
            }
            Scale::None => ahead,
            _ => {
                self.nearest = sure;
                ahead
            }
        }
    }

    /// The factor for which matches say that the robot drove as far as it did.
    fn ruler_of_way(&self, look: &Look, driven: f64, start: f64) -> Option<Ruler> {
        let mut factor = start;
        for _ in 0..4 {
            let points = self.points(look, |depth| factor * depth);
            let motion = Motion::measure(&self.eye, &look.matches, &points, None, DEPTH_SIGMA)?;
            let doubtful = motion.agree < MOST_AGREE || motion.parallax_px < 2.0 * LEAST_PARALLAX;
            if doubtful || motion.ahead() <= 0.0 {
                return None;
            }
            factor *= (driven / motion.ahead()).clamp(0.2, 5.0);
        }
        Some(Ruler::of_factor(factor, SPEED_SIGMA, &self.eye))
    }

    fn points(&self, look: &Look, metres: impl Fn(f64) -> f64) -> Vec<Vector3<f64>> {
        let index = |m: &Match| self.index(m);
        look.matches
            .iter()
            .map(|m| self.eye.point(index(m), metres(f64::from(look.depth[index(m)]))))
            .collect()
    }

    fn index(&self, m: &Match) -> usize {
        m.current[1] as usize * self.eye.size[0] + m.current[0] as usize
    }

    fn motion(&self, look: &Look, surfaces: &Surfaces, driven: Option<f64>, sigma: f64) -> Option<Motion> {
        if look.interval <= 0.0 {
            return None;
        }
        let points: Vec<_> = look.matches.iter().map(|m| surfaces.points[self.index(m)]).collect();
        // The way in the units of these depths: the ruler may be off as much as the speed.
        let sigma = DEPTH_SIGMA.hypot(sigma);
        let expected = driven.map(|length| [length, 2.0 * GIVEN_SPEED_SIGMA.max(sigma) * length + 0.01]);
        Motion::measure(&self.eye, &look.matches, &points, expected, sigma)
    }

    /// How much the nearest surface grew since the keyframe, if that is significant.
    fn growth(
        &self,
        look: &Look,
        surfaces: &Surfaces,
        nearest: &Nearest,
        corridor: &Lane,
    ) -> Option<[f64; 2]> {
        let around = Lane { right: corridor.right - 0.2, left: corridor.left + 0.2 };
        let on = |m: &&Match| {
            let (point, kind) = (&surfaces.points[self.index(m)], surfaces.kinds[self.index(m)]);
            kind != Kind::Floor
                && (point.x / nearest.from_lens).ln().abs() < 0.2
                && around.holds(&self.calibration, point)
        };
        let matches: Vec<Match> = look.matches.iter().filter(on).copied().collect();
        expansion(&matches).filter(|[growth, sigma]| growth - 1.0 > SIGNIFICANT * sigma)
    }

    /// How much what is nearest straight ahead grew: without metres there is no corridor, only a direction.
    fn growth_without_scale(&self, look: &Look) -> Option<[f64; 2]> {
        /// Tangent of 11 degrees, to both sides and down.
        const AHEAD: f64 = 0.2;
        let straight = |m: &&Match| {
            let ray = self.eye.ray_of(self.index(m));
            (ray.y / ray.x).abs() < AHEAD && ray.z / ray.x > -AHEAD
        };
        let depth = |m: &Match| f64::from(look.depth[self.index(m)]);
        let mut ahead: Vec<Match> = look.matches.iter().filter(straight).copied().collect();
        ahead.sort_by(|a, b| depth(a).total_cmp(&depth(b)));
        let near = depth(ahead.get(ahead.len() / 5)?);
        let surface: Vec<Match> = ahead.into_iter().filter(|m| (depth(m) / near).ln().abs() < 0.2).collect();
        expansion(&surface).filter(|[growth, sigma]| growth - 1.0 > SIGNIFICANT * sigma)
    }

    /// The distance by the ruler, by growth and by what was before, weighted by their precisions; what contradicts counts only if it is
    /// nearer.
    fn fused(
        &self,
        nearest: &Nearest,
        sigma: f64,
        growth: Option<[f64; 2]>,
        driven: Option<f64>,
        time: f64,
        speed: Option<f64>,
    ) -> Ahead {
        let front = self.calibration.camera.behind_front;
        let mut known = LogDistance { log: nearest.from_lens.max(0.01).ln(), variance: sigma * sigma };
        let mut supported = false;
        if let (Some([growth, spread]), Some(length)) = (growth, driven) {
            let variance = (spread / (growth - 1.0)).powi(2) + GIVEN_SPEED_SIGMA * GIVEN_SPEED_SIGMA;
            supported |= known.take((length / (growth - 1.0)).ln(), variance);
        }
        if let (Some((distance, when)), Some(speed)) = (self.before, speed) {
            let now = distance + front - speed * (time - when);
            // Something before it may hide what was there: an older distance supports, and never overrules.
            if now > 0.05 && known.agrees(now.ln(), sigma * sigma) {
                supported |= known.take(now.ln(), 2.0 * sigma * sigma);
            }
        }
        let log = known.log;
        let distance = log.exp() - front;
        let side = 2.0 * 0.06 * self.eye.focal_px[0] / nearest.from_lens;
        Ahead { distance, sure: supported || nearest.pixels as f64 > side * side }
    }

    fn entry(&self, movers: &Movers, speed: Option<f64>) -> Option<Entry> {
        let speed = speed.unwrap_or(0.0);
        let entries = movers.sides.iter().zip(self.coming).filter_map(|(mover, sure)| {
            let mover = mover.as_ref()?;
            let sure = sure || mover.matches >= MANY_MATCHES;
            Some(Entry { after: mover.entry, distance: mover.distance - speed * mover.entry, sure })
        });
        entries.min_by(|a, b| b.sure.cmp(&a.sure).then(a.after.total_cmp(&b.after)))
    }

    fn zones(
        &self,
        look: &Look,
        surfaces: &Surfaces,
        movers: &Movers,
        ahead: Option<Ahead>,
        contact: Option<f64>,
        speed: Option<f64>,
    ) -> [Zone; 3] {
        let lanes = self.zone_lanes();
        [0, 1, 2].map(|k| {
            let inside = |i: usize| {
                surfaces.points[i].x < crate::RANGE && lanes[k].holds(&self.calibration, &surfaces.points[i])
            };
            let mut trust: Vec<f32> =
                (0..look.confidence.len()).filter(|&i| inside(i)).map(|i| look.confidence[i]).collect();
            trust.sort_by(f32::total_cmp);
            let here: Vec<usize> =
                (0..look.matches.len()).filter(|&m| inside(self.index(&look.matches[m]))).collect();
            let own = here.iter().filter(|&&m| movers.own.get(m).copied().unwrap_or(false)).count();
            let distance = if k == 1 {
                ahead.map(|a| a.distance)
            } else {
                lanes[k].nearest(&self.eye, surfaces, &self.calibration).map(|n| n.distance)
            };
            let by_speed = distance.zip(speed.filter(|v| *v > 0.01)).map(|(d, v)| d / v);
            Zone {
                distance,
                time_to_contact: if k == 1 { contact.or(by_speed) } else { by_speed },
                change: (!here.is_empty() && !movers.own.is_empty()).then(|| own as f64 / here.len() as f64),
                confidence: trust.get(trust.len() / 2).map_or(1.0, |c| f64::from(*c)),
                surprise: None,
            }
        })
    }

    /// Left of the corridor, the corridor, right of it.
    fn zone_lanes(&self) -> [Lane; 3] {
        let corridor = Lane::corridor(&self.calibration.robot);
        [
            Lane { right: corridor.left, left: corridor.left + BESIDE },
            corridor,
            Lane { right: corridor.right - BESIDE, left: corridor.right },
        ]
    }

    /// The zone of each pixel; on an edge that of the corridor.
    fn lanes(&self, surfaces: &Surfaces) -> Vec<Option<u8>> {
        let lanes = self.zone_lanes();
        let holds = |k: u8, point: &Vector3<f64>| lanes[usize::from(k)].holds(&self.calibration, point);
        let zone =
            |point: &Vector3<f64>| [1, 0, 2].into_iter().find(|&k| point.x < crate::RANGE && holds(k, point));
        surfaces.points.iter().map(zone).collect()
    }

    /// Whether the network trusts its depth in the corridor enough.
    pub fn trusted(analysis: &Analysis) -> bool {
        analysis.zones[1].confidence >= LEAST_CONFIDENCE
    }
}

/// The logarithm of a distance and its variance.
struct LogDistance {
    log: f64,
    variance: f64,
}

impl LogDistance {
    fn agrees(&self, log: f64, variance: f64) -> bool {
        (log - self.log).abs() < 2.5 * (self.variance + variance).sqrt()
    }

    /// Takes another measurement, weighted by precisions; one that does not agree only if it is nearer. Whether it agrees.
    fn take(&mut self, log: f64, variance: f64) -> bool {
        let agrees = self.agrees(log, variance);
        if agrees {
            let precisions = [1.0 / self.variance, 1.0 / variance];
            self.variance = 1.0 / (precisions[0] + precisions[1]);
            self.log = self.variance * (self.log * precisions[0] + log * precisions[1]);
        } else if log < self.log {
            *self = Self { log, variance };
        }
        agrees
    }
}

/// Whether the current frame should become the keyframe: enough parallax has gathered, too little is still seen, or it is old.
fn renew(look: &Look, parallax_px: Option<f64>) -> bool {
    let few = look.matches.len() < 100;
    look.interval == 0.0 || few || look.interval > OLD || parallax_px.is_none_or(|p| p >= MUCH_PARALLAX)
}
