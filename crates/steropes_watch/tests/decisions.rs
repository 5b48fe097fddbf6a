//! The whole watch with the built-in network on made-up frames.

use image::{Rgb, RgbImage};
use steropes_models::Precision;
use steropes_models::engine::EngineConfig;
use steropes_models::mast3r::synthetic::weight_file;
use steropes_models::vjepa2::synthetic::{Extents, Version, checkpoint};
use steropes_models::vjepa2::{Model, OpenOptions, Source};
use steropes_tensor::{DType, Device};
use steropes_watch::{
    Calibration, Decision, Event, Foresight, Judged, Network, Reason, Recorder, Recording, SURPRISING, State,
    Vitals, Watch, metres, seconds, watch_settings,
};

fn network() -> Network {
    let settings = EngineConfig { device: Some("cpu".to_owned()), ..watch_settings() };
    Network::open(settings).unwrap()
}

fn calibration() -> Calibration {
    let mut calibration = Calibration::guess([320, 180]);
    calibration.camera.pitch = 8.0;
    calibration.robot.speed = Some(0.5);
    calibration
}

/// A textured floor and a textured wall at a distance, seen from 0.5 m above the floor; with an object that comes in at the side.
fn frame(distance: f64, object: Option<f64>, seed: u32) -> RgbImage {
    let focal = 320.0 / (2.0 * 30f64.to_radians().tan());
    let (s, c) = 8f64.to_radians().sin_cos();
    let hash = |a: i64, b: i64, k: u32| {
        let h = (a as u32).wrapping_mul(0x9E37_79B9)
            ^ (b as u32).wrapping_mul(0x85EB_CA6B)
            ^ k.wrapping_mul(0x27D4_EB2F);
        let h = (h ^ (h >> 15)).wrapping_mul(0xC2B2_AE35);
        f64::from((h ^ (h >> 13)) & 0xFF)
    };
    RgbImage::from_fn(320, 180, |x, y| {
        let (u, v) = ((f64::from(x) + 0.5 - 160.0) / focal, (f64::from(y) + 0.5 - 90.0) / focal);
        let (ahead, down) = (c - s * v, s + c * v);
        let floor = if down > 0.0 { 0.5 * ahead / down } else { f64::INFINITY };
        let (at, kind) = if floor < distance { (floor, 0) } else { (distance, 1) };
        let scale = at / ahead;
        let (left, height) = (-u * scale, 0.5 - down * scale);
        let place = if kind == 0 { [at + 10.0 - distance, left] } else { [left, height] };
        let object = object.is_some_and(|edge| left > edge && kind == 1 && height < 0.8);
        let kind = if object { 2 } else { kind };
        let shade = |k: u32| {
            let cell = |size: f64, k: u32| {
                hash((place[0] / size).floor() as i64, (place[1] / size).floor() as i64, k + 7 * kind)
            };
            let noise = hash(i64::from(x), i64::from(y), seed + 99) / 128.0;
            (0.45 * cell(0.25, k) + 0.35 * cell(0.07, k + 3) + 25.0 + noise) as u8
        };
        Rgb([shade(1), shade(2), shade(3)])
    })
}

/// A drive towards the wall, with what happened and what was decided.
fn drive() -> Vec<(Event, Option<RgbImage>)> {
    let mut events: Vec<(Event, Option<RgbImage>)> = (0..4u64)
        .map(|k| {
            let event = Event::Frame {
                index: 5 * k,
                time_ns: 333_333_333 * k,
                age_ns: 212_345_678 + k,
                speed_um: Some(500_000),
                judged: judged(k),
                surprise: None,
            };
            (event, Some(frame(2.0 - 0.166 * k as f64, None, k as u32)))
        })
        .collect();
    events.push((Event::Silence { now_ns: 1_700_000_001 }, None));
    events
}

/// A video predictor of a few weights.
fn foresight() -> Foresight {
    let options = OpenOptions {
        heads: Some(Extents::TINY.encoder.heads),
        predictor_heads: Some(Extents::TINY.predictor.heads),
        crop_size: Some(64),
        ..OpenOptions::default()
    };
    let bytes = weight_file("watch", &checkpoint(&Extents::TINY, Version::V2_0), DType::F32);
    let source = Source::from_bytes("tiny", None, bytes, options.encoder).unwrap();
    let model = Model::load("tiny".to_owned(), source, &Device::cpu(), Precision::F32, &options).unwrap();
    Foresight::new(model).unwrap()
}

/// Two looks before something comes in, and one with it, at a robot that stands; with what the predictor says.
fn sudden() -> Vec<(Event, RgbImage)> {
    const COMES: u64 = 40;
    let mut foresight = foresight();
    let mut events = Vec::new();
    for k in 0..COMES + 2 {
        let picture = frame(2.5, (k >= COMES).then_some(0.4), k as u32);
        let (time_ns, judged) = (250_000_000 * k, judged(k));
        let mut surprise = foresight.see(seconds(time_ns), &picture, &judged).unwrap();
        if [COMES - 2, COMES - 1, COMES + 1].contains(&k) {
            // Generated weights do not know what a still scene does next, and are surprised half as much as the threshold asks for.
            surprise.hundredths.iter_mut().for_each(|value| *value *= 2);
            let (speed_um, surprise) = (Some(0), Some(surprise));
            events.push((Event::Frame { index: k, time_ns, age_ns: 1, speed_um, judged, surprise }, picture));
        }
    }
    events
}

#[test]
fn surprise_is_recorded_and_raises_its_zone() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::create(folder.path(), Some(&calibration())).unwrap();
    let mut watch = Watch::new(network(), Some(calibration()), [320, 180]).unwrap();
    let mut decisions = Vec::new();
    for (event, frame) in sudden() {
        let decision = decide(&mut watch, &event, Some(&frame));
        recorder.add(&event, Some(&frame), &decision).unwrap();
        decisions.push(decision);
    }
    let of = |decision: &Decision| [0, 1, 2].map(|k: usize| decision.zones[k].surprise.unwrap());
    let [_, before, after] = decisions.as_slice() else { panic!("three looks") };
    assert!(of(before).iter().all(|surprise| *surprise < SURPRISING), "{:?}", of(before));
    assert!(of(after)[0] > SURPRISING && of(after)[0] > 2.0 * of(after)[2], "{:?}", of(after));
    assert!(after.surprise.starts_with("on"), "{}", after.surprise);
    assert_eq!(before.state, State::Clear, "{}", before.sentence);
    assert_eq!((after.state, after.why.as_slice()), (State::Caution, [Reason::Surprise].as_slice()));
    // Without the predictor, from what was recorded.
    let recording = Recording::open(folder.path()).unwrap();
    let mut again = Watch::new(network(), recording.calibration().unwrap(), [320, 180]).unwrap();
    for (event, line) in recording.events().iter().zip(recording.decisions()) {
        let Event::Frame { index, .. } = event else { panic!("only frames") };
        let decision = decide(&mut again, event, Some(&recording.frame(*index).unwrap()));
        assert_eq!(&serde_json::to_string(&decision).unwrap(), line);
    }
}

/// A sound picture.
fn judged(k: u64) -> Judged {
    Judged {
        vitals: Vitals { level: 100.0 + k as f64, contrast: 40.0, sharpness: 0.125, difference: None },
        ..Judged::default()
    }
}

fn decide(watch: &mut Watch, event: &Event, frame: Option<&RgbImage>) -> Decision {
    match (event, frame) {
        (Event::Frame { index, time_ns, age_ns, speed_um, judged, surprise }, Some(frame)) => {
            let (time, speed) = (seconds(*time_ns), speed_um.map(metres));
            let seen = watch.see(*index, time, frame, speed, judged, surprise.as_ref()).unwrap();
            watch.decide(&seen, seconds(*age_ns))
        }
        (Event::Silence { now_ns }, _) => watch.silence(seconds(*now_ns)),
        _ => panic!("a frame event has a frame"),
    }
}

#[test]
fn a_recording_gives_the_same_decisions_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::create(folder.path(), Some(&calibration())).unwrap();
    let mut watch = Watch::new(network(), Some(calibration()), [320, 180]).unwrap();
    for (event, frame) in drive() {
        let decision = decide(&mut watch, &event, frame.as_ref());
        recorder.add(&event, frame.as_ref(), &decision).unwrap();
    }
    let recording = Recording::open(folder.path()).unwrap();
    assert_eq!((recording.events().len(), recording.decisions().len()), (5, 5));
    let mut again = Watch::new(network(), recording.calibration().unwrap(), [320, 180]).unwrap();
    for (event, line) in recording.events().iter().zip(recording.decisions()) {
        let frame = match event {
            Event::Frame { index, .. } => Some(recording.frame(*index).unwrap()),
            Event::Silence { .. } => None,
        };
        let decision = decide(&mut again, event, frame.as_ref());
        assert_eq!(&serde_json::to_string(&decision).unwrap(), line);
    }
}

#[test]
fn a_wall_is_measured_and_dropped_frames_are_counted() {
    let mut watch = Watch::new(network(), Some(calibration()), [320, 180]).unwrap();
    let decisions: Vec<Decision> =
        drive().iter().map(|(event, frame)| decide(&mut watch, event, frame.as_ref())).collect();
    let last = &decisions[3];
    let distance = last.zones[1].distance.unwrap();
    assert!((distance / 1.5).ln().abs() < 0.25, "{distance}");
    assert_eq!(last.dropped, 12);
    assert_eq!(last.latency, Some([0.212_345_679, 0.212_345_681]));
    assert_eq!((decisions[4].state, decisions[4].why.clone()), (State::Unknown, vec![Reason::NoFrame]));
}

#[test]
fn without_a_calibration_nothing_is_clear() {
    let mut watch = Watch::new(network(), None, [320, 180]).unwrap();
    for (event, frame) in drive() {
        assert!(decide(&mut watch, &event, frame.as_ref()).state != State::Clear);
    }
}

#[test]
fn what_comes_in_at_the_side_changes_the_answer() {
    let left = |object: Option<f64>| {
        let mut watch = Watch::new(network(), Some(calibration()), [320, 180]).unwrap();
        let mut last = None;
        for k in 0..2u64 {
            let event = Event::Frame {
                index: k,
                time_ns: 300_000_000 * k,
                age_ns: 1,
                speed_um: Some(0),
                judged: judged(k),
                surprise: None,
            };
            let edge = object.map(|edge| edge - 0.15 * k as f64);
            last = Some(decide(&mut watch, &event, Some(&frame(2.5, edge, k as u32))));
        }
        last.unwrap().zones[0]
    };
    assert_ne!(left(Some(1.1)), left(None), "the whole width of the picture is looked at");
}
