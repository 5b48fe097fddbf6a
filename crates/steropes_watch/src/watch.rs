//! The watch: frames in, decisions out.

use crate::{
    Analysis, Analyst, Calibration, Decider, Evidence, Eye, Fault, Judged, Network, Reason, Scale, State,
    Surprise, Vitals, WatchError, Zone, sentence, stopping_distance,
};
use image::RgbImage;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use steropes_scene::photo::PixelMap;

/// Decisions that percentiles of the latency are taken over.
const LATENCIES: usize = 100;
/// Share of the corridor's width that must be in the picture.
const LEAST_SEEN: f64 = 0.9;
/// Time between decisions that is supposed before it is known, seconds.
const FIRST_PERIOD: f64 = 0.5;
/// What is said of surprise and anticipation without a video predictor, while it has seen too little, and when it has seen enough.
const OFF: &str = "off: no weights of a video predictor, and no probe trained on its features";
const LEARNING: &str =
    "off: too little was seen of late; anticipation is off: no probe trained on its features";
const ON: &str = "on; anticipation is off: no probe trained on its features";

/// One decision, as it is written: one line of JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Number of the frame in the stream; `None` if none came.
    pub frame: Option<u64>,
    /// When the frame was taken, seconds since the start of the stream; without a frame, now.
    pub time: f64,
    /// Seconds from then to the decision.
    pub age: Option<f64>,
    /// The state.
    pub state: State,
    /// Why, the strongest reason first.
    pub why: Vec<Reason>,
    /// The same in words.
    pub sentence: String,
    /// Percentiles of the age over the last 100 decisions: median and 95 %.
    pub latency: Option<[f64; 2]>,
    /// Frames that were not looked at, since the start.
    pub dropped: u64,
    /// Speed that counts, metres a second.
    pub speed: Option<f64>,
    /// Distance that the robot needs to stop, metres.
    pub stopping_distance: Option<f64>,
    /// Seconds until something is in the corridor that moves towards it.
    pub entry: Option<f64>,
    /// Where metres come from.
    pub scale: Scale,
    /// Left of the corridor, the corridor, right of it; empty without a look.
    pub zones: Vec<Zone>,
    /// Whether there is surprise and anticipation, and why not.
    pub surprise: String,
    /// Numbers of the picture.
    pub vitals: Option<Vitals>,
    /// Name of the network.
    pub model: String,
}

/// Everything that a decision on a frame needs but its age.
#[derive(Debug)]
pub struct Seen {
    index: u64,
    time: f64,
    faults: Vec<Fault>,
    vitals: Vitals,
    analysis: Option<Analysis>,
}

impl Seen {
    /// What the network saw, unless the camera has a fault.
    pub fn analysis(&self) -> Option<&Analysis> {
        self.analysis.as_ref()
    }
}

/// Watches one camera. Decisions depend on frames, their times, the speeds given and the ages given, and on no clock.
#[derive(Debug)]
pub struct Watch {
    network: Network,
    calibration: Calibration,
    calibrated: bool,
    analyst: Option<Analyst>,
    decider: Decider,
    latencies: VecDeque<f64>,
    last: Option<[f64; 2]>,
    next_index: u64,
    dropped: u64,
    period: f64,
    /// What is said of surprise.
    surprise: &'static str,
}

impl Watch {
    /// A watch with a calibration; without one, `None`, it supposes a camera of 60 degrees 0.5 m above the floor and is never clear.
    ///
    /// # Errors
    /// [`WatchError::Calibration`].
    pub fn new(
        network: Network,
        calibration: Option<Calibration>,
        frame_size: [u32; 2],
    ) -> Result<Self, WatchError> {
        let calibrated = calibration.is_some();
        let calibration = calibration.unwrap_or_else(|| Calibration::guess(frame_size));
        calibration.check()?;
        Ok(Self {
            decider: Decider::new(&calibration.robot, calibration.noise.max_age),
            network,
            calibrated,
            calibration,
            analyst: None,
            latencies: VecDeque::new(),
            last: None,
            next_index: 0,
            dropped: 0,
            period: FIRST_PERIOD,
            surprise: OFF,
        })
    }

    /// The calibration in use.
    pub fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// How frames of a size are brought to the network.
    ///
    /// # Errors
    /// As [`Network::map`].
    pub fn map(&self, size: [u32; 2]) -> Result<PixelMap, WatchError> {
        self.network.map(size)
    }

    /// The camera, once a frame was seen.
    pub fn eye(&self) -> Option<&Eye> {
        self.analyst.as_ref().map(Analyst::eye)
    }

    /// Looks at a frame. `speed` is what the robot says of its own, metres a second; `judged` what [`crate::Health`] said of it, who also sees the frames
    /// that are dropped (see [`crate::Judging`]); `surprise` what [`crate::Foresight`] said by then, `None` if there is none.
    ///
    /// # Errors
    /// [`WatchError::FrameSize`], [`WatchError::Model`].
    pub fn see(
        &mut self,
        index: u64,
        time: f64,
        frame: &RgbImage,
        speed: Option<f64>,
        judged: &Judged,
        surprise: Option<&Surprise>,
    ) -> Result<Seen, WatchError> {
        self.dropped += index.saturating_sub(self.next_index);
        self.next_index = index + 1;
        let fresh = surprise.filter(|surprise| surprise.is_known_at(time));
        self.surprise = match (surprise, fresh) {
            (None, _) => OFF,
            (Some(_), None) => LEARNING,
            (Some(_), Some(_)) => ON,
        };
        let Judged { faults, vitals } = judged.clone();
        if !faults.is_empty() {
            // What a bad frame shows is nothing to compare the next ones with.
            self.network.forget();
            return Ok(Seen { index, time, faults, vitals, analysis: None });
        }
        if self.analyst.is_none() {
            let map = self.network.map([frame.width(), frame.height()])?;
            self.analyst = Some(Analyst::new(&self.calibration, Eye::new(&self.calibration, &map)?));
        }
        let analyst = self.analyst.as_mut().expect("just made");
        let (look, key) = self.network.look(frame, time)?;
        let robot = &self.calibration.robot;
        let usual = self.latencies.back().copied().unwrap_or(self.period);
        let mut analysis = analyst.analyse(&look, time, speed, &|v| stopping_distance(robot, v, usual));
        if let Some(surprise) = fresh {
            let map = self.network.map([frame.width(), frame.height()])?;
            let zones = surprise.zones(&analysis.lanes, &map);
            analysis.zones.iter_mut().zip(zones).for_each(|(zone, surprise)| zone.surprise = surprise);
        }
        if analysis.renew {
            self.network.keep(key);
        }
        Ok(Seen { index, time, faults, vitals, analysis: Some(analysis) })
    }

    /// Decides on a frame that is `age` seconds old by now.
    pub fn decide(&mut self, seen: &Seen, age: f64) -> Decision {
        if let Some([time, before]) = self.last {
            let gap = seen.time + age - (time + before);
            self.period = 0.5 * self.period + 0.5 * gap.clamp(0.0, 2.0);
        }
        self.last = Some([seen.time, age]);
        self.latencies.push_back(age);
        if self.latencies.len() > LATENCIES {
            self.latencies.pop_front();
        }
        let evidence = self.evidence(seen, age);
        let (state, why) = self.decider.decide(&evidence);
        let analysis = seen.analysis.as_ref();
        Decision {
            frame: Some(seen.index),
            time: seen.time,
            age: Some(age),
            sentence: sentence(state, &why, &evidence),
            state,
            why,
            latency: self.percentiles(),
            dropped: self.dropped,
            speed: evidence.speed,
            stopping_distance: evidence
                .speed
                .map(|v| stopping_distance(&self.calibration.robot, v, age + self.period)),
            entry: evidence.entry.map(|entry| entry.after),
            scale: analysis.map_or(Scale::None, |a| a.scale),
            zones: analysis.map_or_else(Vec::new, |a| a.zones.to_vec()),
            surprise: self.surprise.to_owned(),
            vitals: Some(seen.vitals),
            model: self.network.name().to_owned(),
        }
    }

    /// Decides that no frame has come for too long by `now`, seconds since the start of the stream.
    pub fn silence(&mut self, now: f64) -> Decision {
        let evidence = Evidence::none();
        let (state, why) = self.decider.decide(&evidence);
        self.network.forget();
        Decision {
            frame: None,
            time: now,
            age: None,
            sentence: sentence(state, &why, &evidence),
            state,
            why,
            latency: self.percentiles(),
            dropped: self.dropped,
            speed: None,
            stopping_distance: None,
            entry: None,
            scale: Scale::None,
            zones: Vec::new(),
            surprise: self.surprise.to_owned(),
            vitals: None,
            model: self.network.name().to_owned(),
        }
    }

    fn evidence(&self, seen: &Seen, age: f64) -> Evidence {
        let base =
            Evidence { age: Some(age), faults: seen.faults.clone(), doubts: Vec::new(), ..Evidence::none() };
        let Some(analysis) = &seen.analysis else { return base };
        let doubts = [
            (!self.network.verified(), Reason::UnverifiedWeights),
            (!self.calibrated, Reason::NotCalibrated),
            (analysis.scale == Scale::None, Reason::NoScale),
            (!Analyst::trusted(analysis), Reason::LowConfidence),
            (analysis.seen < LEAST_SEEN, Reason::CorridorOutOfView),
            (analysis.speed.is_none(), Reason::NoSpeed),
            (analysis.scale == Scale::AssumedSpeed, Reason::AssumedSpeed),
            (analysis.scale == Scale::Earlier, Reason::OldGeometry),
        ];
        Evidence {
            doubts: doubts.into_iter().filter(|(holds, _)| *holds).map(|(_, reason)| reason).collect(),
            speed: analysis.speed,
            ahead: analysis.ahead.filter(|_| analysis.scale != Scale::None),
            contact: analysis.contact,
            entry: analysis.entry.filter(|_| analysis.scale != Scale::None),
            surprise: analysis.zones.iter().filter_map(|zone| zone.surprise).max_by(f64::total_cmp),
            period: self.period,
            ..base
        }
    }

    fn percentiles(&self) -> Option<[f64; 2]> {
        let mut sorted: Vec<f64> = self.latencies.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| sorted.get(((sorted.len() as f64 * share).ceil() as usize).max(1) - 1).copied();
        Some([at(0.5)?, at(0.95)?])
    }
}
