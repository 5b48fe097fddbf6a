//! `steropes watch`.

mod calibrate;
mod outputs;

use crate::Common;
use crate::inputs::EngineArgs;
use crate::interrupt;
use crate::video::FrameArgs;
use anyhow::{Context as _, bail};
use outputs::Outputs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use steropes_models::{Place, locate};
use steropes_video::{Arrived, FrameSource, Latest, RealTime, VideoError};
use steropes_watch::{
    Calibration, Decision, Event, Foresight, Judgements, Judging, Network, Noise, Recording, Watch, metres,
    seconds, watch_settings,
};

/// Watch a camera's way for obstacles: one line of JSON for each decision
///
/// The states are UNKNOWN, CLEAR, CAUTION and STOP; treat UNKNOWN as STOP. CLEAR needs a calibration (see `steropes watch calibrate`), the built-in
/// network, fresh frames, a sound picture and the corridor in view. This is no safety-rated device: a robot needs a stop that does not depend on it.
#[derive(clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
Examples:
  steropes watch calibrate --fov 70 --size 640x360 --above-floor 0.5 --pitch 5 -o camera.toml
  steropes watch camera:0 --camera camera.toml --page
  steropes watch drive.mp4 --camera camera.toml --pace --overlay drive_seen.mp4
  steropes watch frames/ --source-fps 15 --camera camera.toml --record run1
  steropes watch --replay run1                 the same decisions again, bit for bit"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Sub>,
    /// A video file, a folder of pictures, camera:0 or /dev/video0, or - for frames on standard input
    #[arg(value_name = "SOURCE", required_unless_present = "replay", conflicts_with = "replay")]
    source: Option<String>,
    /// The calibration of the camera; without it nothing is ever clear
    #[arg(long, value_name = "FILE.toml", conflicts_with = "replay")]
    camera: Option<PathBuf>,
    /// Speed of the robot, metres a second, instead of the calibration's
    #[arg(long, value_name = "M/S")]
    speed: Option<f64>,
    /// Speeds of the robot over time: lines of JSON as {"time": 1.5, "speed": 0.6}
    #[arg(long, value_name = "FILE", conflicts_with = "speed")]
    odometry: Option<PathBuf>,
    /// Play a recording at its speed and skip what comes while the watch works, as with a camera
    #[arg(long)]
    pace: bool,
    /// Write each frame with the corridor and the state into a folder, or as a film if the name ends in .mp4 (through ffmpeg)
    #[arg(long, value_name = "FOLDER|FILE.mp4")]
    overlay: Option<PathBuf>,
    /// Show a live page on this machine
    #[arg(long, value_name = "PORT", num_args = 0..=1, require_equals = true, default_missing_value = "8095")]
    page: Option<u16>,
    /// Record what decisions depend on into a folder
    #[arg(long, value_name = "FOLDER", conflicts_with = "replay")]
    record: Option<PathBuf>,
    /// Decide again on a recording; exit code 1 if a decision differs
    #[arg(long, value_name = "FOLDER")]
    replay: Option<PathBuf>,
    /// Weights of a V-JEPA 2.0 network with its mask predictor, for the surprise of each zone: a name of `steropes models list`, a file or a folder
    #[arg(long, value_name = "NAME|PATH", conflicts_with = "replay")]
    video_model: Option<String>,
    /// Replace existing results
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    frames: FrameArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(clap::Subcommand)]
enum Sub {
    Calibrate(calibrate::Args),
}

pub(crate) fn run(args: &Args, common: &Common, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    if let Some(Sub::Calibrate(args)) = &args.command {
        return calibrate::run(args, common, out);
    }
    if args.speed.is_some_and(|speed| !(0.0..=100.0).contains(&speed)) {
        bail!("--speed must be between 0 and 100 metres a second");
    }
    match &args.replay {
        Some(folder) => replay(args, common, folder, out),
        None => live(args, common, out),
    }
}

impl Args {
    fn network(&self, common: &Common) -> anyhow::Result<Network> {
        let network = Network::open(self.engine.settings(common, watch_settings())?)?;
        network.warm_up()?;
        Ok(network)
    }

    /// The video predictor, if it is asked for, on the device and in the precision of the network.
    fn foresight(&self, common: &Common, network: &Network) -> anyhow::Result<Option<Foresight>> {
        let Some(given) = &self.video_model else { return Ok(None) };
        let Place::Path(path, _) = locate(given)? else {
            bail!(
                "`{given}` is a network for pairs of photos: --video-model needs one for video, as vjepa2-large"
            );
        };
        let precision = self.engine.settings(common, watch_settings())?.precision;
        Ok(Some(Foresight::open(&path, network.device(), precision)?))
    }
}

/// A watch that starts with the first frame, whose size it needs.
struct Starting {
    network: Option<Network>,
    foresight: Option<Foresight>,
    calibration: Option<Calibration>,
    watch: Option<Watch>,
}

impl Starting {
    fn watch(&mut self, size: [u32; 2]) -> anyhow::Result<&mut Watch> {
        if self.watch.is_none()
            && let Some(network) = self.network.take()
        {
            self.watch = Some(Watch::new(network, self.calibration.clone(), size)?);
        }
        self.watch.as_mut().context("the watch did not start")
    }
}

fn live(args: &Args, common: &Common, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let calibration = args.camera.as_deref().map(Calibration::read).transpose()?;
    let speeds = Speeds::new(args)?;
    let name = args.source.as_deref().context("a source is needed")?;
    let opened = args.frames.open(name)?;
    let network = args.network(common)?;
    let foresight = args.foresight(common, &network)?;
    let mut outputs = Outputs::open(args, calibration.as_ref())?;
    let silence = calibration.as_ref().map_or(0.3, |c| c.noise.max_silence);
    let is_live = args.pace || opened.source.is_live();
    let source: Box<dyn FrameSource> =
        if args.pace { Box::new(RealTime::new(opened.source)) } else { opened.source };
    let mut starting = Starting { network: Some(network), foresight, calibration, watch: None };
    interrupt::end_gracefully();
    let noise = starting.calibration.as_ref().map_or_else(Noise::default, |c| c.noise.clone());
    let (source, judgements) = Judging::new(source, &noise);
    let mailbox = Latest::new(Box::new(source));
    // The first frame of a camera may take a while.
    let mut limit = Duration::from_secs(10);
    let mut newest: Option<(Instant, u64)> = None;
    while !interrupt::requested() {
        match mailbox.wait(limit) {
            Ok(Some(arrived)) => {
                let came = if is_live { arrived.at } else { Instant::now() };
                newest = Some((came, nanoseconds(arrived.frame.time)));
                let decision = decide(
                    &mut starting,
                    &mut outputs,
                    &arrived,
                    came,
                    speeds.at(arrived.frame.time.as_secs_f64()),
                    &judgements,
                )?;
                write_decision(out, &decision)?;
            }
            Ok(None) => break,
            Err(VideoError::Stalled { .. }) if starting.watch.is_some() => {
                silent(&mut starting, &mut outputs, newest, out)?
            }
            Err(error) => {
                if starting.watch.is_some() {
                    silent(&mut starting, &mut outputs, newest, out)?;
                }
                outputs.finish()?;
                return Err(error.into());
            }
        }
        let since = newest.map_or(Duration::ZERO, |(came, _)| came.elapsed());
        limit = if is_live {
            Duration::from_secs_f64(silence).saturating_sub(since).max(Duration::from_millis(1))
        } else {
            Duration::from_secs(60)
        };
    }
    // A camera that ends is one that is gone.
    if is_live && !args.pace && !interrupt::requested() && starting.watch.is_some() {
        silent(&mut starting, &mut outputs, newest, out)?;
    }
    outputs.finish()?;
    Ok(ExitCode::SUCCESS)
}

fn decide(
    starting: &mut Starting,
    outputs: &mut Outputs,
    arrived: &Arrived,
    came: Instant,
    speed_um: Option<u64>,
    judgements: &Judgements,
) -> anyhow::Result<Decision> {
    let frame = &arrived.frame;
    let time_ns = nanoseconds(frame.time);
    let (time, speed) = (seconds(time_ns), speed_um.map(metres));
    let judged = judgements.take(frame.index).context("every frame is judged as it comes")?;
    let foresee = |foresight: &mut Foresight| foresight.see(time, &frame.image, &judged);
    let surprise = starting.foresight.as_mut().map(foresee).transpose()?;
    let watch = starting.watch([frame.image.width(), frame.image.height()])?;
    let seen = watch.see(frame.index, time, &frame.image, speed, &judged, surprise.as_ref())?;
    let age_ns = nanoseconds(came.elapsed());
    let decision = watch.decide(&seen, seconds(age_ns));
    let event = Event::Frame { index: frame.index, time_ns, age_ns, speed_um, judged, surprise };
    outputs.add(&event, Some(&frame.image), Some((watch, &seen)), &decision)?;
    Ok(decision)
}

fn silent(
    starting: &mut Starting,
    outputs: &mut Outputs,
    newest: Option<(Instant, u64)>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let Some(watch) = starting.watch.as_mut() else { return Ok(()) };
    let now_ns = newest.map_or(0, |(came, time_ns)| time_ns + nanoseconds(came.elapsed()));
    let decision = watch.silence(seconds(now_ns));
    outputs.add(&Event::Silence { now_ns }, None, None, &decision)?;
    write_decision(out, &decision)
}

/// Decides again; says how many decisions differ.
fn replay(args: &Args, common: &Common, folder: &Path, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let recording = Recording::open(folder)?;
    let calibration = recording.calibration()?;
    let mut outputs = Outputs::open(args, calibration.as_ref())?;
    // The surprise of a frame is in the recording.
    let network = Some(args.network(common)?);
    let mut starting = Starting { network, foresight: None, calibration, watch: None };
    let mut differ = 0;
    interrupt::end_gracefully();
    for (k, event) in recording.events().iter().enumerate() {
        if interrupt::requested() {
            break;
        }
        let decision = match event {
            Event::Frame { index, time_ns, age_ns, speed_um, judged, surprise } => {
                let frame = recording.frame(*index)?;
                let watch = starting.watch([frame.width(), frame.height()])?;
                let (time, speed) = (seconds(*time_ns), speed_um.map(metres));
                let seen = watch.see(*index, time, &frame, speed, judged, surprise.as_ref())?;
                let decision = watch.decide(&seen, seconds(*age_ns));
                outputs.add(event, Some(&frame), Some((watch, &seen)), &decision)?;
                decision
            }
            Event::Silence { now_ns } => {
                let Some(watch) = starting.watch.as_mut() else { continue };
                let decision = watch.silence(seconds(*now_ns));
                outputs.add(event, None, None, &decision)?;
                decision
            }
        };
        let line = serde_json::to_string(&decision)?;
        differ += usize::from(recording.decisions().get(k) != Some(&line));
        writeln!(out, "{line}")?;
    }
    outputs.finish()?;
    if differ > 0 {
        log::warn!(
            "{differ} of {} decisions differ from the recorded ones: another network, device or version",
            recording.events().len()
        );
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::SUCCESS)
}

fn write_decision(out: &mut dyn Write, decision: &Decision) -> anyhow::Result<()> {
    writeln!(out, "{}", serde_json::to_string(decision)?)?;
    Ok(out.flush()?)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What the robot says of its speed.
struct Speeds {
    /// Seconds and micrometres a second, in the order of time.
    known: Vec<(f64, u64)>,
}

impl Speeds {
    fn new(args: &Args) -> anyhow::Result<Self> {
        let micrometres = |speed: f64| (speed * 1e6).round() as u64;
        let known = match (&args.speed, &args.odometry) {
            (Some(speed), _) => vec![(f64::NEG_INFINITY, micrometres(*speed))],
            (None, Some(file)) => {
                read_odometry(file)?.into_iter().map(|(t, v)| (t, micrometres(v))).collect()
            }
            (None, None) => Vec::new(),
        };
        Ok(Self { known })
    }

    /// The newest speed that is not from the future.
    fn at(&self, time: f64) -> Option<u64> {
        let count = self.known.partition_point(|(when, _)| *when <= time);
        self.known[..count].last().map(|(_, speed)| *speed)
    }
}

fn read_odometry(file: &Path) -> anyhow::Result<Vec<(f64, f64)>> {
    #[derive(serde::Deserialize)]
    struct Line {
        time: f64,
        speed: f64,
    }
    let text = std::fs::read_to_string(file).with_context(|| format!("reading `{}`", file.display()))?;
    let mut known: Vec<(f64, f64)> = Vec::new();
    for (k, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at = || format!("`{}` line {}", file.display(), k + 1);
        let Line { time, speed } = serde_json::from_str(line).with_context(at)?;
        if !(0.0..=100.0).contains(&speed) || !time.is_finite() {
            bail!("{}: `speed` must be between 0 and 100 metres a second", at());
        }
        if known.last().is_some_and(|(before, _)| *before > time) {
            bail!("{}: lines must be in the order of time", at());
        }
        known.push((time, speed));
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_speed_counts_and_none_from_the_future() {
        let speeds = Speeds { known: vec![(1.0, 500_000), (2.0, 700_000)] };
        assert_eq!(
            [0.5, 1.0, 1.9, 2.0, 9.0].map(|t| speeds.at(t)),
            [None, Some(500_000), Some(500_000), Some(700_000), Some(700_000)]
        );
    }

    #[test]
    fn odometry_is_read_and_bad_lines_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            let file = folder.path().join("o.jsonl");
            std::fs::write(&file, text).unwrap();
            read_odometry(&file)
        };
        let good = read("{\"time\": 0, \"speed\": 0.5}\n\n{\"time\": 1.5, \"speed\": 0.6}\n").unwrap();
        assert_eq!(good, [(0.0, 0.5), (1.5, 0.6)]);
        for (bad, want) in [
            ("{\"time\": 0}", "line 1"),
            ("{\"time\": 0, \"speed\": -1}", "between 0 and 100"),
            ("{\"time\": 1, \"speed\": 1}\n{\"time\": 0, \"speed\": 1}", "order of time"),
        ] {
            let error = format!("{:#}", read(bad).unwrap_err());
            assert!(error.contains(want), "{error}");
        }
    }
}
