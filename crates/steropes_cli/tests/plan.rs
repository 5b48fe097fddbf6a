//! `steropes plan` on a small network in an official file.

use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};
use steropes_models::mast3r::Trunk;
use steropes_models::mast3r::synthetic::weight;
use steropes_models::vjepa2::synthetic::{Extents, Version, action_predictor, encoder};
use steropes_testkit::torch_file::{Pickle, archive};
use tempfile::TempDir;

const POSE: &str = r#"{"position_m": [0.4, 0.1, 0.3], "angles_rad": [3.0, 0.1, -0.2], "gripper": 0.2}"#;

struct Desk {
    folder: TempDir,
}

impl Desk {
    /// A folder with two pictures, a pose and the network.
    fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        for (name, shift) in [("now.png", 0), ("goal.png", 40)] {
            let picture = image::RgbImage::from_fn(160, 120, |x, y| {
                let wave = |k: f32| {
                    ((((x + shift) as f32 * k).sin() + (y as f32 * k * 1.3).cos()) * 60.0 + 128.0) as u8
                };
                image::Rgb([wave(0.21), wave(0.047), wave(0.11)])
            });
            picture.save(desk.path(name)).unwrap();
        }
        desk.write("pose.json", POSE.as_bytes());
        desk.write("ac.pt", &network(|_, value| value));
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_steropes"))
            .current_dir(self.folder.path())
            .env("STEROPES_DEVICE", std::env::var("STEROPES_DEVICE").as_deref().unwrap_or("cpu"))
            .env("XDG_RUNTIME_DIR", self.folder.path())
            .arg("plan")
            .args(args)
            .output()
            .unwrap()
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs and expects one line on standard error that holds `text`, and exit code 2.
    #[track_caller]
    fn refuses(&self, args: &[&str], text: &str) {
        let output = self.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(text), "`{stderr}` does not say `{text}`");
        assert_eq!(stderr.trim_end().lines().count(), 1, "more than one line: {stderr}");
        assert!(output.stdout.is_empty());
    }
}

/// Encoder and predictor as `torch.save` writes them, with values changed by name.
fn network(change: impl Fn(&str, f32) -> f32) -> Vec<u8> {
    let extents = Extents { encoder: Trunk { width: 32, depth: 2, heads: 2 }, ..Extents::TINY };
    let parts = [
        ("encoder", "module.backbone.", encoder(&extents, Version::V2_0)),
        ("predictor", "module.", action_predictor(32, Trunk { width: 48, depth: 2, heads: 2 })),
    ];
    let mut pickle = Pickle::default().raw(b"}(");
    let mut storages: Vec<Vec<u8>> = Vec::new();
    for (key, prefix, parameters) in parts {
        pickle = pickle.text(key).raw(b"}(");
        for (name, shape) in parameters {
            let values: Vec<f32> = weight("", &name, &shape).into_iter().map(|v| change(&name, v)).collect();
            let extents: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
            let strides: Vec<i64> =
                (1..=extents.len()).map(|axis| extents[axis..].iter().product()).collect();
            let (storage, count) = (storages.len().to_string(), values.len() as i64);
            let name = format!("{prefix}{name}");
            pickle = pickle.text(&name).tensor("FloatStorage", &storage, count, 0, &extents, &strides);
            storages.push(values.iter().flat_map(|v| v.to_le_bytes()).collect());
        }
        pickle = pickle.raw(b"u");
    }
    let mut entries = vec![("archive/data.pkl".to_owned(), pickle.raw(b"u").end())];
    entries.extend(storages.into_iter().enumerate().map(|(i, bytes)| (format!("archive/data/{i}"), bytes)));
    archive(&entries)
}

/// The arguments of a sound call with few samples, and more; an option of `more` replaces that of the call.
fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let sound = [
        ["--goal", "goal.png"],
        ["--pose", "pose.json"],
        ["--model", "ac.pt"],
        ["--heads", "2"],
        ["--predictor-heads", "2"],
        ["--size", "64"],
        ["--samples", "30"],
        ["--iterations", "4"],
        ["--top-k", "5"],
    ];
    let kept = sound.into_iter().filter(|[name, _]| !more.contains(name)).flatten();
    ["now.png"].into_iter().chain(kept).chain(more.iter().copied()).collect()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[test]
fn a_plan_has_an_action_within_limits_and_its_energy() {
    let desk = Desk::new();
    let found = desk.json(&with(&[]));
    let action = &found["action"];
    assert_eq!(action, &found["plan"][0]);
    assert_eq!(found["plan"].as_array().unwrap().len(), 2);
    let step = numbers(&action["translation_m"]);
    assert!(step.iter().all(|v| v.abs() <= 0.05) && step.iter().any(|v| *v != 0.0), "{step:?}");
    assert_eq!(numbers(&action["angles_rad"]), [0.0; 3]);
    let before = [0.4, 0.1, 0.3];
    for (i, after) in numbers(&found["pose_after"]["position_m"]).iter().enumerate() {
        assert!((after - before[i] - step[i]).abs() < 1e-12);
    }
    for (after, before) in numbers(&found["pose_after"]["angles_rad"]).iter().zip([3.0, 0.1, -0.2]) {
        assert!((after - before).abs() < 1e-12);
    }
    let energy = |name: &str| found[name].as_f64().unwrap();
    assert!(energy("energy") > 0.0 && energy("energy") < energy("rest_energy"), "{found}");
    assert_eq!(numbers(&found["best_energies"]).len(), 4);
    assert_eq!(found["model"], "ac");
    // The same again, in other batches, and something else for another seed, picture or pose.
    assert_eq!(desk.json(&with(&[])), found);
    assert_eq!(desk.json(&with(&["--batch", "30"])), found);
    assert_ne!(desk.json(&with(&["--seed", "1"]))["action"], found["action"]);
    assert_ne!(desk.json(&with(&["--crop", "square"]))["energy"], found["energy"]);
    desk.write("pose.json", POSE.replace("0.4", "0.6").as_bytes());
    assert_ne!(desk.json(&with(&[]))["energy"], found["energy"]);
}

#[test]
fn a_goal_that_is_here_has_no_distance() {
    let desk = Desk::new();
    let args: Vec<&str> =
        with(&[]).into_iter().map(|arg| if arg == "goal.png" { "now.png" } else { arg }).collect();
    let (here, there) = (desk.json(&args), desk.json(&with(&[])));
    // The network is not trained, so even rest changes what it imagines; but another goal is another distance.
    assert_ne!(here["rest_energy"], there["rest_energy"]);
}

#[test]
fn what_is_given_is_not_searched() {
    let desk = Desk::new();
    let found =
        desk.json(&with(&["--fix", "z=0", "--fix", "x=-0.2", "--close-gripper", "1", "--max-step", "0.01"]));
    for (i, action) in found["plan"].as_array().unwrap().iter().enumerate() {
        let step = numbers(&action["translation_m"]);
        assert!(step[0] == -0.2 && step[2] == 0.0 && step[1].abs() <= 0.01, "{step:?}");
        assert_eq!(action["gripper"] == 1.0, i == 1, "{action}");
    }
}

#[test]
fn mobile_bases_are_refused_with_the_reason() {
    let desk = Desk::new();
    desk.refuses(&with(&["--robot", "mobile-base"]), "mean nothing for a mobile base");
    // Before anything is read.
    let nothing = ["a.png", "--goal", "b.png", "--model", "c.pt", "--robot", "mobile-base"];
    desk.refuses(&nothing, "mean nothing for a mobile base");
}

#[test]
fn missing_and_wrong_poses_are_refused() {
    let desk = Desk::new();
    let args = ["now.png", "--goal", "goal.png", "--model", "ac.pt"];
    desk.refuses(&args, "the pose of the gripper is missing: give it with --pose");
    for (text, part) in [
        ("[0.4, 0.1]", "`pose.json` is no pose"),
        ("", "`pose.json` is no pose"),
        (r#"{"position_m": [0.4, 0.1, 0.3], "gripper": 0.2}"#, "missing field `angles_rad`"),
        (r#"{"position_m": [0.4, 0.1], "angles_rad": [0, 0, 0], "gripper": 0.2}"#, "`pose.json` is no pose"),
        (
            r#"{"position_m": [0.4, 0.1, 0.3], "angles_rad": [0, 0, 0], "gripper": 1.2}"#,
            "`gripper` must be from 0",
        ),
        (r#"{"position_m": [0.4, 0.1, 0.3], "angles_rad": [0, 0, 0], "grip": 1}"#, "unknown field `grip`"),
        (r#"{"position_m": [1e999, 0, 0], "angles_rad": [0, 0, 0], "gripper": 1}"#, "`pose.json` is no pose"),
    ] {
        desk.write("pose.json", text.as_bytes());
        desk.refuses(&with(&[]), part);
    }
    std::fs::remove_file(desk.path("pose.json")).unwrap();
    desk.refuses(&with(&[]), "cannot read `pose.json`");
}

#[test]
fn random_weights_are_refused_by_their_signature() {
    let desk = Desk::new();
    let begun = |norm: &'static str| {
        move |name: &str, value: f32| match name.strip_prefix(norm) {
            Some(".weight") => 1.0,
            Some(".bias") => 0.0,
            _ => value,
        }
    };
    for norm in ["norm", "predictor_norm"] {
        desk.write("ac.pt", &network(begun(norm)));
        desk.refuses(&with(&[]), "these are random weights");
    }
    // Some factors of 1 are no signature.
    desk.write("ac.pt", &network(|name, value| if name == "norm.weight" { 1.0 } else { value }));
    desk.json(&with(&["--iterations", "1"]));
}

#[test]
fn other_bad_input_is_one_line() {
    let desk = Desk::new();
    desk.refuses(&with(&["--samples", "3"]), "`top_k` must be between 2 and the number of samples, 3, got 5");
    desk.refuses(&with(&["--max-step", "0"]), "`max_step_m` must be above 0");
    let swap = |from: &str, to: &'static str| -> Vec<&'static str> {
        with(&[]).into_iter().map(|arg| if arg == from { to } else { arg }).collect()
    };
    desk.refuses(&swap("now.png", "none.png"), "`none.png` cannot be read");
    desk.refuses(&swap("goal.png", "pose.json"), "`pose.json` must be a JPEG, PNG");
    desk.refuses(&swap("ac.pt", "steropes-tiny"), "is no V-JEPA 2-AC network");
    desk.refuses(&swap("ac.pt", "none.pt"), "no model `none.pt`");
    desk.refuses(&swap("ac.pt", "now.png"), "now.png");
    desk.refuses(&["now.png", "--goal", "goal.png", "--pose", "pose.json", "--model", "ac.pt"], "heads");
}
