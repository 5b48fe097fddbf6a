//! The commands on video: `embed` and `classify` on folders, pipes and files, with a tiny network of generated weights.

use image::{Rgb, RgbImage};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use steropes_models::Precision;
use steropes_models::mast3r::synthetic::{Parameter, write_weight_file};
use steropes_models::vjepa2::preprocess::{Crop, Preprocess, Resampling};
use steropes_models::vjepa2::synthetic::{Extents, Version, checkpoint, probe};
use steropes_models::vjepa2::{Model, OpenOptions};
use steropes_tensor::{DType, Device};
use tempfile::TempDir;

const TINY: Extents = Extents::TINY;
/// Side of the network's pictures.
const SIZE: usize = 32;

/// A folder for one test, with a network in `net` and pictures in `walk`.
struct Desk {
    folder: TempDir,
}

/// Frame number `index` of the test video.
fn picture(index: u32) -> RgbImage {
    RgbImage::from_fn(64, 48, |x, y| {
        Rgb([(3 * x + 9 * index) as u8, (5 * y) as u8, (x * y + 40 * index) as u8])
    })
}

impl Desk {
    fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(desk.path("net")).unwrap();
        std::fs::create_dir(desk.path("walk")).unwrap();
        desk.weights("net/model.safetensors", &checkpoint(&TINY, Version::V2_0));
        let config = json!({
            "model_type": "vjepa2", "hidden_size": TINY.encoder.width, "num_hidden_layers": TINY.encoder.depth,
            "num_attention_heads": TINY.encoder.heads, "mlp_ratio": TINY.hidden as f64 / TINY.encoder.width as f64,
            "crop_size": SIZE,
        });
        std::fs::write(desk.path("net/config.json"), config.to_string()).unwrap();
        for index in 0..12 {
            picture(index).save(desk.path(&format!("walk/frame{index}.png"))).unwrap();
        }
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn weights(&self, name: &str, parameters: &[Parameter]) {
        write_weight_file(&self.path(name), "video", parameters, DType::F32).unwrap();
    }

    fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_steropes"));
        command.current_dir(self.folder.path()).env("STEROPES_DEVICE", "cpu").args(args);
        command
    }

    /// Runs with `input` on standard input.
    fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>, input: &[u8]) -> Output {
        let piped = [Stdio::piped(), Stdio::piped(), Stdio::piped()];
        let [stdin, stdout, stderr] = piped;
        let mut child = self.command(args).stdin(stdin).stdout(stdout).stderr(stderr).spawn().unwrap();
        // A program that refuses its arguments does not read.
        child.stdin.take().unwrap().write_all(input).unwrap_or_default();
        child.wait_with_output().unwrap()
    }

    /// Runs, expects success, and reads the JSON on standard output.
    #[track_caller]
    fn json(&self, args: &[&str], input: &[u8]) -> Value {
        let output = self.run(args.iter().chain(&["--json"]), input);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn entries(&self) -> Vec<String> {
        let entry =
            |e: std::io::Result<std::fs::DirEntry>| e.unwrap().file_name().to_string_lossy().into_owned();
        let mut names: Vec<_> = std::fs::read_dir(self.folder.path()).unwrap().map(entry).collect();
        names.sort();
        names
    }

    /// Runs and expects one line on standard error that holds `text`, exit code 2 and no new files.
    #[track_caller]
    fn refuses(&self, args: &[&str], text: &str) {
        let before = self.entries();
        let output = self.run(args, &[]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(text), "`{stderr}` does not say `{text}`");
        assert_eq!(stderr.trim_end().lines().count(), 1, "more than one line: {stderr}");
        assert_eq!(self.entries(), before, "something was left behind");
    }

    /// The tensors of a file: name, shape and bytes.
    fn tensor(&self, file: &str, name: &str) -> (Vec<usize>, Vec<u8>) {
        let bytes = std::fs::read(self.path(file)).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let tensor = tensors.tensor(name).unwrap();
        (tensor.shape().to_vec(), tensor.data().to_vec())
    }

    fn floats(&self, file: &str, name: &str) -> Vec<f32> {
        let (_, bytes) = self.tensor(file, name);
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    fn numbers(&self, file: &str, name: &str) -> Vec<i64> {
        let (_, bytes) = self.tensor(file, name);
        bytes.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap())).collect()
    }

    /// What the library says about the pictures with these numbers, as one clip.
    fn features(&self, preprocess: Preprocess, indices: &[i64]) -> Vec<f32> {
        let options = OpenOptions { with_predictor: false, ..OpenOptions::default() };
        let model = Model::open(&self.path("net"), &Device::cpu(), Precision::F32, &options).unwrap();
        let placement = preprocess.placements([48, 64]).unwrap()[0];
        let bytes: Vec<u8> = indices
            .iter()
            .flat_map(|&i| preprocess.frame(picture(i as u32).as_raw(), [48, 64], &placement))
            .collect();
        let shape = [1, indices.len(), placement.size[0], placement.size[1]];
        let clip = model.clip(shape, &preprocess.values(&bytes)).unwrap();
        model.features(&clip).unwrap().values().read::<f32>().unwrap()
    }
}

/// The largest difference relative to the largest value.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = a.iter().fold(1e-30f32, |m, v| m.max(v.abs()));
    a.iter().zip(b).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / largest
}

const WALK: [&str; 6] = ["walk", "--source-fps", "8", "--model", "net", "--frames"];

/// Whether ffmpeg is here; where CI runs it has to be.
#[expect(clippy::print_stderr, reason = "a test that checks nothing has to say so")]
fn has_ffmpeg() -> bool {
    let there = Command::new("ffmpeg").arg("-version").output().is_ok();
    assert!(there || std::env::var_os("CI").is_none(), "ffmpeg must be installed where CI runs");
    if !there {
        eprintln!("SKIPPED: ffmpeg is not installed, so nothing was checked");
    }
    there
}

#[test]
fn the_features_of_a_folder_are_those_of_the_library() {
    let desk = Desk::new();
    let args = [&["embed"], &WALK[..], &["4", "--fps", "4", "-o", "f.safetensors"]].concat();
    let summary = desk.json(&args, &[]);
    // Every second of twelve pictures: a clip of four, and one of two with its last again.
    assert_eq!((&summary["clips"], &summary["shape"]), (&json!(2), &json!([2, 8, 32])));
    assert_eq!(desk.numbers("f.safetensors", "frames"), [0, 2, 4, 6, 8, 10, 10, 10]);
    assert_eq!(desk.numbers("f.safetensors", "taken"), [4, 2]);
    let (shape, times) = desk.tensor("f.safetensors", "times");
    let times: Vec<f64> = times.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect();
    assert_eq!((shape, times), (vec![2, 4], vec![0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.25, 1.25]));
    let preprocess = Preprocess { resampling: Resampling::MetaEval, size: SIZE, crop: Crop::Centre };
    let want =
        [desk.features(preprocess, &[0, 2, 4, 6]), desk.features(preprocess, &[8, 10, 10, 10])].concat();
    let got = desk.floats("f.safetensors", "tokens");
    assert!(distance(&want, &got) < 1e-5, "off by {}", distance(&want, &got));
    assert!(distance(&want[..256], &want[256..]) > 0.01, "clips differ");
    // What the file says about itself.
    let bytes = std::fs::read(desk.path("f.safetensors")).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let about = header.metadata().as_ref().unwrap();
    assert_eq!((about["random_weights"].as_str(), about["source"].as_str()), ("false", "walk"));
    assert_eq!(
        (about["model_sha256"].len(), summary["model"]["sha256"].as_str()),
        (64, Some(&*about["model_sha256"]))
    );
    assert!(about["clips"].contains("meta-eval") && about["placement"].contains("area_kept"), "{about:?}");
    assert_eq!(summary["placement"]["resized"], json!([48, 36]));
    assert_eq!(desk.entries(), ["f.safetensors", "net", "walk"]);
}

#[test]
fn modes_crops_counting_and_pooling_are_as_asked() {
    let desk = Desk::new();
    let run = |more: &[&str]| {
        let args = [&["embed"], &WALK[..], &["4", "-o", "f.safetensors", "--force"], more].concat();
        desk.json(&args, &[])
    };
    let check = |resampling, crop, indices: &[i64]| {
        let want = desk.features(Preprocess { resampling, size: SIZE, crop }, indices);
        let got = desk.floats("f.safetensors", "tokens");
        assert!(distance(&want, &got[..want.len()]) < 1e-5, "{resampling} {crop}");
    };
    // The rule of the evaluations: floor(linspace(0, 12, 4)), at most 11.
    run(&["--frame-step", "3", "--mode", "hf"]);
    assert_eq!(desk.numbers("f.safetensors", "frames"), [0, 4, 8, 11]);
    check(Resampling::Hf, Crop::Centre, &[0, 4, 8, 11]);
    run(&["--duration", "1.5", "--mode", "meta-tensor"]);
    assert_eq!(desk.numbers("f.safetensors", "frames"), [0, 4, 8, 11]);
    check(Resampling::MetaTensor, Crop::Centre, &[0, 4, 8, 11]);
    let summary = run(&["--fps", "8", "--crop", "full", "--seconds", "0.5"]);
    assert_eq!(
        (&summary["shape"], &summary["placement"]["network_size"]),
        (&json!([1, 4, 32]), &json!([32, 32]))
    );
    check(Resampling::MetaEval, Crop::Full, &[0, 1, 2, 3]);
    let summary = run(&["--fps", "8", "--crop", "views-3", "--seconds", "0.5"]);
    assert_eq!(summary["shape"], json!([1, 3, 8, 32]));
    assert_eq!(summary["placement"]["origins"], json!([[0, 0], [5, 0], [10, 0]]));
    run(&["--fps", "8", "--seconds", "0.5"]);
    let tokens = desk.floats("f.safetensors", "tokens");
    let summary = run(&["--fps", "8", "--seconds", "0.5", "--pool", "mean"]);
    assert_eq!(summary["shape"], json!([1, 32]));
    let mean = |c: usize| tokens.iter().skip(c).step_by(32).sum::<f32>() / (tokens.len() / 32) as f32;
    let want: Vec<f32> = (0..32).map(mean).collect();
    assert!(distance(&want, &desk.floats("f.safetensors", "pooled")) < 1e-5);
}

#[test]
fn frames_on_standard_input_are_the_same_video() {
    let desk = Desk::new();
    desk.json(&[&["embed"], &WALK[..], &["4", "-o", "folder.safetensors"]].concat(), &[]);
    let raw: Vec<u8> = (0..12).flat_map(|i| picture(i).into_raw()).collect();
    let stream =
        ["embed", "-", "--frame-size", "64x48", "--source-fps", "8", "--model", "net", "--frames", "4"];
    desk.json(&[&stream[..], &["-o", "raw.safetensors"]].concat(), &raw);
    for name in ["tokens", "times", "frames", "taken"] {
        assert!(desk.tensor("raw.safetensors", name) == desk.tensor("folder.safetensors", name), "{name}");
    }
    // Grey, so that YUV4MPEG2 holds it as it is.
    let grey = |index: u32| picture(index).pixels().map(|p| p.0[0]).collect::<Vec<u8>>();
    let mut y4m = b"YUV4MPEG2 W64 H48 F8:1 Cmono XCOLORRANGE=FULL\n".to_vec();
    (0..12).for_each(|i| y4m.extend([&b"FRAME\n"[..], &grey(i)].concat()));
    let as_rgb: Vec<u8> = (0..12).flat_map(|i| grey(i).into_iter().flat_map(|v| [v; 3])).collect();
    desk.json(&[&stream[..], &["-o", "grey.safetensors"]].concat(), &as_rgb);
    desk.json(&["embed", "-", "--model", "net", "--frames", "4", "-o", "y4m.safetensors"], &y4m);
    assert!(desk.tensor("grey.safetensors", "tokens") == desk.tensor("y4m.safetensors", "tokens"));
    let cut = desk.run([&stream[..], &["-o", "cut.safetensors"]].concat(), &raw[..raw.len() - 7]);
    let stderr = String::from_utf8_lossy(&cut.stderr);
    assert!(cut.status.code() == Some(2) && stderr.contains("inside frame 11"), "{stderr}");
    assert!(!desk.entries().iter().any(|name| name.contains("cut")), "something was left behind");
}

#[test]
fn a_video_file_is_embedded() {
    if !has_ffmpeg() {
        return;
    }
    let desk = Desk::new();
    let pattern = "testsrc2=size=96x64:rate=10:duration=2";
    let made = Command::new("ffmpeg")
        .args(["-loglevel", "error", "-f", "lavfi", "-i", pattern, "-c:v", "libx264"])
        .arg(desk.path("a.mp4"))
        .status()
        .unwrap();
    assert!(made.success());
    let summary =
        desk.json(&["embed", "a.mp4", "--model", "net", "--frames", "4", "-o", "a.safetensors"], &[]);
    // Ticks of 4 a second from 0 to 1.75.
    assert_eq!(summary["clips"], 2);
    assert_eq!(desk.numbers("a.safetensors", "frames"), [0, 2, 5, 7, 10, 12, 15, 17]);
    let empty = desk.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let output = desk
        .command(["embed", "a.mp4", "--model", "net", "-o", "b.safetensors"])
        .env("PATH", &empty)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && stderr.contains("install ffmpeg"), "{stderr}");
    std::fs::write(desk.path("text.mp4"), "no video").unwrap();
    desk.refuses(&["embed", "text.mp4", "--model", "net", "-o", "b.safetensors"], "text.mp4");
}

#[test]
fn a_video_is_classified() {
    let desk = Desk::new();
    desk.weights("probe.safetensors", &probe(TINY.encoder.width, 2, &[("linear", 7)]));
    let probe_args = ["--probe", "probe.safetensors", "--probe-heads", "2"];
    let run =
        |more: &[&str]| desk.json(&[&["classify"], &WALK[..], &["4"], &probe_args[..], more].concat(), &[]);
    let all = run(&["--top", "7", "--fps", "8"]);
    let top = all["top"]["class"].as_array().unwrap();
    let probability = |entry: &Value| entry["probability"].as_f64().unwrap();
    let sum: f64 = top.iter().map(probability).sum();
    assert!(top.len() == 7 && (sum - 1.0).abs() < 1e-9, "{top:?}");
    assert!(top.windows(2).all(|pair| probability(&pair[0]) >= probability(&pair[1])));
    let segments = all["segments"].as_array().unwrap();
    assert_eq!((segments.len(), &segments[1]["start"], &segments[1]["end"]), (3, &json!(0.5), &json!(0.875)));
    let class = &top[0]["class"];
    let of_class = |segment: &Value| {
        segment["top"]["class"]
            .as_array()
            .unwrap()
            .iter()
            .find(|e| &e["class"] == class)
            .map(probability)
            .unwrap()
    };
    let mean = segments.iter().map(of_class).sum::<f64>() / 3.0;
    assert!((mean - probability(&top[0])).abs() < 1e-9);
    // All clips at once are one segment, and say something else.
    let joined = run(&["--fps", "8", "--segments", "3"]);
    assert_eq!(
        (joined["segments"].as_array().unwrap().len(), joined["top"]["class"].as_array().unwrap().len()),
        (1, 5)
    );
    assert_ne!(joined["top"], all["top"]);
    let output = desk.run([&["classify"], &WALK[..], &["4", "--top", "2"], &probe_args[..]].concat(), &[]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.lines().count() == 2 && text.contains("%  class"), "{text}");
    desk.refuses(&[&["classify"], &WALK[..], &["4"]].concat(), "--probe");
    desk.weights("wide.safetensors", &probe(48, 2, &[("linear", 7)]));
    let wide =
        [&["classify"], &WALK[..], &["4", "--probe", "wide.safetensors", "--probe-heads", "2"]].concat();
    desk.refuses(&wide, "belongs to the model");
}

/// Weights as a network begins with are refused, and marked if they are asked for.
#[test]
fn weights_that_nobody_trained_are_refused() {
    let desk = Desk::new();
    let path = desk.path("net/model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let begun: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| {
            let fill = |value: f32| {
                vec![value; tensor.data().len() / 4].into_iter().flat_map(f32::to_le_bytes).collect()
            };
            let data = match name {
                "encoder.backbone.norm.weight" => fill(1.0),
                "encoder.backbone.norm.bias" => fill(0.0),
                _ => tensor.data().to_vec(),
            };
            (name.to_owned(), tensor.shape().to_vec(), data)
        })
        .collect();
    let views = begun
        .iter()
        .map(|(name, shape, data)| (name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    let args = [&["embed"], &WALK[..], &["4", "-o", "f.safetensors"]].concat();
    desk.refuses(&args, "was not trained");
    let summary = desk.json(&[&args[..], &["--random-weights"]].concat(), &[]);
    assert_eq!(summary["model"]["random_weights"], true);
    let bytes = std::fs::read(desk.path("f.safetensors")).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header.metadata().as_ref().unwrap()["random_weights"], "true");
}

#[test]
fn what_makes_no_sense_is_one_line() {
    let desk = Desk::new();
    let walk = [&["embed"], &WALK[..], &["4", "-o", "f.safetensors"]].concat();
    let with = |more: &[&'static str]| [&walk[..], more].concat();
    desk.refuses(
        &["embed", "walk", "--source-fps", "8", "-o", "f.safetensors"],
        "steropes models fetch vjepa2-large",
    );
    desk.refuses(&["embed", "walk", "--model", "net", "-o", "f.safetensors"], "--source-fps");
    desk.refuses(&["embed", "walk", "--model", "nowhere", "-o", "f.safetensors"], "nowhere");
    desk.refuses(&["embed", "walk", "--model", "steropes-tiny", "-o", "f.safetensors"], "pairs of photos");
    desk.refuses(&["embed", "missing.mp4", "--model", "net", "-o", "f.safetensors"], "missing.mp4");
    desk.refuses(&["embed", "-", "--model", "net", "-o", "f.safetensors"], "--frame-size");
    desk.refuses(
        &["embed", "walk", "--times", "names", "--model", "net", "-o", "f.safetensors"],
        "give a rate",
    );
    desk.refuses(&with(&["--seconds", "nan"]), "--seconds must be");
    desk.refuses(&with(&["--fps", "0"]), "frames a second");
    desk.refuses(&with(&["--duration", "0.01"]), "step below one frame");
    desk.refuses(&with(&["--size", "40"]), "multiple of 16");
    desk.refuses(&with(&["--profile", "trace.json"]), "--device");
    desk.refuses(&with(&["--json", "--profile", "-"]), "--profile");
    std::fs::write(desk.path("f.safetensors"), "precious").unwrap();
    desk.refuses(&walk, "--force");
    assert_eq!(std::fs::read_to_string(desk.path("f.safetensors")).unwrap(), "precious");
    picture(0).save(desk.path("walk/frame5.jpg")).unwrap();
    std::fs::write(desk.path("walk/frame6.png"), "broken").unwrap();
    desk.refuses(&with(&["--force"]), "frame6.png");
    RgbImage::new(48, 96).save(desk.path("walk/frame6.png")).unwrap();
    desk.refuses(&with(&["--force", "--crop", "full"]), "--crop centre");
}

/// An interrupt while a video is read leaves neither a file nor a process behind.
#[cfg(unix)]
#[test]
fn an_interrupt_leaves_nothing() {
    if !has_ffmpeg() {
        return;
    }
    let desk = Desk::new();
    let pattern = "testsrc2=size=320x240:rate=30:duration=30";
    let made = Command::new("ffmpeg")
        .args(["-loglevel", "error", "-f", "lavfi", "-i", pattern, "-c:v", "libx264", "-preset", "ultrafast"])
        .arg(desk.path("long.mp4"))
        .status()
        .unwrap();
    assert!(made.success());
    // Large frames for a small network: it takes a while.
    let args =
        ["embed", "long.mp4", "--model", "net", "--fps", "30", "--size", "256", "-o", "f.safetensors", "-q"];
    let before = desk.entries().len();
    let mut child = desk.command(args).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let has_begun = || {
        let size = |name: &String| desk.path(name).metadata().map_or(0, |m| m.len());
        desk.entries().iter().any(|name| name.starts_with(".f.safetensors") && size(name) > 0)
    };
    while !has_begun() {
        assert!(Instant::now() < deadline, "the program never began to write");
        assert!(child.try_wait().unwrap().is_none(), "the program ended before it could be interrupted");
        std::thread::sleep(Duration::from_millis(2));
    }
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(!child.wait().unwrap().success());
    assert_eq!(desk.entries().len(), before, "{:?}", desk.entries());
    if cfg!(target_os = "linux") {
        let deadline = Instant::now() + Duration::from_secs(10);
        while ffmpegs_on(&desk.path("long.mp4")) > 0 {
            assert!(Instant::now() < deadline, "ffmpeg goes on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Processes that have been given this file.
#[cfg(unix)]
fn ffmpegs_on(path: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir("/proc") else { return 0 };
    let has_file = |entry: &std::fs::DirEntry| {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let folder = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains("file:long.mp4") && Some(&*folder) == path.parent()
    };
    entries.filter_map(Result::ok).filter(has_file).count()
}
