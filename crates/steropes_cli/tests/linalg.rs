//! `steropes linalg` on files that are made here.

use safetensors::{Dtype, SafeTensors, serialize_to_file, tensor::TensorView};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// A `.npy` file of version 1: `order` is true for columns first.
fn npy(path: &Path, shape: &str, order: bool, values: &[f32]) {
    let order = if order { "True" } else { "False" };
    let mut header = format!("{{'descr': '<f4', 'fortran_order': {order}, 'shape': {shape}, }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&u16::try_from(header.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    std::fs::write(path, bytes).unwrap();
}

fn f64_file(path: &Path, tensors: &[(&str, &[usize], &[f64])]) {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, _, values)| values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (*name, TensorView::new(Dtype::F64, shape.to_vec(), bytes).unwrap())
    });
    serialize_to_file(views, None, path).unwrap();
}

struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_steropes"))
            .arg("linalg")
            .args(words)
            .env_remove("STEROPES_DEVICE")
            .current_dir(self.0.path())
            .output()
            .unwrap()
    }

    /// Runs on the CPU and returns what was printed.
    fn take(&self, words: &[&str]) -> String {
        let output = self.run(&[words, &["--device", "cpu"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs, and returns the line of the refusal.
    fn refuse(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(2), "{words:?} was taken");
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(line.lines().count(), 1, "one line: {line}");
        line
    }

    /// A tensor of a file as f64, with its shape.
    fn read(&self, file: &str, name: &str) -> (Vec<usize>, Vec<f64>) {
        let bytes = std::fs::read(self.path(file)).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensor = file.tensor(name).unwrap();
        let values = match tensor.dtype() {
            Dtype::F64 => {
                tensor.data().chunks(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
            }
            _ => tensor.data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()).into()).collect(),
        };
        (tensor.shape().to_vec(), values)
    }
}

#[test]
fn singular_values_of_a_file_in_columns() {
    let desk = Desk::new();
    // [[3, 0], [0, -4], [0, 0]] by columns.
    npy(&desk.path("a.npy"), "(3, 2)", true, &[3.0, 0.0, 0.0, 0.0, -4.0, 0.0]);
    let said = desk.take(&["svd", "a.npy", "-o", "out.safetensors"]);
    assert!(said.starts_with("in f32 on cpu") && said.contains("[4.0, 3.0]"), "{said}");
    let (shape, s) = desk.read("out.safetensors", "S");
    assert_eq!((shape, s), (vec![2], vec![4.0, 3.0]));
    let (shape, u) = desk.read("out.safetensors", "U");
    assert_eq!((shape, u), (vec![3, 2], vec![0.0, 1.0, 1.0, 0.0, 0.0, 0.0]));
    assert_eq!(desk.read("out.safetensors", "Vh").1, [0.0, -1.0, 1.0, 0.0]);
}

#[test]
fn a_system_in_f64_from_two_tensors_of_a_file() {
    let desk = Desk::new();
    let tensors: [(&str, &[usize], &[f64]); 2] =
        [("a", &[2, 2], &[2.0, 1.0, 1.0, 3.0]), ("b", &[2], &[3.0, 5.0])];
    f64_file(&desk.path("s.safetensors"), &tensors);
    let said = desk.take(&["solve", "s.safetensors:a", "s.safetensors:b", "-o", "x.safetensors"]);
    assert!(said.starts_with("in f64 on cpu"), "{said}");
    let (shape, x) = desk.read("x.safetensors", "X");
    assert_eq!(shape, [2]);
    assert!((x[0] - 0.8).abs() < 1e-15 && (x[1] - 1.4).abs() < 1e-15, "{x:?}");
    desk.take(&["solve", "s.safetensors:a", "s.safetensors:b", "-o", "x.npy"]);
    let bytes = std::fs::read(desk.path("x.npy")).unwrap();
    assert_eq!(f64::from_le_bytes(bytes[bytes.len() - 8..].try_into().unwrap()), x[1]);
}

/// Every operation on a batch of well-behaved matrices, by its own check.
#[test]
fn all_operations_judge_themselves() {
    let desk = Desk::new();
    let matrix = [4.0, 1.0, 0.5, 1.0, 3.0, -0.25, 0.5, -0.25, 2.0];
    let both: Vec<f64> = matrix.iter().chain(matrix.iter()).copied().collect();
    let tensors: [(&str, &[usize], &[f64]); 2] = [("a", &[2, 3, 3], &both), ("b", &[2, 3, 1], &both[..6])];
    f64_file(&desk.path("s.safetensors"), &tensors);
    for operation in [
        "svd",
        "svdvals",
        "svd-lowrank",
        "qr",
        "eigh",
        "eigvalsh",
        "cholesky",
        "lu",
        "solve",
        "lstsq",
        "inv",
        "pinv",
        "det",
        "slogdet",
        "matrix-rank",
        "cond",
        "matrix-exp",
    ] {
        let mut words = vec![operation, "s.safetensors:a", "--json"];
        if matches!(operation, "solve" | "lstsq") {
            words.insert(2, "s.safetensors:b");
        }
        let said: serde_json::Value = serde_json::from_str(&desk.take(&words)).unwrap();
        for (name, value) in said["checks"].as_object().unwrap() {
            assert!(value.as_f64().is_some_and(|value| value < 1e-14), "{operation}: {name} is {value}");
        }
        let has_checks = !said["checks"].as_object().unwrap().is_empty();
        let is_number = matches!(
            operation,
            "svdvals" | "eigvalsh" | "det" | "slogdet" | "matrix-rank" | "cond" | "matrix-exp"
        );
        assert_eq!(has_checks, !is_number, "{operation}");
        for (name, array) in said["arrays"].as_object().unwrap() {
            assert_eq!(array["shape"][0], 2, "{operation}: {name}");
        }
    }
}

/// The largest values of a matrix that is mostly its mean, and the same file twice for one seed.
#[test]
fn low_rank_of_what_varies() {
    let desk = Desk::new();
    let rows = [[101.0, 50.0, 10.0], [99.0, 50.0, 10.0], [101.0, 50.0, 12.0], [99.0, 50.0, 12.0]];
    f64_file(&desk.path("a.safetensors"), &[("a", &[4, 3], rows.as_flattened())]);
    let words = [
        "svd-lowrank",
        "a.safetensors",
        "-q",
        "2",
        "--center",
        "--seed",
        "9",
        "--force",
        "-o",
        "x.safetensors",
    ];
    let said = desk.take(&words);
    assert!(said.contains("|A - U S V'| / |A|"), "{said}");
    let (shape, s) = desk.read("x.safetensors", "S");
    assert_eq!(shape, [2]);
    assert!(s.iter().all(|s| (s - 2.0).abs() < 1e-12), "{s:?}");
    assert_eq!(desk.read("x.safetensors", "V").0, [3, 2]);
    assert_eq!(desk.read("x.safetensors", "mean"), (vec![1, 3], vec![100.0, 50.0, 11.0]));
    let first = std::fs::read(desk.path("x.safetensors")).unwrap();
    desk.take(&words);
    assert_eq!(std::fs::read(desk.path("x.safetensors")).unwrap(), first);
    desk.take(&["svd-lowrank", "a.safetensors", "-q", "2", "--niter", "0", "--force", "-o", "x.safetensors"]);
    assert!(desk.read("x.safetensors", "S").1[0] > 200.0);
}

#[test]
fn conditions_in_every_norm() {
    let desk = Desk::new();
    f64_file(&desk.path("a.safetensors"), &[("a", &[2, 2], &[4.0, 2.0, 0.0, 1.0])]);
    // |A| is 4, 3, 6, 1 and the root of 21, |A^-1| is 1.5, 0.25, 1, 0.75 and the root of 21 / 16.
    for (norm, want) in [("1", 6.0), ("-1", 0.75), ("inf", 6.0), ("-inf", 0.75), ("fro", 5.25)] {
        desk.take(&["cond", "a.safetensors", "-p", norm, "--force", "-o", "x.safetensors"]);
        let got = desk.read("x.safetensors", "cond").1[0];
        assert!((got - want).abs() < 1e-14, "{norm}: {got}");
    }
    npy(&desk.path("singular.npy"), "(2, 2)", false, &[1.0, 2.0, 2.0, 4.0]);
    let said = desk.take(&["cond", "singular.npy", "-p", "fro"]);
    assert!(said.contains("[inf]"), "{said}");
    let refused = desk.run(&["cond", "a.safetensors", "-p", "3"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && said.contains("no norm is called"), "{said}");
}

#[test]
fn what_cannot_be_done_is_one_line() {
    let desk = Desk::new();
    npy(&desk.path("singular.npy"), "(2, 2)", false, &[1.0, 2.0, 2.0, 4.0]);
    npy(&desk.path("wide.npy"), "(1, 2)", false, &[1.0, 2.0]);
    let tensors: [(&str, &[usize], &[f64]); 2] = [("a", &[1, 1], &[2.0]), ("b", &[1, 1], &[3.0])];
    f64_file(&desk.path("two.safetensors"), &tensors);
    std::fs::write(desk.path("broken.npy"), b"\x93NUMPY").unwrap();
    std::fs::write(desk.path("here.npy"), b"").unwrap();
    for (words, part) in [
        (&["inv", "singular.npy", "--device", "cpu"][..], "linalg::inv: matrix [] of `a`"),
        (&["cholesky", "wide.npy", "--device", "cpu"], "`a` must be [.., n, n], got [1, 2]"),
        (&["det", "absent.npy"], "reading `absent.npy`"),
        (&["det", "broken.npy"], "reading `broken.npy`"),
        (&["det", "notes.txt"], "neither a .npy nor a .safetensors file"),
        (&["det", "two.safetensors"], "it holds `a`, `b`: say which one as file.safetensors:name"),
        (&["det", "two.safetensors:c"], "no tensor of this name, only `a`, `b`"),
        (
            &["qr", "wide.npy", "-o", "qr.npy", "--device", "cpu"],
            "2 arrays (Q, R): write a .safetensors file",
        ),
        (&["qr", "wide.npy", "-o", "qr.txt", "--device", "cpu"], "a .npy or a .safetensors file"),
        (&["svdvals", "wide.npy", "-o", "here.npy", "--device", "cpu"], "`here.npy` exists"),
    ] {
        let line = desk.refuse(words);
        assert!(line.contains(part), "{words:?}: {line}");
    }
    assert!(!desk.path("qr.npy").exists());
}
