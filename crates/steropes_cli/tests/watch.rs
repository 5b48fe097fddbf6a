//! `steropes watch` as a program: what it writes, and what it says on bad input.

use image::{Rgb, RgbImage};
use std::path::PathBuf;
use std::process::{Command, Output};
use steropes_models::mast3r::synthetic::{Parameter, write_weight_file};
use steropes_models::vjepa2::synthetic::{Extents, Version, checkpoint, encoder};
use steropes_tensor::DType;
use tempfile::TempDir;

struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_steropes"))
            .current_dir(self.0.path())
            .env("STEROPES_DEVICE", "cpu")
            .env("XDG_RUNTIME_DIR", self.0.path())
            .args(args)
            .output()
            .unwrap()
    }

    /// What is said on standard error by a run that must fail with code 2; one line.
    #[track_caller]
    fn refused(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        text
    }

    #[track_caller]
    fn lines(&self, args: &[&str]) -> Vec<serde_json::Value> {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Frames of a pattern that moves.
    fn frames(&self, count: u32) {
        std::fs::create_dir(self.path("frames")).unwrap();
        for k in 0..count {
            let frame = RgbImage::from_fn(160, 96, |x, y| {
                let hash = |s: u32| ((x + 2 * k) / s * 7919 + y / s * 104_729 + s) % 251;
                Rgb([
                    (hash(9) / 2 + hash(3) / 3) as u8,
                    (hash(7) / 2 + 40) as u8,
                    (hash(13) / 2 + (x + y + k) % 7) as u8,
                ])
            });
            frame.save(self.path("frames").join(format!("{k:03}.png"))).unwrap();
        }
    }

    /// A folder with a V-JEPA 2 network of a few generated weights.
    fn video_model(&self, name: &str, parameters: &[Parameter]) {
        const TINY: Extents = Extents::TINY;
        std::fs::create_dir(self.path(name)).unwrap();
        write_weight_file(&self.path(name).join("model.safetensors"), "watch", parameters, DType::F32)
            .unwrap();
        let config = serde_json::json!({
            "model_type": "vjepa2", "hidden_size": TINY.encoder.width, "num_hidden_layers": TINY.encoder.depth,
            "num_attention_heads": TINY.encoder.heads, "mlp_ratio": TINY.hidden as f64 / TINY.encoder.width as f64,
            "pred_hidden_size": TINY.predictor.width, "pred_num_hidden_layers": TINY.predictor.depth,
            "pred_num_attention_heads": TINY.predictor.heads, "pred_num_mask_tokens": TINY.mask_tokens, "crop_size": 64,
        });
        std::fs::write(self.path(name).join("config.json"), config.to_string()).unwrap();
    }

    fn calibrate(&self) {
        let output = self.run(&[
            "watch",
            "calibrate",
            "--fov",
            "70",
            "--size",
            "160x96",
            "--above-floor",
            "0.5",
            "--pitch",
            "5",
            "--speed",
            "0.5",
            "-o",
            "camera.toml",
        ]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_recording_is_replayed_bit_for_bit() {
    let desk = Desk::new();
    desk.frames(3);
    desk.calibrate();
    let args = [
        "watch",
        "frames",
        "--source-fps",
        "5",
        "--camera",
        "camera.toml",
        "--record",
        "run",
        "--overlay",
        "seen",
    ];
    let decisions = desk.lines(&args);
    assert_eq!(decisions.len(), 3);
    for (k, decision) in decisions.iter().enumerate() {
        assert_eq!(decision["frame"], k);
        assert!(decision["age"].as_f64().unwrap() > 0.0 && decision["zones"].as_array().unwrap().len() == 3);
        assert!(decision["surprise"].as_str().unwrap().starts_with("off"));
        let picture = image::open(desk.path("seen").join(format!("{k:08}.png"))).unwrap();
        assert_eq!([picture.width(), picture.height()], [160, 96]);
    }
    assert_eq!(desk.lines(&["watch", "--replay", "run"]), decisions);
    // A decision that was another one is noticed.
    let place = desk.path("run/decisions.jsonl");
    let text = std::fs::read_to_string(&place).unwrap();
    std::fs::write(&place, text.replacen("\"dropped\":0", "\"dropped\":1", 1)).unwrap();
    assert_eq!(desk.run(&["watch", "--replay", "run"]).status.code(), Some(1));
    // Nothing is overwritten unasked.
    assert!(desk.refused(&args).contains("--force"));
}

#[test]
fn a_recording_with_a_video_model_is_replayed_without_it() {
    let desk = Desk::new();
    desk.frames(2);
    desk.video_model("tiny", &checkpoint(&Extents::TINY, Version::V2_0));
    let args = ["watch", "frames", "--source-fps", "4", "--record", "run", "--video-model", "tiny"];
    let decisions = desk.lines(&args);
    assert_eq!(decisions.len(), 2);
    for decision in &decisions {
        let said = decision["surprise"].as_str().unwrap();
        assert!(said.contains("too little was seen") && said.contains("no probe"), "{said}");
        assert!(decision["zones"][1]["surprise"].is_null());
    }
    assert!(std::fs::read_to_string(desk.path("run/record.jsonl")).unwrap().contains("hundredths"));
    std::fs::remove_dir_all(desk.path("tiny")).unwrap();
    assert_eq!(desk.lines(&["watch", "--replay", "run"]), decisions);
}

#[test]
fn video_models_that_cannot_predict_are_refused_in_a_line() {
    let desk = Desk::new();
    desk.frames(1);
    let refused = |name: &str| {
        let error = desk.refused(&["watch", "frames", "--source-fps", "4", "--video-model", name]);
        assert_eq!(error.lines().count(), 1, "{error}");
        error
    };
    desk.video_model("blind", &encoder(&Extents::TINY, Version::V2_0));
    assert!(refused("blind").contains("mask predictor"));
    assert!(refused("nowhere").contains("nowhere"));
    // The last normalisation as training begins with it.
    desk.video_model("random", &checkpoint(&Extents::TINY, Version::V2_0));
    let place = desk.path("random/model.safetensors");
    let mut file = std::fs::read(&place).unwrap();
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
    for (tensor, value) in [("weight", 1f32), ("bias", 0.0)] {
        let at = |k: usize| {
            header[format!("encoder.backbone.norm.{tensor}")]["data_offsets"][k].as_u64().unwrap() as usize
        };
        for bytes in file[8 + length + at(0)..8 + length + at(1)].chunks_exact_mut(4) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
    }
    std::fs::write(&place, file).unwrap();
    assert!(refused("random").contains("look random"));
}

#[test]
fn a_still_camera_gives_its_noise() {
    let desk = Desk::new();
    desk.frames(12);
    let args = ["watch", "calibrate", "--focal", "120", "--still", "frames", "-o", "camera.toml"];
    assert_eq!(desk.run(&args).status.code(), Some(0));
    let text = std::fs::read_to_string(desk.path("camera.toml")).unwrap();
    assert!(text.contains("width = 160") && text.contains("focal_px = [120.0, 120.0]"), "{text}");
    let value = |key: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(key)).unwrap();
        line.split(['=', '#']).nth(1).unwrap().trim().parse().unwrap()
    };
    assert!(value("difference") > 0.0 && value("sharpness") > 0.0, "{text}");
}

#[test]
fn bad_input_is_refused_in_a_line() {
    let desk = Desk::new();
    desk.frames(1);
    desk.calibrate();
    assert!(desk.refused(&["watch"]).contains("SOURCE"));
    assert!(
        desk.refused(&["watch", "calibrate", "--fov", "200", "--size", "160x96", "-o", "b.toml"])
            .contains("--fov")
    );
    assert!(!desk.path("b.toml").exists());
    assert!(desk.refused(&["watch", "none.mp4", "--camera", "camera.toml"]).contains("none.mp4"));
    assert!(
        desk.refused(&["watch", "frames", "--source-fps", "5", "--camera", "none.toml"])
            .contains("none.toml")
    );
    let film =
        desk.refused(&["watch", "frames", "--source-fps", "5", "--overlay", "a.mp4", "--ffmpeg", "nowhere"]);
    assert!(film.contains("ffmpeg") && film.lines().count() == 1, "{film}");
    let text = std::fs::read_to_string(desk.path("camera.toml")).unwrap();
    std::fs::write(desk.path("bad.toml"), text.replace("pitch =", "pich =")).unwrap();
    let bad = desk.refused(&["watch", "frames", "--source-fps", "5", "--camera", "bad.toml"]);
    assert!(bad.contains("bad.toml") && bad.contains("line"), "{bad}");
    std::fs::write(desk.path("other.toml"), text.replace("width = 160", "width = 640")).unwrap();
    let other = desk.refused(&["watch", "frames", "--source-fps", "5", "--camera", "other.toml"]);
    assert!(other.contains("calibrate for this size"), "{other}");
    assert!(desk.refused(&["watch", "--replay", "nothing"]).contains("record.jsonl"));
}
