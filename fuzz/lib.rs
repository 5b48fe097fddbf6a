//! What the targets share.

use steropes_nn::{Checkpoint, LoadError, Weights};
use steropes_tensor::Device;

/// Reads all that a file holds. A refusal must be one line.
///
/// # Panics
/// If it is not, or if what is read does not fit what the file says.
pub fn read_all(bytes: &[u8]) {
    let Some(file) = accepted(Checkpoint::from_bytes("file", bytes.to_vec())) else {
        return;
    };
    let device = Device::cpu();
    let weights = Weights::new(&file, &device);
    let mut values = 0;
    for name in file.names() {
        let shape = shape_of(&weights, name);
        if let Some(found) = accepted(weights.values_f64(name, &shape)) {
            assert_eq!(found.len(), shape.iter().product::<usize>());
            values += found.len() as u64;
        }
    }
    let summary = file.summary();
    assert!(summary.bytes <= bytes.len() as u64 && summary.aliases <= summary.names);
    assert!(file.values_read() <= values);
}

/// What was read; `None` for what was refused, which must be one line.
///
/// # Panics
/// If it is not.
pub fn accepted<T>(result: Result<T, LoadError>) -> Option<T> {
    result.map_err(|error| assert!(!error.to_string().contains('\n'), "{error}")).ok()
}

/// The shape of a tensor by its name; a mismatch names the shape that the file has.
fn shape_of(weights: &Weights<'_>, name: &str) -> Vec<usize> {
    match weights.values_f64(name, &[usize::MAX]) {
        Err(LoadError::Shape { found, .. }) => found,
        other => panic!("no tensor has such a shape: {other:?}"),
    }
}
