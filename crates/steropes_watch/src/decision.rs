//! From what is known of a frame to a state, with reasons and hysteresis.

use crate::{Fault, Robot};
use serde::{Deserialize, Serialize};

/// What the robot is told. The order is that of how much it may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Nothing is known: the robot must treat it as [`State::Stop`], or creep.
    Unknown,
    /// The corridor was seen, measured and is free.
    Clear,
    /// Something is in the way, or will be, or is not known well: slow down.
    Caution,
    /// The brakes are needed now.
    Stop,
}

/// Why, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No frame for longer than allowed.
    NoFrame,
    /// The frame is older than allowed.
    StaleFrame,
    /// A fault of the camera.
    Dark,
    /// A fault of the camera.
    Glare,
    /// A fault of the camera.
    Flat,
    /// A fault of the camera.
    Frozen,
    /// A fault of the camera.
    Blurred,
    /// A fault of the camera.
    ExposureStep,
    /// The weights are not the built-in ones.
    UnverifiedWeights,
    /// No calibration, so the corridor is a guess.
    NotCalibrated,
    /// No scale: neither the floor nor the speed gives metres.
    NoScale,
    /// The network trusts its depth in the corridor too little.
    LowConfidence,
    /// The camera does not see the corridor where the robot must be able to stop.
    CorridorOutOfView,
    /// The speed is not known.
    NoSpeed,
    /// Distances rest on the calibrated speed, which nobody measured.
    AssumedSpeed,
    /// The geometry is that of an earlier frame.
    OldGeometry,
    /// Nearer than the distance that the robot needs to stop.
    WithinStoppingDistance,
    /// Contact sooner than the robot can stop.
    ContactTooSoon,
    /// Near, seen once, by few pixels: not confirmed yet.
    NotConfirmed,
    /// Nearer than the distance from which to slow down.
    Near,
    /// Something moves towards the corridor and arrives when the robot does.
    SideEntry,
    /// The picture is far from what a video predictor expected.
    Surprise,
    /// The corridor is free as far as needed.
    Free,
    /// The state before is held until this one has lasted.
    Held,
}

impl From<Fault> for Reason {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Dark => Self::Dark,
            Fault::Glare => Self::Glare,
            Fault::Flat => Self::Flat,
            Fault::Frozen => Self::Frozen,
            Fault::Blurred => Self::Blurred,
            Fault::ExposureStep => Self::ExposureStep,
        }
    }
}

/// An obstacle in the corridor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ahead {
    /// Distance from the robot's front, metres.
    pub distance: f64,
    /// Whether it is seen by many pixels, grew as something near does, or was seen before.
    pub sure: bool,
}

/// Something that will be in the corridor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// Seconds until then.
    pub after: f64,
    /// Its distance from the robot's front then, metres.
    pub distance: f64,
    /// Whether many matches show it, or it was seen coming from that side in the frame before, too.
    pub sure: bool,
}

/// What a decision rests on. Times in seconds, at the time when the frame was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// Age of the frame now, measured; `None` if there is no frame.
    pub age: Option<f64>,
    /// What is wrong with the camera.
    pub faults: Vec<Fault>,
    /// Other grounds against [`State::Clear`].
    pub doubts: Vec<Reason>,
    /// Speed of the robot, metres a second.
    pub speed: Option<f64>,
    /// What stands in the corridor.
    pub ahead: Option<Ahead>,
    /// Seconds to contact, from what grows in the corridor, without any scale.
    pub contact: Option<f64>,
    /// What will be in the corridor.
    pub entry: Option<Entry>,
    /// Largest surprise of a zone, in spreads of what is usual.
    pub surprise: Option<f64>,
    /// Time from this decision to the next, about: a robot that slows down only then has driven on.
    pub period: f64,
}

impl Evidence {
    /// Nothing but that there is no frame.
    pub fn none() -> Self {
        Self {
            age: None,
            faults: Vec::new(),
            doubts: vec![Reason::NoFrame],
            speed: None,
            ahead: None,
            contact: None,
            entry: None,
            surprise: None,
            period: 0.0,
        }
    }
}

/// The distance that the robot needs to stop at `speed`, metres: `v (delay + reaction) + v^2 / (2 a) + margin`. The delay is the age of the frame and
/// the time until the next decision: a robot that is let go on now can be stopped only then.
pub fn stopping_distance(robot: &Robot, speed: f64, delay: f64) -> f64 {
    speed * (delay + robot.reaction) + speed * speed / (2.0 * robot.deceleration) + robot.margin
}

/// States one after the other: worse ones at once, better ones when they have lasted.
#[derive(Clone, Debug)]
pub struct Decider {
    robot: Robot,
    max_age: f64,
    state: State,
    /// Decisions in a row that wanted something better.
    better: u32,
    /// Whether the last decision wanted [`State::Stop`] but was not sure.
    pending: bool,
    /// Decisions for which a surprise still makes CLEAR to CAUTION.
    startled: u32,
}

/// Decisions in a row that a better state needs.
const PATIENCE: u32 = 2;
/// A state is left at this much more than the distance at which it was entered.
const HYSTERESIS: f64 = 1.15;
/// Surprise from which the robot should slow down, in spreads of what is usual: of normal noise that is never seen, and a tenth of a zone's cells
/// must be beyond it.
pub const SURPRISING: f64 = 8.0;

impl Decider {
    /// At first, nothing is known.
    pub fn new(robot: &Robot, max_age: f64) -> Self {
        Self { robot: robot.clone(), max_age, state: State::Unknown, better: 0, pending: false, startled: 0 }
    }

    /// The state now, and why, the strongest reason first.
    pub fn decide(&mut self, evidence: &Evidence) -> (State, Vec<Reason>) {
        let (wanted, mut why) = self.judge(evidence);
        let worse = rank(wanted) >= rank(self.state);
        // UNKNOWN is taken at once, and left at once for anything but CLEAR.
        let known = wanted == State::Unknown || self.state == State::Unknown && wanted != State::Clear;
        // A STOP ends by distances that were measured, not by assumed ones.
        let assumed = self.state == State::Stop && evidence.doubts.contains(&Reason::AssumedSpeed);
        if !worse && !known && assumed {
            self.better = 0;
            why.insert(0, Reason::Held);
        } else if worse || known {
            self.state = wanted;
            self.better = 0;
        } else {
            self.better += 1;
            if self.better >= PATIENCE {
                self.state = wanted;
                self.better = 0;
            } else {
                why.insert(0, Reason::Held);
            }
        }
        self.startle(evidence, why)
    }

    /// The state with surprise, which makes CLEAR to CAUTION until it has lasted without, and changes nothing else: what follows is decided as
    /// if there had been none.
    fn startle(&mut self, evidence: &Evidence, why: Vec<Reason>) -> (State, Vec<Reason>) {
        let now = evidence.surprise.is_some_and(|surprise| surprise >= SURPRISING);
        self.startled = if now { PATIENCE } else { self.startled.saturating_sub(1) };
        match (self.state, now) {
            (State::Clear, true) => (State::Caution, vec![Reason::Surprise]),
            (State::Clear, false) if self.startled > 0 => {
                (State::Caution, vec![Reason::Held, Reason::Surprise])
            }
            (state, _) => (state, why),
        }
    }

    fn judge(&mut self, evidence: &Evidence) -> (State, Vec<Reason>) {
        let mut why: Vec<Reason> = evidence.faults.iter().map(|&fault| fault.into()).collect();
        let Some(age) = evidence.age else { return (State::Unknown, vec![Reason::NoFrame]) };
        if age > self.max_age {
            why.push(Reason::StaleFrame);
        }
        if !why.is_empty() {
            self.pending = false;
            return (State::Unknown, why);
        }
        let (stop, mut reasons) = self.needs_brakes(evidence, age);
        if stop {
            self.pending = false;
            return (State::Stop, reasons);
        }
        let caution = self.needs_care(evidence, age, &mut reasons);
        let cannot_know = |reason: &Reason| {
            matches!(
                reason,
                Reason::NoScale | Reason::CorridorOutOfView | Reason::OldGeometry | Reason::LowConfidence
            )
        };
        if caution {
            reasons.extend(&evidence.doubts);
            return (State::Caution, reasons);
        }
        if evidence.doubts.iter().any(cannot_know) {
            return (State::Unknown, evidence.doubts.clone());
        }
        if !evidence.doubts.is_empty() {
            return (State::Caution, evidence.doubts.clone());
        }
        (State::Clear, vec![Reason::Free])
    }

    /// Whether the robot must brake now.
    fn needs_brakes(&mut self, evidence: &Evidence, age: f64) -> (bool, Vec<Reason>) {
        let speed = evidence.speed.unwrap_or(0.0);
        let keep = if self.state == State::Stop { HYSTERESIS } else { 1.0 };
        let stop = keep * stopping_distance(&self.robot, speed, age + evidence.period);
        let near = evidence.ahead.is_some_and(|ahead| ahead.distance < stop);
        let sure =
            self.state == State::Stop || self.pending || evidence.ahead.is_some_and(|ahead| ahead.sure);
        // The same rule without metres; a robot whose speed is not known needs its reaction and a second at least.
        let time = if speed > 0.01 { stop / speed } else { age + self.robot.reaction + 1.0 };
        let soon =
            evidence.contact.is_some_and(|contact| contact < time) && evidence.speed.is_none_or(|v| v > 0.01);
        let enters = evidence.entry.is_some_and(|entry| {
            entry.sure && entry.distance < stop && entry.distance > -self.robot.margin && entry.after < time
        });
        let mut why = Vec::new();
        if near && sure {
            why.push(Reason::WithinStoppingDistance);
        }
        if soon {
            why.push(Reason::ContactTooSoon);
        }
        if enters {
            why.push(Reason::SideEntry);
        }
        let stop = !why.is_empty();
        self.pending = near && !stop;
        if self.pending {
            why.push(Reason::NotConfirmed);
        }
        (stop, why)
    }

    /// Whether the robot should slow down, so that the next decisions are in time: it would otherwise pass the stopping distance before
    /// two more of them, or have to brake harder than half of what it can.
    fn needs_care(&self, evidence: &Evidence, age: f64, why: &mut Vec<Reason>) -> bool {
        let speed = evidence.speed.unwrap_or(0.0);
        let keep = if self.state == State::Caution { HYSTERESIS } else { 1.0 };
        let gentle = stopping_distance(&self.robot, speed, age + 3.0 * evidence.period)
            + speed * speed / (2.0 * self.robot.deceleration)
            + self.robot.margin;
        let slow = keep * gentle;
        if evidence.ahead.is_some_and(|ahead| ahead.distance < slow) {
            why.push(Reason::Near);
        }
        let time = if speed > 0.01 { slow / speed } else { 2.0 + age };
        if evidence.contact.is_some_and(|contact| contact < time) && evidence.speed.is_none_or(|v| v > 0.01) {
            why.push(Reason::Near);
        }
        let enters = |entry: &Entry| {
            entry.distance > -self.robot.margin && entry.distance < slow && entry.after < time
        };
        if evidence.entry.as_ref().is_some_and(enters) {
            why.push(Reason::SideEntry);
        }
        why.dedup();
        !why.is_empty()
    }
}

/// How much a state forbids.
fn rank(state: State) -> u8 {
    match state {
        State::Clear => 0,
        State::Caution => 1,
        State::Unknown => 2,
        State::Stop => 3,
    }
}

/// One sentence for people.
pub fn sentence(state: State, why: &[Reason], evidence: &Evidence) -> String {
    let distance = evidence.ahead.map_or(String::new(), |ahead| format!(" {:.2} m ahead", ahead.distance));
    let what = |reason: &Reason| match reason {
        Reason::NoFrame => "no frame arrived for too long".to_owned(),
        Reason::StaleFrame => format!("the frame is {:.2} s old", evidence.age.unwrap_or(f64::NAN)),
        Reason::Dark => "the picture is dark".to_owned(),
        Reason::Glare => "the picture is too bright".to_owned(),
        Reason::Flat => "the picture shows nothing".to_owned(),
        Reason::Frozen => "the picture does not change".to_owned(),
        Reason::Blurred => "the picture is blurred".to_owned(),
        Reason::ExposureStep => "the brightness jumped".to_owned(),
        Reason::UnverifiedWeights => "the weights are not verified".to_owned(),
        Reason::NotCalibrated => "the camera is not calibrated".to_owned(),
        Reason::NoScale => "nothing gives the scale".to_owned(),
        Reason::LowConfidence => "the network does not trust its depth".to_owned(),
        Reason::CorridorOutOfView => "the camera does not see the corridor".to_owned(),
        Reason::NoSpeed => "the speed is not known".to_owned(),
        Reason::AssumedSpeed => {
            "without floor in view, distances rest on a speed that was not measured".to_owned()
        }
        Reason::OldGeometry => "the geometry is that of an earlier frame".to_owned(),
        Reason::WithinStoppingDistance => {
            format!("something is{distance}, nearer than the stopping distance")
        }
        Reason::ContactTooSoon => format!("contact in {:.2} s", evidence.contact.unwrap_or(f64::NAN)),
        Reason::NotConfirmed => format!("something small may be{distance}"),
        Reason::Near => match evidence.ahead {
            Some(_) => format!("something is{distance}"),
            None => format!("contact in {:.1} s", evidence.contact.unwrap_or(f64::NAN)),
        },
        Reason::SideEntry => format!(
            "something will be in the way in {:.1} s",
            evidence.entry.map_or(f64::NAN, |entry| entry.after)
        ),
        Reason::Surprise => match evidence.surprise {
            Some(surprise) => {
                format!("the picture is not as predicted, {surprise:.0} times the usual spread")
            }
            None => "the picture was not as predicted".to_owned(),
        },
        Reason::Free => format!(
            "the corridor is free{}",
            if distance.is_empty() { String::new() } else { format!("; something is{distance}") }
        ),
        Reason::Held => "held until it has lasted".to_owned(),
    };
    let name = match state {
        State::Unknown => "UNKNOWN",
        State::Clear => "CLEAR",
        State::Caution => "CAUTION",
        State::Stop => "STOP",
    };
    let parts: Vec<String> = why.iter().map(what).collect();
    format!("{name}: {}", parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::tests::robot;

    fn decider() -> Decider {
        Decider::new(&robot().robot, 1.0)
    }

    fn free() -> Evidence {
        Evidence { age: Some(0.3), speed: Some(0.65), doubts: Vec::new(), period: 0.3, ..Evidence::none() }
    }

    fn at(distance: f64) -> Evidence {
        Evidence { ahead: Some(Ahead { distance, sure: true }), ..free() }
    }

    #[test]
    fn the_stopping_distance_follows_the_age_of_the_frame() {
        let robot = robot().robot;
        // 0.65 (0.3 + 0.1) + 0.65^2 / 2 + 0.15
        assert!((stopping_distance(&robot, 0.65, 0.3) - 0.621_25).abs() < 1e-12);
        // Where STOP begins, found by driving nearer in steps of a millimetre.
        let begins = |age: f64| {
            let mut decider = decider();
            let near = (0..3000).map(|k| 3.0 - f64::from(k) * 1e-3);
            near.into_iter()
                .find(|&d| decider.decide(&Evidence { age: Some(age), ..at(d) }).0 == State::Stop)
                .unwrap()
        };
        // The next decision is 0.3 s away.
        assert!((begins(0.3) - 0.816).abs() < 2e-3);
        assert!((begins(0.8) - begins(0.3) - 0.65 * 0.5).abs() < 2e-3);
    }

    #[test]
    fn clear_must_last_and_worse_comes_at_once() {
        let mut decider = decider();
        assert_eq!(decider.decide(&free()).0, State::Unknown);
        assert_eq!(decider.decide(&free()), (State::Clear, vec![Reason::Free]));
        assert_eq!(decider.decide(&at(0.3)), (State::Stop, vec![Reason::WithinStoppingDistance]));
        let (held, why) = decider.decide(&free());
        assert_eq!((held, why[0]), (State::Stop, Reason::Held));
        assert_eq!(decider.decide(&free()).0, State::Clear);
        assert_eq!(decider.decide(&at(1.0)), (State::Caution, vec![Reason::Near]));
    }

    #[test]
    fn a_stop_does_not_end_by_an_assumed_speed() {
        let mut decider = decider();
        assert_eq!(decider.decide(&at(0.3)).0, State::Stop);
        let assumed = Evidence { doubts: vec![Reason::AssumedSpeed], ..at(1.5) };
        for _ in 0..5 {
            let (state, why) = decider.decide(&assumed);
            assert_eq!((state, why[0]), (State::Stop, Reason::Held));
        }
        decider.decide(&at(1.5));
        assert_ne!(decider.decide(&at(1.5)).0, State::Stop);
    }

    #[test]
    fn a_stop_ends_beyond_the_distance_where_it_began() {
        let mut decider = decider();
        assert_eq!(decider.decide(&at(0.81)).0, State::Stop);
        for _ in 0..5 {
            assert_eq!(decider.decide(&at(0.9)).0, State::Stop);
        }
        assert_eq!(decider.decide(&at(1.0)).0, State::Stop);
        assert_eq!(decider.decide(&at(1.0)).0, State::Caution);
    }

    #[test]
    fn few_pixels_must_be_seen_twice() {
        let mut decider = decider();
        let doubtful = Evidence { ahead: Some(Ahead { distance: 0.4, sure: false }), ..free() };
        let (state, why) = decider.decide(&doubtful);
        assert!(state == State::Caution && why.contains(&Reason::NotConfirmed), "{state:?} {why:?}");
        assert_eq!(decider.decide(&doubtful).0, State::Stop);
    }

    #[test]
    fn faults_and_missing_frames_are_unknown() {
        for fault in
            [Fault::Dark, Fault::Frozen, Fault::Blurred, Fault::ExposureStep, Fault::Flat, Fault::Glare]
        {
            let mut decider = decider();
            decider.decide(&free());
            decider.decide(&free());
            let (state, why) = decider.decide(&Evidence { faults: vec![fault], ..free() });
            assert_eq!((state, why), (State::Unknown, vec![fault.into()]));
        }
        let mut decider = decider();
        decider.decide(&free());
        assert_eq!(decider.decide(&free()).0, State::Clear);
        assert_eq!(decider.decide(&Evidence::none()), (State::Unknown, vec![Reason::NoFrame]));
        let (state, why) = decider.decide(&Evidence { age: Some(1.2), ..free() });
        assert_eq!((state, why), (State::Unknown, vec![Reason::StaleFrame]));
    }

    #[test]
    fn nothing_is_clear_with_any_doubt() {
        for doubt in [
            Reason::UnverifiedWeights,
            Reason::NotCalibrated,
            Reason::NoScale,
            Reason::CorridorOutOfView,
            Reason::LowConfidence,
            Reason::NoSpeed,
            Reason::AssumedSpeed,
            Reason::OldGeometry,
        ] {
            let mut decider = decider();
            for _ in 0..5 {
                let (state, why) = decider.decide(&Evidence { doubts: vec![doubt], ..free() });
                assert!(state != State::Clear && why.contains(&doubt), "{doubt:?} {state:?} {why:?}");
            }
        }
    }

    #[test]
    fn what_enters_from_the_side_in_time_stops() {
        let mut decider = decider();
        let entry =
            |after, distance| Evidence { entry: Some(Entry { after, distance, sure: true }), ..free() };
        assert_eq!(decider.decide(&entry(0.5, 0.4)), (State::Stop, vec![Reason::SideEntry]));
        let mut decider = super::tests::decider();
        assert_eq!(decider.decide(&entry(1.5, 1.0)), (State::Caution, vec![Reason::SideEntry]));
        let mut decider = super::tests::decider();
        let once = Evidence { entry: Some(Entry { after: 0.5, distance: 0.4, sure: false }), ..free() };
        assert_eq!(
            decider.decide(&once),
            (State::Caution, vec![Reason::SideEntry]),
            "seen once, it may be an error"
        );
        let mut decider = super::tests::decider();
        decider.decide(&entry(9.0, 1.0));
        assert_eq!(decider.decide(&entry(9.0, 1.0)).0, State::Clear, "the robot is gone by then");
    }

    #[test]
    fn surprise_makes_clear_to_caution_and_nothing_else() {
        let startled = |surprise| Evidence { surprise: Some(surprise), ..free() };
        let mut decider = decider();
        decider.decide(&free());
        assert_eq!(decider.decide(&startled(SURPRISING - 0.01)).0, State::Clear);
        assert_eq!(decider.decide(&startled(SURPRISING)), (State::Caution, vec![Reason::Surprise]));
        assert_eq!(decider.decide(&free()), (State::Caution, vec![Reason::Held, Reason::Surprise]));
        assert_eq!(decider.decide(&free()), (State::Clear, vec![Reason::Free]));
        // Any sequence: the state is the one without surprise, but for CLEAR.
        let mut seed = 7u32;
        let mut next = |below: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) % below
        };
        let (mut without, mut with) = (super::tests::decider(), super::tests::decider());
        let mut raised = 0;
        for _ in 0..2000 {
            let evidence = match next(8) {
                0 => at(0.3),
                1 => at(1.0),
                2 => Evidence { faults: vec![Fault::Dark], ..free() },
                3 => Evidence { doubts: vec![Reason::NoScale], ..free() },
                _ => free(),
            };
            let (plain, why) = without.decide(&evidence);
            let surprise = Some(f64::from(next(10)));
            let (state, why_with) = with.decide(&Evidence { surprise, ..evidence });
            if plain == State::Clear && state != plain {
                assert!(state == State::Caution && why_with.contains(&Reason::Surprise));
                raised += 1;
            } else {
                assert_eq!((state, why_with), (plain, why));
            }
        }
        assert!(raised > 100, "{raised}");
    }

    #[test]
    fn contact_in_time_needs_no_metres() {
        let mut decider = decider();
        let soon = Evidence { contact: Some(0.5), speed: None, doubts: vec![Reason::NoScale], ..free() };
        assert_eq!(decider.decide(&soon), (State::Stop, vec![Reason::ContactTooSoon]));
        let standing = Evidence { contact: Some(0.5), speed: Some(0.0), ..free() };
        let mut decider = super::tests::decider();
        decider.decide(&standing);
        assert_eq!(decider.decide(&standing).0, State::Clear, "a robot that stands hits nothing");
    }
}
