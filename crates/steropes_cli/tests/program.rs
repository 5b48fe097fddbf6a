//! The built program on good and bad input: what it says, what it exits with, and what it leaves behind.

use image::{Rgb, RgbImage};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use steropes_testkit::torch_file::checkpoint;
use tempfile::TempDir;

/// A folder for one test.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A photo of a made-up pattern, shifted sideways by `shift` pixels.
    fn photo(&self, name: &str, width: u32, height: u32, shift: u32) -> PathBuf {
        let wave = |x: u32, y: u32, k: f32| {
            (((x as f32 * k).sin() + (y as f32 * k * 1.3).cos()) * 60.0 + 128.0) as u8
        };
        let picture = RgbImage::from_fn(width, height, |x, y| {
            let x = x + shift;
            Rgb([wave(x, y, 0.21), wave(x, y, 0.047), wave(y, x, 0.11)])
        });
        let path = self.path(name);
        picture.save(&path).unwrap();
        path
    }

    fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.run_on("cpu", args)
    }

    /// Runs with `device` as the default of `--device`.
    fn run_on<S: AsRef<OsStr>>(&self, device: &str, args: impl IntoIterator<Item = S>) -> Output {
        Command::new(env!("CARGO_BIN_EXE_steropes"))
            .current_dir(self.folder.path())
            .env("STEROPES_DEVICE", device)
            // Some graphics drivers complain if they find no such folder.
            .env("XDG_RUNTIME_DIR", self.folder.path())
            .args(args)
            .output()
            .unwrap()
    }

    /// Runs, expects success, and reads the JSON on standard output.
    #[track_caller]
    fn json<S: AsRef<OsStr>>(&self, device: &str, args: impl IntoIterator<Item = S>) -> serde_json::Value {
        let output = self.run_on(device, args);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Everything in the folder, hidden files included.
    fn entries(&self) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(self.folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Runs and expects one line on standard error that holds `text`, exit code 2 and no new files.
    #[track_caller]
    fn refuses<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>, text: &str) {
        let before = self.entries();
        let output = self.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(text), "`{stderr}` does not say `{text}`");
        assert_eq!(stderr.trim_end().lines().count(), 1, "more than one line: {stderr}");
        assert!(output.stdout.is_empty());
        assert_eq!(self.entries(), before, "something was left behind");
    }
}

fn castle(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/photos/castle").join(name)
}

fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_str().unwrap().to_owned()
}

#[test]
fn no_photos() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("empty")).unwrap();
    desk.refuses(["reconstruct", "empty", "-o", "scene"], "no photos");
    desk.refuses(["reconstruct", "missing", "-o", "scene"], "missing");
}

#[test]
fn unreadable_photos() {
    let desk = Desk::new();
    let good = text(desk.photo("good.png", 160, 120, 0));
    std::fs::write(desk.path("zero.jpg"), b"").unwrap();
    desk.refuses(["reconstruct", &good, "zero.jpg", "-o", "scene"], "zero.jpg");
    let bytes = std::fs::read(castle("photo_01.jpg")).unwrap();
    std::fs::write(desk.path("cut.jpg"), &bytes[..bytes.len() / 3]).unwrap();
    desk.refuses(["reconstruct", &good, "cut.jpg", "-o", "scene"], "cut.jpg");
    std::fs::write(desk.path("text.png"), b"this is no picture").unwrap();
    desk.refuses(["match", &good, "text.png", "-o", "m.png"], "text.png");
    desk.photo("dot.png", 1, 1, 0);
    desk.refuses(["reconstruct", &good, "dot.png", "-o", "scene"], "dot.png");
    std::fs::write(desk.path("phone.heic"), b"\0\0\0\x18ftypheic").unwrap();
    desk.refuses(["reconstruct", "phone.heic", "-o", "scene"], "convert");
    desk.refuses(["match", &good, "phone.heic", "-o", "m.png"], "convert");
}

#[test]
fn a_huge_header_is_refused_before_memory_is_taken() {
    let desk = Desk::new();
    let good = text(desk.photo("good.png", 160, 120, 0));
    let mut png = std::fs::read(&good).unwrap();
    png[16..20].copy_from_slice(&30_000u32.to_be_bytes());
    png[20..24].copy_from_slice(&30_000u32.to_be_bytes());
    let crc = crc32fast::hash(&png[12..29]);
    png[29..33].copy_from_slice(&crc.to_be_bytes());
    std::fs::write(desk.path("huge.png"), png).unwrap();
    desk.refuses(["reconstruct", &good, "huge.png", "-o", "scene"], "huge.png");
}

#[test]
fn an_existing_result_is_kept_unless_forced() {
    let desk = Desk::new();
    let (a, b) = (text(castle("photo_01.jpg")), text(castle("photo_02.jpg")));
    std::fs::create_dir(desk.path("scene")).unwrap();
    std::fs::write(desk.path("scene/precious.txt"), "keep").unwrap();
    desk.refuses(["reconstruct", &a, &b, "-o", "scene"], "--force");
    assert_eq!(std::fs::read_to_string(desk.path("scene/precious.txt")).unwrap(), "keep");
    std::fs::write(desk.path("file"), "a file").unwrap();
    desk.refuses(["reconstruct", &a, &b, "-o", "file"], "file");
    desk.refuses(["reconstruct", &a, &b, "-o", "file/below"], "file");
    desk.refuses(["match", &a, &b, "-o", "file"], "--force");
    let output = desk.run(["reconstruct", &a, &b, "-o", "scene", "--force", "--size", "128", "-q"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!desk.path("scene/precious.txt").exists() && desk.path("scene/report.json").exists());
}

#[test]
fn a_scene_has_all_its_files() {
    let desk = Desk::new();
    let folder = text(castle(""));
    let output = desk.run(["reconstruct", &folder, "-o", "my scene ü", "--size", "192", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["images"].as_array().unwrap().len(), 4);
    let scene = desk.path("my scene ü");
    for file in ["scene.glb", "scene.ply", "cameras.json", "preview.png", "report.json"] {
        assert!(scene.join(file).metadata().unwrap().len() > 100, "{file}");
    }
    for stem in ["cameras", "images", "points3D"] {
        assert!(
            scene.join(format!("colmap/{stem}.bin")).exists()
                && scene.join(format!("colmap/{stem}.txt")).exists()
        );
    }
    assert_eq!(desk.entries(), ["my scene ü"]);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let desk = Desk::new();
    let (a, b) = (text(castle("photo_02.jpg")), text(castle("photo_03.jpg")));
    for (name, threads) in [("one", "1"), ("two", "2")] {
        let output = desk.run([
            "reconstruct",
            &a,
            &b,
            "-o",
            name,
            "--size",
            "160",
            "--seed",
            "7",
            "--threads",
            threads,
        ]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    for file in ["scene.ply", "cameras.json", "colmap/points3D.bin"] {
        let read = |name: &str| std::fs::read(desk.path(name).join(file)).unwrap();
        assert!(read("one") == read("two"), "{file} differs between runs");
    }
}

#[test]
fn photos_that_have_nothing_in_common() {
    let desk = Desk::new();
    let noise = |name: &str, seed: u32| {
        let value = |x: u32, y: u32, c: u32| {
            let mut v = (x * 7919 + y * 104_729 + c * 1_299_709 + seed).wrapping_mul(2_654_435_761);
            v ^= v >> 15;
            (v.wrapping_mul(2_246_822_519) >> 24) as u8
        };
        let path = desk.path(name);
        RgbImage::from_fn(192, 144, |x, y| Rgb([0, 1, 2].map(|c| value(x, y, c)))).save(&path).unwrap();
        text(path)
    };
    let (a, b) = (noise("a.png", 1), noise("b.png", 77_777));
    desk.refuses(["reconstruct", &a, &b, "-o", "scene", "--size", "128"], "no two of the 2 photos");
}

#[test]
fn one_photo_gives_a_scene_of_its_own() {
    let desk = Desk::new();
    let photo = text(castle("photo_02.jpg"));
    let output =
        desk.run(["reconstruct", &photo, "-o", "scene", "--size", "128", "--tsdf-threshold", "0.02"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("no second view") && stderr.contains("--tsdf-threshold"), "{stderr}");
    assert!(desk.path("scene/scene.ply").exists());
}

#[test]
fn names_sizes_and_duplicates() {
    let desk = Desk::new();
    for (from, to) in [("photo_02.jpg", "première vue.jpg"), ("photo_03.jpg", "zweite Ansicht.JPG")] {
        std::fs::copy(castle(from), desk.path(to)).unwrap();
    }
    std::fs::copy(castle("photo_02.jpg"), desk.path("again.jpg")).unwrap();
    let small = image::open(castle("photo_04.jpg")).unwrap().thumbnail(400, 300).crop_imm(0, 0, 300, 300);
    small.save(desk.path("small.png")).unwrap();
    let output = desk.run(["reconstruct", ".", "-o", "scene", "--size", "160", "--json"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("again.jpg"), "the duplicate is named: {stderr}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<_> =
        report["images"].as_array().unwrap().iter().map(|i| i["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.contains(&"première vue.jpg") || names.contains(&"again.jpg"), "{names:?}");
}

#[test]
fn a_model_that_cannot_be_used() {
    let desk = Desk::new();
    let (a, b) = (text(castle("photo_01.jpg")), text(castle("photo_02.jpg")));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/steropes-tiny");
    let weights = std::fs::read(source.join("model.safetensors")).unwrap();
    let config = std::fs::read_to_string(source.join("config.json")).unwrap();
    let try_model = |weights: &[u8], config: &str, text: &str| {
        std::fs::create_dir_all(desk.path("model")).unwrap();
        std::fs::write(desk.path("model/model.safetensors"), weights).unwrap();
        std::fs::write(desk.path("model/config.json"), config).unwrap();
        desk.refuses(["match", &a, &b, "--model", "model", "-o", "m.png"], text);
    };
    try_model(&weights[..weights.len() / 2], &config, "model.safetensors");
    try_model(&weights, "{\"architecture\": 3}", "config.json");
    try_model(&weights, &config.replace("enc_depth=10", "enc_depth=11"), "enc_blocks.10");
    try_model(&weights, &config.replace("enc_depth=10", "enc_depth=9"), "enc_blocks.9");
    try_model(&weights, &config.replace("enc_embed_dim=256", "enc_embed_dim=128"), "patch_embed");
    // The data begins behind the header; a NaN in the first tensor must be found before anything runs.
    let header = u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    let mut broken = weights.clone();
    broken[8 + header..8 + header + 2].copy_from_slice(&0x7e00u16.to_le_bytes());
    try_model(&broken, &config, "NaN");
    desk.refuses(["match", &a, &b, "--model", "nowhere", "-o", "m.png"], "nowhere");
}

#[test]
fn options_that_make_no_sense() {
    let desk = Desk::new();
    let (a, b) = (text(castle("photo_01.jpg")), text(castle("photo_02.jpg")));
    desk.refuses(["reconstruct", &a, &b, "-o", "scene", "--device", "abacus"], "this machine has: cpu");
    desk.refuses(["match", &a, &b, "-o", "m.png", "--precision", "f16"], "--precision f32");
    desk.refuses(["reconstruct", &a, &b, "-o", "scene", "--profile", "trace.json"], "--device");
    desk.refuses(["reconstruct", &a, &b, "-o", "scene", "--json", "--profile", "-"], "--profile");
    desk.refuses(["doctor", "--only", "no such check"], "no such check");
    desk.refuses(["bench", "no such bench"], "no such bench");
    desk.refuses(["reconstruct", &a, &b, "-o", "scene", "--graph", "star"], "swin");
    desk.refuses(["reconstruct", &a, &b, "-o", "scene", "--graph", "oneref-7"], "oneref");
    desk.refuses(["reconstruct", &a, &b, "-o", "scene", "--size", "8"], "size");
    for bad in ["-0.1", "nan", "inf"] {
        let text = "--tsdf-threshold must be a distance";
        desk.refuses(["reconstruct", &a, &b, "-o", "scene", "--tsdf-threshold", bad], text);
    }
    desk.refuses(["reconstruct", &a, &b, "-o", "scene", "--tsdf-samples", "0"], "--tsdf-samples must be");
}

/// Pairs by similarity: learnt from the photos, or by a file; and what the report says of it.
#[test]
fn similar_photos_are_compared() {
    let desk = Desk::new();
    let folder = text(castle(""));
    let run = |name: &str, more: &[&str]| {
        let args = ["reconstruct", &folder, "-o", name, "--size", "128", "--json"];
        desk.json("cpu", args.iter().chain(more))
    };
    let pairs = |report: &serde_json::Value| -> Vec<[String; 2]> {
        let pairs = report["pairs"].as_array().unwrap().iter();
        pairs.map(|p| ["a", "b"].map(|k| p[k].as_str().unwrap().to_owned())).collect()
    };
    let all = run("all", &["--graph", "auto"]);
    assert_eq!(
        (pairs(&all).len(), &all["retrieval"]),
        (6, &serde_json::Value::Null),
        "few photos: all pairs"
    );
    // Two key photos, the other two with one of them, and nothing else.
    let learnt = run("learnt", &["--graph", "retrieval-2-1"]);
    assert_eq!(pairs(&learnt).len(), 3, "{:#}", learnt["pairs"]);
    assert_eq!(learnt["options"]["graph"], "retrieval-2-1");
    let about = &learnt["retrieval"];
    assert_eq!(
        (&about["whitening"], &about["codebook"]),
        (&serde_json::Value::Null, &serde_json::Value::Null)
    );
    assert!(about["words"].as_u64().unwrap() > 1 && about["features"].as_u64().unwrap() > 4, "{about:#}");
    let stages: Vec<_> = learnt["stages"].as_array().unwrap().iter().map(|s| s["stage"].clone()).collect();
    assert_eq!(stages.iter().filter(|s| **s == "encode" || **s == "retrieval").count(), 2, "{stages:?}");
    assert_eq!(pairs(&run("again", &["--graph", "retrieval-2-1", "--threads", "1"])), pairs(&learnt));

    // A file whose whitening changes nothing.
    let whitening = |width: usize| {
        let identity = (0..width * width).map(|i| if i % (width + 1) == 0 { 1.0 } else { 0.0 }).collect();
        let m = ("prewhiten.m".to_owned(), vec![1, width], vec![0.0; width]);
        checkpoint("", &[m, ("prewhiten.p".to_owned(), vec![width, width], identity)], &[])
    };
    std::fs::write(desk.path("net_retrieval_trainingfree.pth"), whitening(256)).unwrap();
    let file = "net_retrieval_trainingfree.pth";
    let given = run("given", &["--graph", "retrieval-4-1", "--retrieval", file]);
    assert_eq!((pairs(&given).len(), given["retrieval"]["whitening"].as_str()), (6, Some(file)));
    assert_eq!((&given["options"]["retrieval"], &given["retrieval"]["width"]), (&file.into(), &256.into()));
    let output = desk.run(["reconstruct", &folder, "-o", "unused", "--size", "128", "--retrieval", file]);
    assert_eq!(output.status.code(), Some(0));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("--retrieval is not used"), "{stderr}");

    let refuses = |graph: &str, file: &str, text: &str| {
        desk.refuses(["reconstruct", &folder, "-o", "scene", "--graph", graph, "--retrieval", file], text);
    };
    std::fs::write(desk.path("small.pth"), whitening(8)).unwrap();
    refuses("auto", "small.pth", "takes tokens of 8 values, but the encoder of `steropes-tiny` gives 256");
    refuses("auto", "missing.pth", "--retrieval: no file `missing.pth`");
    refuses("auto", "steropes-tiny", "--retrieval: no file `steropes-tiny`");
    std::fs::write(desk.path("net_retrieval_codebook.pkl"), b"\x80\x04}.").unwrap();
    refuses("auto", file, "it is no codebook");
    for graph in [
        "retrieval",
        "retrieval-20",
        "retrieval-20-1-10-1",
        "retrieval-0-3",
        "retrieval-3-0",
        "retrieval-a-b",
    ] {
        let text = "retrieval-NA-K (NA and K at least 1), got";
        desk.refuses(["reconstruct", &folder, "-o", "scene", "--graph", graph], text);
    }
}

/// Depths are refined in a stage of their own, from a seed, and only if that is asked for.
#[test]
fn depths_are_made_to_agree_if_asked() {
    let desk = Desk::new();
    let (a, b) = (text(castle("photo_02.jpg")), text(castle("photo_03.jpg")));
    let run = |name: &str, more: &[&str]| {
        let args = ["reconstruct", &a, &b, "-o", name, "--size", "128", "--json"];
        let report = desk.json("cpu", args.iter().chain(more));
        (report, std::fs::read(desk.path(name).join("scene.ply")).unwrap())
    };
    let stages = |report: &serde_json::Value| {
        let stages = report["stages"].as_array().unwrap().clone();
        stages
            .into_iter()
            .map(|s| (s["stage"].as_str().unwrap().to_owned(), s["ops"].clone()))
            .collect::<Vec<_>>()
    };
    let (plain, cloud) = run("plain", &[]);
    assert!(stages(&plain).iter().all(|(name, _)| name != "tsdf"), "{plain:#}");
    let (off, same) = run("off", &["--tsdf-threshold", "0"]);
    assert_eq!(off["options"], plain["options"]);
    assert!(same == cloud, "a threshold of 0 changes nothing");
    let (refined, moved) = run("refined", &["--tsdf-threshold", "0.02", "--tsdf-samples", "20"]);
    let stages = stages(&refined);
    let at = |wanted: &str| stages.iter().position(|(name, _)| name == wanted).unwrap();
    assert!(at("refine") < at("tsdf") && at("tsdf") < at("clean"), "{stages:?}");
    assert_eq!(stages[at("tsdf")].1["cpu"], serde_json::json!({ "geometry::tsdf::refine_depth": 1 }));
    assert!(moved != cloud, "depths move");
    let (_, again) = run("again", &["--tsdf-threshold", "0.02", "--tsdf-samples", "20"]);
    assert!(again == moved, "the seed decides");
}

#[test]
fn matches_and_raw_outputs_of_a_pair() {
    let desk = Desk::new();
    let (a, b) = (text(castle("photo_02.jpg")), text(castle("photo_03.jpg")));
    let output = desk.run(["match", &a, &b, "-o", "m.png", "--size", "192", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let matches: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let list = matches["matches"].as_array().unwrap();
    assert!(list.len() > 50);
    let xy = list[0]["xy_a"].as_array().unwrap();
    assert!(xy.iter().all(|v| (0.0..=800.0).contains(&v.as_f64().unwrap())));
    assert!(image::open(desk.path("m.png")).unwrap().width() > 300);
    let output = desk.run(["infer", &a, &b, "-o", "pair.safetensors", "--size", "128", "--pictures"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let bytes = std::fs::read(desk.path("pair.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.tensor("view1.pts3d").unwrap().shape(), [1, 96, 128, 3]);
    assert!(tensors.tensor("view2.desc_conf").is_ok());
    assert!(desk.path("pair_view1_depth.png").exists() && desk.path("pair_view2_confidence.png").exists());
}

#[test]
fn settings_come_from_a_file_or_a_preset_and_options_go_before_them() {
    let desk = Desk::new();
    let (a, b) = (text(castle("photo_02.jpg")), text(castle("photo_03.jpg")));
    let yaml =
        "# ours\nimage_size: 128\nthreads: 1\ndevice: nowhere\nmatching:\n  top_k: 40\n  subsample: 2\n";
    std::fs::write(desk.path("engine.yaml"), yaml).unwrap();
    let found = desk.json("cpu", ["match", &a, &b, "-o", "m.png", "--config", "engine.yaml", "--json"]);
    let list = found["matches"].as_array().unwrap();
    assert_eq!(list.len(), 40);
    let confidence: Vec<f64> = list.iter().map(|m| m["confidence"].as_f64().unwrap()).collect();
    assert!(
        confidence.is_sorted_by(|a, b| a >= b) && list.iter().all(|m| m["point_b"][2].as_f64().is_some())
    );
    let infer = |more: &[&str]| {
        let args = ["infer", &a, &b, "-o", "pair.safetensors", "--force", "--json"];
        let result = desk.json("cpu", args.iter().chain(more));
        assert!(result["milliseconds"]["decode"].as_f64().unwrap() > 0.0);
        result["tensors"]["view1.pts3d"].to_string()
    };
    assert_eq!(infer(&["--config", "engine.yaml"]), "[1,96,128,3]");
    assert_eq!(infer(&["--config", "engine.yaml", "--size", "64"]), "[1,48,64,3]");
    assert_eq!(infer(&["--preset", "quick"]), "[1,192,256,3]");
    // What `presets` prints is a file for --config.
    let preset = desk.run(["presets", "quick"]);
    std::fs::write(desk.path("quick.toml"), &preset.stdout).unwrap();
    assert_eq!(infer(&["--config", "quick.toml"]), "[1,192,256,3]");
    let listed = String::from_utf8(desk.run(["presets"]).stdout).unwrap();
    assert!(listed.lines().count() >= 3 && listed.contains("drone-fast"), "{listed}");
}

#[test]
fn bad_settings() {
    let desk = Desk::new();
    let (a, b) = (text(castle("photo_02.jpg")), text(castle("photo_03.jpg")));
    let refuses = |file: &str, content: &str, want: &str| {
        std::fs::write(desk.path(file), content).unwrap();
        desk.refuses(["infer", &a, &b, "-o", "pair.safetensors", "--config", file], want);
    };
    refuses("a.yaml", "image_size: 128\nmatching:\n  topk: 4\n", "`a.yaml` line 3: `matching.topk`: ");
    refuses("a.toml", "image_size = 128\ntreads = 4\n", "`a.toml` line 2: `treads`: ");
    refuses("b.toml", "threads = 0\n", "`b.toml` line 1: `threads`: must be 1 to 1024, got 0");
    refuses("a.json", "{}", "must end in .yaml, .yml or .toml");
    refuses("b.yaml", "model: nowhere\n", "no model `nowhere`");
    desk.refuses(["match", &a, &b, "-o", "m.png", "--config", "none.yaml"], "cannot read `none.yaml`");
    for args in [&["--preset", "unheard-of"][..], &["--preset", "quick", "--config", "b.toml"]] {
        let output = desk.run(["infer", &a, &b, "-o", "pair.safetensors"].iter().chain(args));
        assert_eq!(output.status.code(), Some(2));
    }
}

/// A write that the system refuses in the middle ends like a full disk: one line, nothing left.
#[cfg(unix)]
#[test]
fn a_disk_without_room() {
    let desk = Desk::new();
    let (a, b) = (text(castle("photo_02.jpg")), text(castle("photo_03.jpg")));
    let program = env!("CARGO_BIN_EXE_steropes");
    let script = format!(
        "trap '' XFSZ; ulimit -f 16; exec '{program}' reconstruct '{a}' '{b}' -o scene --size 128 -q"
    );
    let output = Command::new("sh")
        .arg("-c")
        .arg(script)
        .env("STEROPES_DEVICE", "cpu")
        .current_dir(desk.folder.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr}");
    assert!(desk.entries().is_empty(), "{:?}", desk.entries());
}

#[cfg(unix)]
#[test]
fn an_interrupt_leaves_the_old_result() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("scene")).unwrap();
    std::fs::write(desk.path("scene/old.txt"), "old").unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_steropes"))
        .env("STEROPES_DEVICE", "cpu")
        .current_dir(desk.folder.path())
        .args(["reconstruct", &text(castle("")), "-o", "scene", "--force", "-q"])
        .spawn()
        .unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while desk.entries().len() < 2 {
        assert!(std::time::Instant::now() < deadline, "the program never began to write");
        assert!(child.try_wait().unwrap().is_none(), "the program ended before it could be interrupted");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(!child.wait().unwrap().success());
    assert_eq!(desk.entries(), ["scene"]);
    assert_eq!(std::fs::read_to_string(desk.path("scene/old.txt")).unwrap(), "old");
}

/// The GPU for tests: the one that STEROPES_DEVICE names, which must then exist, else the first of this machine.
fn gpu(desk: &Desk) -> Option<String> {
    match std::env::var("STEROPES_DEVICE") {
        Ok(device) => Some(device).filter(|d| d != "cpu"),
        Err(_) => {
            let devices = desk.json("cpu", ["devices", "--json"]);
            Some(devices["gpus"].as_array().unwrap().first()?["selector"].as_str().unwrap().to_owned())
        }
    }
}

#[test]
fn devices_are_listed_with_the_one_that_auto_takes() {
    let desk = Desk::new();
    let devices = desk.json("cpu", ["devices", "--json"]);
    let gpus = devices["gpus"].as_array().unwrap();
    let chosen: Vec<bool> = std::iter::once(&devices["cpu"])
        .chain(gpus)
        .map(|device| device["auto"].as_bool().unwrap())
        .collect();
    assert_eq!(chosen.iter().filter(|c| **c).count(), 1, "{devices:#}");
    assert!(gpus.iter().all(|gpu| !(gpu["auto"] == true && gpu["software"] == true)), "{devices:#}");
    let list = desk.run(["devices"]);
    assert_eq!(String::from_utf8_lossy(&list.stdout).matches('*').count(), 1);
}

#[test]
fn a_doctor_says_what_is_right() {
    let desk = Desk::new();
    let report = desk.json("cpu", ["doctor", "--only", "layer_norm/oracle", "--json"]);
    assert_eq!((report["wrong"].as_u64(), report["device"]["name"].as_str()), (Some(0), Some("cpu")));
    let checks = report["checks"].as_array().unwrap();
    assert!(checks.iter().all(|c| c["name"].as_str().unwrap().contains("layer_norm/oracle")), "{report:#}");
    assert!(checks.iter().any(|c| c["outcome"] == "right"), "{report:#}");
    let pair = desk.run(["doctor", "--only", "pair"]);
    let text = String::from_utf8_lossy(&pair.stdout);
    assert_eq!(pair.status.code(), Some(0), "{text}");
    assert!(text.contains("pair/f32\tright"), "{text}");
}

#[test]
fn a_bench_is_compared_with_an_earlier_one() {
    let desk = Desk::new();
    let before = desk.run(["bench", "layer_norm/tiny", "--json"]);
    assert_eq!(before.status.code(), Some(0), "{}", String::from_utf8_lossy(&before.stderr));
    std::fs::write(desk.path("before.json"), &before.stdout).unwrap();
    let after = desk.json("cpu", ["bench", "layer_norm/tiny", "--json", "--compare", "before.json"]);
    let row = &after["rows"][0];
    assert_eq!(row["name"], "layer_norm/tiny_encoder");
    assert!(row["speedup"].as_f64().unwrap() > 0.0 && row["median_ms"].as_f64().unwrap() > 0.0, "{after:#}");
    std::fs::write(desk.path("no.json"), "{}").unwrap();
    desk.refuses(["bench", "layer_norm/tiny", "--compare", "no.json"], "no.json");
    desk.refuses(["bench", "layer_norm/tiny", "--compare", "missing.json"], "missing.json");
}

/// A row that only the CPU has is left out on a GPU and says why.
#[test]
fn a_bench_of_the_cpu_is_no_bench_of_a_gpu() {
    let desk = Desk::new();
    let one = "sparse_alignment/coarse_2_images_6k";
    let on_cpu = desk.json("cpu", ["bench", one, "--json"]);
    assert!(on_cpu["rows"][0]["median_ms"].as_f64().unwrap() > 0.0, "{on_cpu:#}");
    let Some(gpu) = gpu(&desk) else { return };
    let output = desk.run_on(&gpu, ["bench", one, "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let on_gpu: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(on_gpu["rows"], serde_json::json!([]));
    assert_eq!(on_gpu["skipped"], serde_json::json!([{ "name": one, "why": "it runs on the CPU only" }]));
}

/// On a GPU every op of a reconstruction runs there, and the result is that of the CPU.
#[test]
fn a_reconstruction_on_a_gpu_runs_on_the_gpu() {
    let desk = Desk::new();
    let Some(gpu) = gpu(&desk) else { return };
    let (a, b) = (text(castle("photo_02.jpg")), text(castle("photo_03.jpg")));
    let run = |device: &str, name: &str| {
        desk.json(
            device,
            [
                ["reconstruct", &a, &b, "-o", name].as_slice(),
                &["--size", "128", "--precision", "f32", "--json"],
                &["--tsdf-threshold", "0.02", "--tsdf-samples", "20"],
            ]
            .concat(),
        )
    };
    let (on_gpu, on_cpu) = (run(&gpu, "on_gpu"), run("cpu", "on_cpu"));
    let mut ops = 0;
    for stage in on_gpu["stages"].as_array().unwrap() {
        assert_eq!(stage["ops"]["cpu"], serde_json::json!({}), "{}: ran on the CPU", stage["stage"]);
        ops += stage["ops"]["gpu"].as_object().unwrap().len();
    }
    assert!(ops > 10, "a reconstruction has more ops: {:#}", on_gpu["stages"]);
    assert_ne!(on_gpu["options"]["device"], "cpu");
    for (one, other) in on_gpu["images"].as_array().unwrap().iter().zip(on_cpu["images"].as_array().unwrap())
    {
        assert_eq!(one["registered"], other["registered"]);
        let [f, g] = [one, other].map(|i| i["focal_px"].as_f64().unwrap());
        assert!((f / g - 1.0).abs() < 0.01, "focal lengths {f} and {g}");
    }
}

#[test]
fn a_profile_lists_kernels_and_writes_a_trace() {
    let desk = Desk::new();
    let Some(gpu) = gpu(&desk) else { return };
    let photo = text(castle("photo_02.jpg"));
    let output =
        desk.run_on(&gpu, ["reconstruct", &photo, "-o", "scene", "--size", "64", "--profile", "trace.json"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("layer_norm") && stderr.contains("share"), "{stderr}");
    let trace: serde_json::Value =
        serde_json::from_slice(&std::fs::read(desk.path("trace.json")).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert!(events.iter().filter(|e| e["ph"] == "X").count() > 100, "{} events", events.len());
}
