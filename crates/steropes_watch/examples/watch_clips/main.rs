//! Runs the watch over clips with truth, counts misses and false stops, and draws the states over time.
//!
//! `cargo run --release -p steropes_watch --example watch_clips -- --out docs/watch [CLIP FOLDER ...]`
//!
//! A clip is a folder with `truth.json` and frames, as the photo sets have them; the built-in scenes come after them. Frames are dropped as with a
//! camera: the watch takes the newest one when it is done, after `--latency` seconds of looking, so that results do not depend on how busy
//! the machine is. The measured time is printed beside. `--other-metric` prints the score of [`other`] on the same clips instead.

mod other;
mod plot;
mod scenes;

use image::RgbImage;
use other::Other;
use scenes::{BREAKS, CAMERA, RATE, Scene};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Instant;
use steropes_models::engine::EngineConfig;
use steropes_watch::{
    Calibration, CameraCalibration, Decision, Health, IMAGE_SIZE, Network, Noise, Robot, State, Watch,
    watch_settings,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A clip and what is true of it.
pub(crate) struct Clip {
    name: String,
    about: String,
    calibration: Calibration,
    speed: f64,
    source: Source,
    /// Whether the robot drives up to something.
    approaching: bool,
    /// Whether a state of STOP is wrong throughout.
    free: bool,
    broken: bool,
}

enum Source {
    Files { folder: PathBuf, frames: Vec<(String, f64, Option<f64>)> },
    Scene(Scene),
}

/// One decision beside the truth.
pub(crate) struct Point {
    /// When it was made, seconds.
    pub(crate) decided: f64,
    pub(crate) decision: Decision,
    pub(crate) nearest: Option<f64>,
}

#[expect(clippy::print_stdout, reason = "the table is the result")]
fn main() -> Outcome<()> {
    let mut out = PathBuf::from("docs/watch");
    let (mut latency, mut size, mut only, mut verbose) = (0.4f64, IMAGE_SIZE, None::<String>, false);
    let mut other_metric = false;
    let mut folders = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or("a value is missing");
        match argument.as_str() {
            "--out" => out = value()?.into(),
            "--latency" => latency = value()?.parse()?,
            "--size" => size = value()?.parse()?,
            "--only" => only = Some(value()?),
            "--verbose" => verbose = true,
            "--other-metric" => other_metric = true,
            "--help" => {
                println!(
                    "watch_clips [--out FOLDER] [--latency SECONDS] [--size PIXELS] [--only NAME] [--verbose] [--other-metric] [CLIP FOLDER ...]"
                );
                return Ok(());
            }
            _ if argument.starts_with('-') => return Err(format!("no option {argument}: see --help").into()),
            _ => folders.push(PathBuf::from(argument)),
        }
    }
    let mut clips = folders.iter().map(|folder| from_files(folder)).collect::<Outcome<Vec<_>>>()?;
    clips.extend(Scene::all(1).into_iter().map(from_scene));
    clips.retain(|clip| only.as_ref().is_none_or(|only| clip.name.contains(only.as_str())));
    if other_metric {
        return print_other(&clips);
    }
    std::fs::create_dir_all(&out)?;
    println!(
        "| clip | decisions | first STOP, s | at, m | missed | false stops | UNKNOWN after, s | CLEAR |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut times = Vec::new();
    for clip in &clips {
        let points = run(clip, latency, size, &mut times)?;
        if verbose {
            points.iter().for_each(|point| print_point(clip, point));
        }
        println!("{}", row(clip, &points));
        plot::draw(&out.join(format!("{}.svg", clip.name)), clip, &points)?;
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    println!(
        "\nlooking took {:.0} ms (median), {:.0} ms (95 %) on this machine, as busy as it was",
        1e3 * at(0.5),
        1e3 * at(0.95)
    );
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the table is the result")]
fn print_other(clips: &[Clip]) -> Outcome<()> {
    let other = Other::new()?;
    println!("| clip | score | it would say | nearest in the way |\n|---|---|---|---|");
    for clip in clips {
        println!("{}", other.row(clip)?);
    }
    Ok(())
}

fn robot(speed: f64) -> Robot {
    Robot {
        width: 0.6,
        low: 0.03,
        high: 1.2,
        speed: Some(speed),
        deceleration: 1.0,
        reaction: 0.1,
        margin: 0.15,
    }
}

fn from_files(folder: &Path) -> Outcome<Clip> {
    let truth: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("truth.json"))?)?;
    let number = |value: &Value| value.as_f64().ok_or("a number is missing in truth.json");
    let list = truth["frames"].as_array().ok_or("truth.json has no frames")?;
    let mut frames = Vec::new();
    let mut height = 0.0;
    for frame in list {
        height += number(&frame["position"][2])? / list.len() as f64;
        let file = frame["file"].as_str().ok_or("a file name is missing")?;
        frames.push((file.to_owned(), number(&frame["time"])?, frame["nearest"].as_f64()));
    }
    // The stated speed is that of the start: clips may slow down before they would touch.
    let speed = number(&list[0]["speed"])?;
    let size = [number(&truth["width"])? as u32, number(&truth["height"])? as u32];
    let focal = [number(&truth["fx"])?, number(&truth["fy"])?];
    let scenario = truth["scenario"].as_str().unwrap_or_default().to_owned();
    Ok(Clip {
        name: truth["clip"].as_str().unwrap_or("clip").to_owned(),
        about: scenario.clone(),
        calibration: calibration(size, focal, [number(&truth["cx"])?, number(&truth["cy"])?], height, speed),
        speed,
        source: Source::Files { folder: folder.to_owned(), frames },
        approaching: ["wall", "crossing"].contains(&scenario.as_str()),
        free: ["clear", "beside"].contains(&scenario.as_str()),
        broken: false,
    })
}

fn from_scene(scene: Scene) -> Clip {
    let (speed, name) = (scene.speed, scene.name);
    Clip {
        name: format!("scene_{name}"),
        about: scene.about.to_owned(),
        calibration: calibration([640, 360], [CAMERA[2]; 2], [320.0, 180.0], CAMERA[0], speed),
        speed,
        approaching: ["wall", "box", "crossing", "side_entry", "plain_wall"].contains(&name),
        free: ["clear", "beside", "rotation"].contains(&name),
        broken: scene.broken.is_some(),
        source: Source::Scene(scene),
    }
}

fn calibration(
    size: [u32; 2],
    focal_px: [f64; 2],
    center_px: [f64; 2],
    height: f64,
    speed: f64,
) -> Calibration {
    let camera = CameraCalibration {
        width: size[0],
        height: size[1],
        focal_px,
        center_px,
        above_floor: Some(height),
        pitch: CAMERA[1],
        roll: 0.0,
        yaw: 0.0,
        left_of_middle: 0.0,
        behind_front: 0.0,
    };
    Calibration { camera, robot: robot(speed), noise: Noise::default() }
}

fn run(clip: &Clip, latency: f64, size: u32, times: &mut Vec<f64>) -> Outcome<Vec<Point>> {
    let settings = EngineConfig { device: Some("cpu".to_owned()), image_size: size, ..watch_settings() };
    let frame_size = [clip.calibration.camera.width, clip.calibration.camera.height];
    let mut watch = Watch::new(Network::open(settings)?, Some(clip.calibration.clone()), frame_size)?;
    let (count, rate) = match &clip.source {
        Source::Files { frames, .. } => (frames.len() as u64, RATE),
        Source::Scene(scene) => (scene.frames(), RATE),
    };
    let mut health = Health::new(&clip.calibration.noise);
    let mut points = Vec::new();
    let (mut now, mut last) = (0.0, None);
    let end = count as f64 / rate;
    while now < end {
        // The newest frame that is there and was not looked at, or else the next one.
        let newest = ((now * rate + 1e-6) as u64).min(count - 1);
        let index = match last {
            Some(last) if newest <= last => last + 1,
            _ => newest,
        };
        let due = index as f64 / rate;
        if index >= count {
            break;
        }
        let (image, time, nearest) = match &clip.source {
            Source::Files { folder, frames } => {
                let (file, time, nearest) = &frames[index as usize];
                (image::open(folder.join(file))?.into_rgb8(), *time, *nearest)
            }
            Source::Scene(scene) if scene.comes(due) => {
                let (image, truth) = scene.frame(due);
                (image, due, truth.nearest)
            }
            Source::Scene(_) => {
                // Nothing comes: the watch notices when the longest silence is over.
                let from = last.map_or(0.0, |last: u64| last as f64 / rate).max(BREAKS - 1.0 / rate);
                now = (from + clip.calibration.noise.max_silence).max(now);
                points.push(Point { decided: now, decision: watch.silence(now), nearest: None });
                now += clip.calibration.noise.max_silence;
                continue;
            }
        };
        now = now.max(due);
        // Frames that are dropped are judged, too; rendering them is only worth it where they break.
        if let (true, Source::Scene(scene)) = (clip.broken, &clip.source) {
            for dropped in last.map_or(0, |last| last + 1)..index {
                let due = dropped as f64 / rate;
                health.judge(&scene.frame(due).0, due);
            }
        }
        let judged = health.judge(&image, time);
        last = Some(index);
        let start = Instant::now();
        let seen = watch.see(index, time, &image, None, &judged, None)?;
        let took = start.elapsed().as_secs_f64();
        let looked = seen.analysis().is_some();
        if looked {
            times.push(took);
        }
        now += if looked { latency } else { 0.02 };
        let decision = watch.decide(&seen, now - due);
        points.push(Point { decided: now, decision, nearest });
    }
    Ok(points)
}

/// The distance that the robot needs to brake without any margin, from a decision on.
fn braking(clip: &Clip) -> f64 {
    let robot = &clip.calibration.robot;
    clip.speed * robot.reaction + clip.speed * clip.speed / (2.0 * robot.deceleration)
}

fn row(clip: &Clip, points: &[Point]) -> String {
    let show = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.2}"));
    let stop = points.iter().find(|p| p.decision.state == State::Stop);
    // Too late: what was left when the decision came was less than braking takes.
    let left = |p: &Point| p.nearest.map(|d| d - clip.speed * p.decision.age.unwrap_or(0.0));
    let needed = points.iter().any(|p| left(p).is_some_and(|d| d < braking(clip)));
    let in_time = |p: &Point| p.decision.state == State::Stop && left(p).is_none_or(|d| d >= braking(clip));
    let too_late = points.iter().position(|p| left(p).is_some_and(|d| d < braking(clip)));
    let warned = points[..too_late.unwrap_or(points.len())].iter().any(in_time);
    let missed = if !clip.approaching {
        "-"
    } else if needed && !warned {
        "yes"
    } else {
        "no"
    };
    let wrong = points.iter().filter(|p| p.decision.state == State::Stop && is_false(clip, p)).count();
    let unknown = points.iter().find(|p| p.decided >= BREAKS && p.decision.state == State::Unknown);
    let unknown = clip.broken.then(|| unknown.map(|p| p.decided - BREAKS)).flatten();
    let clear = points.iter().filter(|p| p.decision.state == State::Clear).count();
    format!(
        "| {} | {} | {} | {} | {missed} | {wrong} | {} | {clear} |",
        clip.name,
        points.len(),
        show(stop.map(|p| p.decided)),
        show(stop.and_then(|p| p.nearest)),
        show(unknown),
    )
}

/// A stop with nothing within one and a half times the stopping distance, in a clip in which nothing enters.
fn is_false(clip: &Clip, point: &Point) -> bool {
    let far = 1.5 * point.decision.stopping_distance.unwrap_or(0.0);
    clip.free
        || !clip.broken
            && !clip.about.contains("cross")
            && !clip.about.contains("side")
            && point.nearest.is_none_or(|d| d > far)
}

#[expect(clippy::print_stdout, reason = "asked for")]
fn print_point(clip: &Clip, point: &Point) {
    let show = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.2}"));
    let d = &point.decision;
    let zone = |k: usize| d.zones.get(k).copied().unwrap_or_default();
    println!(
        "  {} frame {:>3} true {:>5} | {:>5} contact {:>5} | L {} R {} entry {} change {} {} {} conf {:.1} {:?} | {:?} {:?}",
        clip.name,
        d.frame.map_or(-1, |f| f as i64),
        show(point.nearest),
        show(zone(1).distance),
        show(zone(1).time_to_contact),
        show(zone(0).distance),
        show(zone(2).distance),
        show(d.entry),
        show(zone(0).change),
        show(zone(1).change),
        show(zone(2).change),
        zone(1).confidence,
        d.scale,
        d.state,
        d.why
    );
}

impl Clip {
    /// Frames of the clip that come out of the camera.
    pub(crate) fn frames(&self) -> usize {
        match &self.source {
            Source::Files { frames, .. } => frames.len(),
            Source::Scene(scene) => {
                (0..scene.frames()).filter(|index| scene.comes(*index as f64 / RATE)).count()
            }
        }
    }

    /// A frame, and the true distance to what is nearest in the way.
    pub(crate) fn frame(&self, index: usize) -> Outcome<(RgbImage, Option<f64>)> {
        match &self.source {
            Source::Files { folder, frames } => {
                let (file, _, nearest) = &frames[index];
                Ok((image::open(folder.join(file))?.into_rgb8(), *nearest))
            }
            Source::Scene(scene) => {
                let (image, truth) = scene.frame(index as f64 / RATE);
                Ok((image, truth.nearest))
            }
        }
    }

    pub(crate) fn title(&self) -> String {
        format!("{}: {}", self.name, self.about)
    }
}
