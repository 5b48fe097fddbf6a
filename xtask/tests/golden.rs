//! The golden cases as a test: those beside the repository if they are there, else the copy in it.

use std::path::{Path, PathBuf};

/// Runs the golden cases of `folders`: the report, and whether it says that nothing failed.
fn report_of(folders: &[PathBuf], only: &str) -> (String, bool) {
    let mut out = Vec::new();
    let code = xtask::golden::run(folders, only, &steropes_tensor::Device::Cpu, &mut out)
        .expect("the folders can be read");
    (String::from_utf8(out).expect("the report is text"), code == std::process::ExitCode::SUCCESS)
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The folder called `name` of the golden cases.
fn golden(name: &str) -> PathBuf {
    let beside = workspace().join("../shared/golden").join(name);
    if beside.is_dir() { beside } else { workspace().join("tests/golden").join(name) }
}

fn assert_golden(folder: PathBuf) {
    let (report, passed) = report_of(&[folder], "");
    let failed: Vec<&str> = report.lines().filter(|line| line.contains("\tFAIL\t")).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(passed, "{report}");
    assert!(report.lines().any(|line| line.contains("\tok\t")), "nothing ran:\n{report}");
}

#[test]
fn networks() {
    assert_golden(golden("networks"));
}

#[test]
fn pipeline() {
    assert_golden(golden("pipeline"));
}

#[test]
fn the_copy_in_the_repository() {
    assert_golden(workspace().join("tests/golden/networks"));
    assert_golden(workspace().join("tests/golden/pipeline"));
}

#[test]
fn changed_data_fails() {
    let folder = tempfile::tempdir().unwrap();
    let source = workspace().join("tests/golden/networks");
    let manifest = std::fs::read_to_string(source.join("manifest.json")).unwrap();
    let file = std::fs::read(source.join("dust3r_linear_micro.safetensors")).unwrap();
    let write = |manifest: &str, file: &[u8]| {
        let all: serde_json::Value = serde_json::from_str(manifest).unwrap();
        let name = "dust3r_linear_micro.safetensors";
        let one = serde_json::json!({ "salt": all["salt"], name: all["additions"][name] });
        std::fs::write(folder.path().join("manifest.json"), one.to_string()).unwrap();
        std::fs::write(folder.path().join(name), file).unwrap();
        report_of(&[folder.path().to_owned()], "")
    };
    let (report, passed) = write(&manifest, &file);
    assert!(passed && report.ends_with("4 ok, 0 FAIL, 0 not-built\n"), "{report}");
    // The last value of the file, a little off.
    let mut changed = file.clone();
    let last = changed.len() - 4;
    let value = f32::from_le_bytes(changed[last..].try_into().unwrap()) + 1e-3;
    changed[last..].copy_from_slice(&value.to_le_bytes());
    let (report, passed) = write(&manifest, &changed);
    assert!(!passed && report.ends_with("3 ok, 1 FAIL, 0 not-built\n"), "{report}");
    // Other weights and images.
    let (report, passed) = write(&manifest.replace("\"salt\": \"\"", "\"salt\": \"x\""), &file);
    assert!(!passed && report.ends_with("0 ok, 4 FAIL, 0 not-built\n"), "{report}");
    // A tensor that the file should hold.
    let (report, passed) = write(&manifest.replace("batch2.view1.conf", "batch2.view1.other"), &file);
    assert!(!passed && report.contains("view1.other\tFAIL\tthe file lacks this tensor"), "{report}");
    // A network that does not fit.
    let (report, passed) = write(&manifest.replace("\"enc_num_heads\": 2", "\"enc_num_heads\": 3"), &file);
    assert!(!passed && report.contains("FAIL\t"), "{report}");
}
