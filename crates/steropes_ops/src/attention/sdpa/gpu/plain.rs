//! The form of multiply-adds by single invocations, for every device, element type and head.

use super::super::Extents;
use super::FULL_GPU;
use steropes_tensor::{Capabilities, DType, Header, Kernel};

/// Keys of a step, and invocations of a row, as the kernel has them.
const KEYS: usize = 32;
const ROW: usize = 8;

/// How the plain form is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Plain {
    /// Queries of an invocation, 4 or 8.
    pub(in super::super) per_thread: usize,
    /// The most vectors of four values that a chunk of a head has.
    pub(in super::super) most_in_chunk: usize,
    /// Whether the invocations of a row meet by subgroup operations.
    pub(in super::super) subgroups: bool,
}

impl Plain {
    /// The largest tile that fits the workgroup memory and leaves enough workgroups; `None` if none fits.
    pub(in super::super) fn choose(gpu: &Capabilities, e: &Extents) -> Option<Self> {
        let subgroups = gpu.subgroup_size().is_some_and(|n| n.is_power_of_two() && n >= ROW as u32);
        let tiles = |per_thread| e.batch * e.heads * e.queries.div_ceil(ROW * per_thread);
        // Beyond 64 values in a head, the sums of eight queries do not fit the registers.
        let wide = e.head_dim <= 64 && tiles(8) >= FULL_GPU;
        [(8, 16), (4, 16), (4, 8)]
            .into_iter()
            .filter(|&(per_thread, _)| wide || per_thread == 4)
            .map(|(per_thread, most_in_chunk)| Self { per_thread, most_in_chunk, subgroups })
            .find(|plain| plain.workgroup_bytes(e.head_dim) <= gpu.workgroup_bytes as usize)
    }

    pub(in super::super) fn queries(self) -> usize {
        ROW * self.per_thread
    }

    /// Chunks of a head, and vectors of four values in each.
    fn chunks(self, head_dim: usize) -> [usize; 2] {
        let vectors = head_dim.div_ceil(4);
        let chunks = vectors.div_ceil(self.most_in_chunk);
        [chunks, vectors.div_ceil(chunks)]
    }

    fn workgroup_bytes(self, head_dim: usize) -> usize {
        let [_, chunk] = self.chunks(head_dim);
        let tile = (chunk * 4 * KEYS / 4).max(KEYS * chunk.next_multiple_of(ROW));
        16 * (chunk * self.queries() + tile + KEYS * self.queries() / 4)
    }

    pub(in super::super) fn kernel(self, dtype: DType, head_dim: usize) -> Kernel {
        let [chunks, chunk] = self.chunks(head_dim);
        let header = Header::new()
            .element(dtype)
            .count("PER_THREAD", self.per_thread as u32)
            .count("CHUNKS", chunks as u32)
            .count("CHUNK", chunk as u32)
            .count("COLUMNS", chunk.div_ceil(ROW) as u32)
            .count("VECTORS", head_dim.div_ceil(4) as u32);
        let header = if head_dim.is_multiple_of(4) {
            header.text(include_str!("../plain_vectors.wgsl"))
        } else {
            header.count("HEAD_DIM", head_dim as u32).text(include_str!("../plain_scalars.wgsl"))
        };
        let header = header.text(if self.subgroups {
            include_str!("../plain_row_subgroup.wgsl")
        } else {
            include_str!("../plain_row_workgroup.wgsl")
        });
        Kernel::new("sdpa", &header, include_str!("../plain.wgsl"))
    }
}
