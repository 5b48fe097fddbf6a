//! `steropes plan`.

use crate::Common;
use crate::device::DeviceArgs;
use crate::model_store::{Place, locate};
use anyhow::{Context as _, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use steropes_models::planner::{self, Action, CemSettings, Plan, Pose, Robot};
use steropes_models::vjepa2::Tokens;
use steropes_models::vjepa2::ac::{AcModel, AcOptions, AcWorld, Crop, Observation, ac_picture};
use steropes_models::{ModelError, Precision};
use steropes_scene::photo::read_upright;

/// Say which action brings an arm nearer to a goal picture
///
/// Imagines actions of the gripper with V-JEPA 2-AC and prints the best as JSON: the next action, how far the picture is then imagined
/// to be from the goal (`energy`), and how far it is if nothing is done (`rest_energy`). It looks at the goal only: it does not know
/// what a collision is, and is no safety device. For an arm on a fixed base, seen by a fixed camera, at 4 pictures a second.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  steropes plan now.png --goal goal.png --pose pose.json --model vjepa2-ac-vitg.pt
  steropes plan now.png --goal goal.png --pose pose.json --model vjepa2-ac --max-step 0.075 --samples 100
where pose.json is where the gripper is, in the frame of the arm's base:
  {\"position_m\": [0.4, 0.1, 0.3], \"angles_rad\": [3.14, 0, 0], \"gripper\": 0.2}
with angles about the fixed axes x, then y, then z, and the gripper from 0 (open) to 1 (closed)")]
pub(crate) struct Args {
    /// What the camera sees now: the newest picture
    frame: PathBuf,
    /// What the camera should see in the end
    #[arg(long, value_name = "PICTURE")]
    goal: PathBuf,
    /// JSON file with the pose of the gripper now
    #[arg(long, value_name = "FILE")]
    pose: Option<PathBuf>,
    /// V-JEPA 2-AC weights: vjepa2-ac if it was fetched, or a .pt or .safetensors file
    #[arg(long, value_name = "NAME|PATH")]
    model: String,
    /// What is to be moved
    #[arg(long, value_enum, default_value = "arm")]
    robot: RobotKind,
    /// The part of the pictures that the network sees: as in its training, or the largest square
    #[arg(long, value_enum, default_value = "training")]
    crop: CropKind,
    #[command(flatten)]
    search: SearchArgs,
    /// Heads of the encoder, for networks that were not published
    #[arg(long, value_name = "N")]
    heads: Option<usize>,
    /// Heads of the predictor, for networks that were not published
    #[arg(long, value_name = "N")]
    predictor_heads: Option<usize>,
    /// Side of the frames of the training in pixels, for networks that were not published
    #[arg(long, value_name = "PIXELS")]
    size: Option<usize>,
    #[command(flatten)]
    place: DeviceArgs,
    /// Numbers that the network computes with: f32, f16 (GPU), bf16, int8, q8, q4 (CPU), or auto
    #[arg(long, default_value = "auto")]
    precision: Precision,
}

/// The search; what is not given is as the network was published with.
#[derive(clap::Args)]
struct SearchArgs {
    /// Steps to imagine; 2 if not given
    #[arg(long, value_name = "N")]
    rollout: Option<usize>,
    /// Iterations of the search; 10 if not given
    #[arg(long, value_name = "N")]
    iterations: Option<usize>,
    /// Plans to imagine in each iteration; 400 if not given
    #[arg(long, value_name = "N")]
    samples: Option<usize>,
    /// How many of them decide what is imagined next; 10 if not given
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,
    /// Largest step along an axis, in metres; 0.05 if not given
    #[arg(long, value_name = "METRES")]
    max_step: Option<f64>,
    /// A step along an axis that is given and not searched, as z=0; may be repeated
    #[arg(long, value_name = "AXIS=METRES", value_parser = parse_axis)]
    fix: Vec<(usize, f64)>,
    /// Close the gripper from this step of the plan on, from 0
    #[arg(long, value_name = "STEP")]
    close_gripper: Option<usize>,
    /// Plans to imagine at once: memory for speed; 8 if not given
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Seed of the random numbers
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum RobotKind {
    /// An arm on a fixed base
    Arm,
    /// A base that drives; refused with the reason
    MobileBase,
}

#[derive(Clone, Copy, ValueEnum)]
enum CropKind {
    Training,
    Square,
}

/// A pose in a file and in the result.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct StoredPose {
    position_m: [f64; 3],
    angles_rad: [f64; 3],
    gripper: f64,
}

pub(crate) fn run(args: &Args, _common: &Common, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    // What can be wrong is found before the weights are read.
    let settings = args.settings();
    settings.check::<ModelError>()?;
    let Some(pose) = &args.pose else {
        bail!(
            "the pose of the gripper is missing: give it with --pose pose.json (`steropes plan --help` shows one)"
        );
    };
    let pose = read_pose(pose)?;
    let pictures = [read_upright(&args.frame)?.rgb, read_upright(&args.goal)?.rgb];
    let model = args.open()?;
    let side = model.encoder().config().crop_size;
    let crop = match args.crop {
        CropKind::Training => Crop::Training,
        CropKind::Square => Crop::Square,
    };
    let features = |picture: &image::RgbImage| -> anyhow::Result<Tokens> {
        let size = [picture.height() as usize, picture.width() as usize];
        Ok(model.features([1, side, side], &ac_picture(picture.as_raw(), size, crop, side)?)?)
    };
    let [now, goal] = pictures.each_ref().map(features);
    let world = AcWorld::new(&model, &[Observation { features: now?, pose }], &goal?)?;
    let found = planner::plan(&world, &settings)?;
    writeln!(out, "{:#}", report(&found, &pose, &model))?;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn settings(&self) -> CemSettings {
        let (search, base) = (&self.search, CemSettings::default());
        let mut settings = CemSettings {
            robot: match self.robot {
                RobotKind::Arm => Robot::Arm,
                RobotKind::MobileBase => Robot::MobileBase,
            },
            rollout: search.rollout.unwrap_or(base.rollout),
            steps: search.iterations.unwrap_or(base.steps),
            samples: search.samples.unwrap_or(base.samples),
            top_k: search.top_k.unwrap_or(base.top_k),
            max_step_m: search.max_step.unwrap_or(base.max_step_m),
            close_gripper: search.close_gripper,
            batch: search.batch.unwrap_or(base.batch),
            seed: search.seed,
            ..base
        };
        search.fix.iter().for_each(|&(axis, step)| settings.fixed_m[axis] = Some(step));
        settings
    }

    /// The network, if it was trained.
    fn open(&self) -> anyhow::Result<AcModel> {
        let Place::Path(path, _) = locate(&self.model)? else {
            bail!("`{}` is no V-JEPA 2-AC network: give its .pt file with --model", self.model);
        };
        let mut options = AcOptions { heads: self.predictor_heads, ..AcOptions::default() };
        options.encoder.heads = self.heads;
        options.encoder.crop_size = self.size;
        let model = AcModel::open(&path, &self.place.open()?, self.precision, &options)?;
        if model.is_untrained() {
            bail!(
                "`{}`: its last normalisation is as networks begin with it, so these are random weights and a plan would mean nothing; give trained ones",
                path.display()
            );
        }
        Ok(model)
    }
}

/// `x=0.1`, as the number of the axis and metres.
fn parse_axis(text: &str) -> Result<(usize, f64), String> {
    let wanted = || format!("must be x, y or z with metres, as z=0.01, got `{text}`");
    let (axis, step) = text.split_once('=').ok_or_else(wanted)?;
    let axis = ["x", "y", "z"].iter().position(|name| *name == axis).ok_or_else(wanted)?;
    Ok((axis, step.parse().map_err(|_| wanted())?))
}

fn read_pose(path: &Path) -> anyhow::Result<Pose> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let stored: StoredPose = serde_json::from_str(&text)
        .with_context(|| format!("`{}` is no pose (`steropes plan --help` shows one)", path.display()))?;
    if !(0.0..=1.0).contains(&stored.gripper) {
        bail!("`{}`: `gripper` must be from 0 (open) to 1 (closed), got {}", path.display(), stored.gripper);
    }
    let StoredPose { position_m, angles_rad, gripper } = stored;
    Ok(Pose { position_m, angles_rad, gripper })
}

/// The next action, what comes of it, and the rest of the plan.
fn report(found: &Plan, pose: &Pose, model: &AcModel) -> Value {
    let Pose { position_m, angles_rad, gripper } = pose.after(&found.actions[0]);
    let action = |action: &Action| json!({ "translation_m": action.translation_m, "angles_rad": action.angles_rad, "gripper": action.gripper });
    let best: Vec<f64> = found.iterations.iter().map(|iteration| iteration.energies[0]).collect();
    json!({
        "action": action(&found.actions[0]),
        "energy": found.energy,
        "rest_energy": found.rest_energy,
        "pose_after": StoredPose { position_m, angles_rad, gripper },
        "plan": found.actions.iter().map(action).collect::<Vec<_>>(),
        "best_energies": best,
        "model": model.encoder().info().name,
    })
}
