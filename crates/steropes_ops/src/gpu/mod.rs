//! What the GPU kernels of several ops have in common.

mod column_sums;
mod flat;
mod images;
mod index;
mod pack;
mod peak;
pub(crate) mod product;
mod reduce;
mod reduction;
mod sort;
mod sums;
mod window;

pub(crate) use column_sums::{column_sums, partial_groups};
pub(crate) use flat::{destination, destination_header, flat_groups, flat_header, flat_ranges, launch_flat};
pub(crate) use images::RowsOfImages;
pub(crate) use index::{index_header, index_words, mask_header, one_binding};
pub(crate) use pack::{Packs, Unit};
pub use peak::{GpuPeak, gpu_peak, gpu_seconds};
pub(crate) use reduce::Rows;
pub(crate) use reduction::parts;
pub(crate) use sort::{Sorted, sorted_by_key};
pub(crate) use sums::{Finish, GROUP_VALUES, finish_sums, group_header};
pub(crate) use window::{
    Window, element_window, largest_binding, row_ranges, rows_of_entries, unsupported, window,
};

use steropes_tensor::{Binding, Tensor};

/// The whole memory of a GPU tensor as a binding.
///
/// # Panics
/// If the tensor is on the CPU; ops check that before.
pub(crate) fn bind(tensor: &Tensor) -> Binding<'_> {
    let memory = tensor.gpu_memory().expect("the device was checked");
    let bytes = (tensor.len() * tensor.dtype().size_bytes()).max(16).next_multiple_of(16);
    Binding { memory, offset: 0, bytes: bytes as u64 }
}

/// The cases of what only the inside of this module can see.
pub(crate) fn cases() -> Vec<steropes_testkit::Case> {
    [peak::tests::cases(), product::cases()].into_iter().flatten().collect()
}
