//! Launches that go on along y after nine workgroups.
//!
//! A kernel over a long tensor counts its workgroups as `x + 32768 y` (see [`spread`](steropes_tensor::spread)). Only tensors of
//! millions of elements have a second row; with rows of nine, small ones have many.

use std::sync::Arc;
use steropes_tensor::{Gpu, Kernel};

/// How kernels count the rows, and how they count narrow ones.
const WIDE: &str = "y * 32768u";
const NARROW: &str = "y * 9u";
const GROUPS: u32 = 9;

/// The text of a kernel that counts narrow rows.
pub fn narrow_text(text: &str) -> String {
    text.replace(WIDE, NARROW)
}

/// The workgroups of a launch in narrow rows, if its kernel counts rows.
///
/// # Panics
/// If there are more rows than a launch can have.
pub fn narrow_groups(kernel: &Kernel, [x, y, z]: [u32; 3]) -> [u32; 3] {
    if !kernel.text().contains(WIDE) {
        return [x, y, z];
    }
    let rows = (x * y).div_ceil(GROUPS);
    assert!(rows <= 65535, "a case for narrow launches has fewer workgroups than {x} * {y}");
    [GROUPS.min(x * y), rows, z]
}

/// Makes all launches of `gpu` narrow.
pub fn set_narrow(gpu: &Gpu) {
    gpu.set_text_filter(Some(Arc::new(|_: &str, text: String| narrow_text(&text))));
    gpu.set_launch_filter(Some(Arc::new(narrow_groups)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use steropes_tensor::Header;

    #[test]
    fn rows_become_narrow_in_text_and_launch() {
        let rows = Kernel::new("k", &Header::new(), "let i = group.x + group.y * 32768u;");
        assert_eq!(narrow_text(rows.text()), "let i = group.x + group.y * 9u;");
        assert_eq!(narrow_groups(&rows, [19, 1, 1]), [9, 3, 1]);
        assert_eq!(narrow_groups(&rows, [2, 1, 1]), [2, 1, 1]);
        let plane = Kernel::new("k", &Header::new(), "let i = group.x;");
        assert_eq!(narrow_groups(&plane, [7, 2, 1]), [7, 2, 1]);
    }
}
