//! `steropes watch calibrate`.

use crate::Common;
use crate::output::write_file;
use crate::video::{parse_size, source_options};
use anyhow::{Context as _, bail};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use steropes_video::SourceOptions;
use steropes_watch::{Calibration, CameraCalibration, Health, Noise, Robot};

/// Write the calibration of a camera and its robot
///
/// Measure the height of the lens and how far it looks down with the robot on its floor. With --still, a few seconds of the standing camera, the file
/// also says what its pictures are like when nothing is wrong, so that frozen and blurred ones are told from sound ones.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The file to write
    #[arg(short, long, value_name = "FILE.toml")]
    output: PathBuf,
    /// Width and height of frames; those of --still if not given
    #[arg(long, value_name = "WxH", value_parser = parse_size, required_unless_present = "still")]
    size: Option<[u32; 2]>,
    /// Horizontal field of view, degrees
    #[arg(long, value_name = "DEGREES", required_unless_present = "focal")]
    fov: Option<f64>,
    /// Focal length in pixels instead
    #[arg(long, value_name = "PIXELS", conflicts_with = "fov")]
    focal: Option<f64>,
    /// Principal point in pixels; the middle of the frame if not given
    #[arg(long, value_name = "X,Y", value_delimiter = ',', num_args = 2)]
    center: Option<Vec<f64>>,
    /// Height of the lens above the floor, metres
    #[arg(long, value_name = "M")]
    above_floor: Option<f64>,
    /// How far the camera looks down, degrees
    #[arg(long, value_name = "DEGREES", default_value_t = 0.0, allow_negative_numbers = true)]
    pitch: f64,
    /// How far the picture's right side hangs down, degrees
    #[arg(long, value_name = "DEGREES", default_value_t = 0.0, allow_negative_numbers = true)]
    roll: f64,
    /// How far the camera looks to the left of the heading, degrees
    #[arg(long, value_name = "DEGREES", default_value_t = 0.0, allow_negative_numbers = true)]
    yaw: f64,
    /// How far the lens is to the left of the robot's middle, metres
    #[arg(long, value_name = "M", default_value_t = 0.0, allow_negative_numbers = true)]
    left_of_middle: f64,
    /// How far the lens is behind the robot's front, metres
    #[arg(long, value_name = "M", default_value_t = 0.0, allow_negative_numbers = true)]
    behind_front: f64,
    /// Width of the space that the robot needs, metres
    #[arg(long, value_name = "M", default_value_t = 0.6)]
    width: f64,
    /// Lowest height above the floor that counts, metres
    #[arg(long, value_name = "M", default_value_t = 0.03)]
    low: f64,
    /// Height that the robot needs, metres
    #[arg(long, value_name = "M", default_value_t = 1.2)]
    high: f64,
    /// Its speed where no odometry says more, metres a second
    #[arg(long, value_name = "M/S")]
    speed: Option<f64>,
    /// How hard it brakes, metres a second squared
    #[arg(long, value_name = "M/S2", default_value_t = 1.0)]
    deceleration: f64,
    /// Time from a decision to the brakes, seconds
    #[arg(long, value_name = "S", default_value_t = 0.1)]
    reaction: f64,
    /// Distance that must be left when it stands, metres
    #[arg(long, value_name = "M", default_value_t = 0.15)]
    margin: f64,
    /// Longest age of a frame that a decision may rest on, seconds
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    max_age: f64,
    /// Longest time without a frame, seconds
    #[arg(long, value_name = "S", default_value_t = 0.3)]
    max_silence: f64,
    /// A video or folder of the standing camera, from which its noise is measured
    #[arg(long, value_name = "SOURCE")]
    still: Option<String>,
    /// Frames a second of --still, if it is a folder
    #[arg(long, value_name = "RATE", default_value_t = 15.0)]
    source_fps: f64,
    /// Folder of ffmpeg and ffprobe
    #[arg(long, value_name = "FOLDER")]
    ffmpeg: Option<PathBuf>,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

/// Frames of the standing camera that are looked at.
const MOST_FRAMES: usize = 600;
/// Fewest of them that say anything.
const LEAST_FRAMES: usize = 10;

pub(super) fn run(args: &Args, common: &Common, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let measured = args.still.as_ref().map(|_| measure(args)).transpose()?;
    let Some([width, height]) = args.size.or(measured.as_ref().map(|(size, _)| *size)) else {
        bail!("--size or --still is needed");
    };
    if args.fov.is_some_and(|fov| !(1.0..=170.0).contains(&fov)) {
        bail!("--fov must be between 1 and 170 degrees");
    }
    let by_fov = args.fov.map(|fov| f64::from(width) / (2.0 * (fov.to_radians() / 2.0).tan()));
    let focal = args.focal.or(by_fov).context("--fov or --focal is needed")?;
    let middle = [f64::from(width) / 2.0, f64::from(height) / 2.0];
    let noise = measured.map_or_else(Noise::default, |(_, noise)| noise);
    let calibration = Calibration {
        camera: CameraCalibration {
            width,
            height,
            focal_px: [focal; 2],
            center_px: args.center.as_ref().map_or(middle, |center| [center[0], center[1]]),
            above_floor: args.above_floor,
            pitch: args.pitch,
            roll: args.roll,
            yaw: args.yaw,
            left_of_middle: args.left_of_middle,
            behind_front: args.behind_front,
        },
        robot: Robot {
            width: args.width,
            low: args.low,
            high: args.high,
            speed: args.speed,
            deceleration: args.deceleration,
            reaction: args.reaction,
            margin: args.margin,
        },
        noise: Noise { max_age: args.max_age, max_silence: args.max_silence, ..noise },
    };
    calibration.check()?;
    let text = calibration.to_toml();
    write_file(&args.output, args.force, |path| Ok(std::fs::write(path, &text)?))?;
    if common.json {
        writeln!(
            out,
            "{}",
            serde_json::json!({ "file": args.output, "focal_px": focal, "size": [width, height] })
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Size of the frames and quantiles of their noise and sharpness.
fn measure(args: &Args) -> anyhow::Result<([u32; 2], Noise)> {
    let options = SourceOptions {
        rate: Some(args.source_fps),
        frame_size: args.size,
        ..source_options(args.ffmpeg.clone())
    };
    let name = args.still.as_deref().context("--still names a source")?;
    let mut source = steropes_video::open(name, &options)?.source;
    let mut health = Health::new(&Noise::default());
    let (mut size, mut differences, mut sharpness) = (None, Vec::new(), Vec::new());
    while let Some(frame) = source.next_frame()? {
        let found = [frame.image.width(), frame.image.height()];
        if args.size.or(size).is_some_and(|size| size != found) {
            bail!("the frames of `{name}` are not of one size");
        }
        size = Some(found);
        let vitals = health.judge(&frame.image, frame.time.as_secs_f64()).vitals;
        differences.extend(vitals.difference);
        sharpness.push(vitals.sharpness);
        if sharpness.len() >= MOST_FRAMES {
            break;
        }
    }
    let Some(size) = size.filter(|_| sharpness.len() >= LEAST_FRAMES) else {
        bail!("`{name}` has {} frames: at least {LEAST_FRAMES} are needed", sharpness.len());
    };
    let noise =
        Noise { difference: low(&mut differences), sharpness: low(&mut sharpness), ..Noise::default() };
    Ok((size, noise))
}

/// What 1 % of the values are below.
fn low(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 100).copied().unwrap_or(0.0)
}
